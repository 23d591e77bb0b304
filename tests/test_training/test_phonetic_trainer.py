"""Training and exporting a model for what is said, with towers small enough for a test. Needs the train extra."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")
pytest.importorskip("phonemizer", reason="phonemizer comes with the phonetic extra")

from safetensors.torch import load_file

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.networks.scraps import AcousticTower, PhonemeTower
from voxdex.encoders.phonetic.ctc import align, pack_posteriorgram
from voxdex.encoders.phonetic.g2p import phoneme_tokenizer
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.recipe import RecipeError, load_recipe
from voxdex.encoders.training.scripts.transcripts import is_open, split_rows
from voxdex.encoders.training.train import RunObserver, train

SMALL = (
    "speech_tower.mel_bins=32", "speech_tower.widths=[16,24]", "speech_tower.depths=[1,1]", "speech_tower.kernels=[5,5]",
    "speech_tower.features=8", "speech_tower.places=6", "text_tower.hidden=16", "text_tower.layers=1", "text_tower.heads=2",
    "text_tower.features=8", "text_tower.places=6", "projection.dimension=16", "schedule.steps=6", "schedule.batch=4",
    "schedule.validate_every=6", "schedule.save_every=3", "schedule.average_decay=0.5",
)  # fmt: skip


@pytest.fixture(scope="session")
def manifest(once) -> Path:
    """Twelve sounds that say something or other, two of them held out."""

    def make(folder: Path) -> None:
        rng, rows = random.Random(1), ["path,phonemes,speaker,split"]
        for number in range(12):
            write_sound(folder / f"{number}.wav", voice(1.0 + number / 8, 120, seed=number))
            phonemes = "".join(rng.choice("aeioupbtdkɡmn") for _ in range(6 + number // 3))
            rows.append(f"{number}.wav,{phonemes},s{number % 3},{'test' if number > 9 else 'train'}")
        (folder / "said.csv").write_text("\n".join(rows) + "\n")

    return once("said", make) / "said.csv"


def recipe(*changes):
    return load_recipe("scraps", (*SMALL, *changes))


def weights(run):
    return load_file(run / "weights.safetensors")


def test_a_run_that_was_stopped_ends_with_the_same_weights(manifest, tmp_path):
    train(recipe(), [manifest], tmp_path / "whole", tmp_path / "cache")

    class Stop(RunObserver):
        def on_step(self, progress):
            if progress.step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe(), [manifest], tmp_path / "stopped", tmp_path / "cache", observer=Stop())
    result = train(recipe(), [manifest], tmp_path / "stopped", tmp_path / "cache")
    whole, stopped = weights(tmp_path / "whole"), weights(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert {"contrastive", "ctc", "spans"} <= lines[-1].keys()
    assert {metric.name for metric in result.after} >= {"falls with 20% of phonemes replaced"}


def test_a_run_becomes_a_model(voxdex, manifest, tmp_path):
    changes = [part for change in SMALL for part in ("--set", change)]
    done = voxdex("train", "scraps", manifest, "--out", tmp_path / "run", "--cache", tmp_path / "cache", *changes, "--json")
    assert done.status == 0, done.err
    assert done.json["parity"]["speech_worst"] > 0.99999 and done.json["parity"]["text_worst"] > 0.99999
    model = open_phonetic_model(tmp_path / "run" / "model", "cpu")
    assert model.card.text == "phonemes" and len(model.card.phonetics.intelligibility) > 3
    spoken = next(model.listen([voice(3.0, 120)]))
    assert spoken.vector.shape == (16,) and len(spoken.log_probs) == 76
    assert 0 < model.match("aeb", [pack_posteriorgram(spoken.log_probs)])[0] <= 1
    assert 0 <= model.intelligibility(float(model.pmi(spoken, ["aeb"])[0]), "aeb") <= 1
    assert sum(model.card.phonetics.phoneme_prior) == pytest.approx(1, abs=1e-5)
    further = ("schedule.steps=2", "schedule.batch=4", f"init_from={tmp_path / 'run' / 'model'}")
    assert train(load_recipe("scraps", further), [manifest], tmp_path / "further", tmp_path / "cache").steps == 2


def test_what_cannot_be_trained_on_is_refused(manifest, tmp_path):
    with pytest.raises(RecipeError, match="one part"):
        train(recipe("schedule.grad_cache_chunks=2"), [manifest], tmp_path / "a", tmp_path / "cache")
    (tmp_path / "bare.csv").write_text(f"path,speaker\n{manifest.parent}/1.wav,a\n{manifest.parent}/2.wav,b\n")
    with pytest.raises(ManifestError, match="neither a transcript nor phonemes"):
        train(recipe("sampling.hold_out=false"), [tmp_path / "bare.csv"], tmp_path / "b", tmp_path / "cache")
    with pytest.raises(ManifestError, match=r"No two clips are up to 0\.5 s"):
        train(recipe("schedule.crop_seconds=[0.1,0.5]"), [manifest], tmp_path / "c", tmp_path / "cache")


def test_frames_are_aligned_with_phonemes():
    shares = np.full((2, 12, 5), 0.01)
    for frame, symbol in enumerate([0, 1, 1, 0, 2, 2, 0, 0, 3, 0, 0, 0]):
        shares[:, frame, symbol] = 0.9
    found = align(np.log(shares), [12, 2], [[1, 2, 3], [1, 2, 3]])
    assert found[0].tolist() in ([1, 4, 8], [2, 5, 8]) and len(found[1]) == 0


def test_a_tokenizer_knows_the_phonemes_that_it_met():
    tokenizer = phoneme_tokenizer(["ˈkɪdz ɑːɹ t͡ʃɪə"] * 300 + ["ʘ"])
    assert tokenizer.encode("kɪdz ɑːɹ").tokens == ["k", "ɪ", "d", "z", "ɑː", "ɹ"]
    assert tokenizer.encode("tʃ ʘ ə!").tokens == ["t", "ʃ", "[UNK]", "ə"]


def test_towers_do_not_hear_what_lies_beside_a_clip():
    torch.manual_seed(0)
    tower = AcousticTower(10, mel_bins=32, widths=(16, 24), depths=(1, 1), kernels=(5, 5), features=8, places=6).eval()
    clip = torch.from_numpy(voice(1.3, 120))[None]
    padded = torch.cat([clip, torch.zeros(1, 9000)], dim=1)
    lengths = torch.tensor([clip.shape[1]])
    with torch.inference_mode():
        assert torch.allclose(tower(clip, lengths), tower(padded, lengths), atol=1e-4)
        phonemes = PhonemeTower(10, hidden=16, layers=1, heads=2, features=8, places=6).eval()
        ids, mask = torch.tensor([[3, 4, 5]]), torch.ones(1, 3, dtype=torch.int64)
        longer = phonemes(torch.tensor([[3, 4, 5, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]]))
        assert torch.allclose(phonemes(ids, mask), longer, atol=1e-5)
        assert not torch.allclose(phonemes(ids, mask), phonemes(ids.flip(1), mask), atol=1e-2)


def test_speakers_and_sentences_are_held_out():
    rows = [
        {"path": f"{speaker}{i}", "speaker": speaker, "transcript": f"Sentence number {i}!"}
        for speaker in "ab"
        for i in range(200)
    ]
    rows += [{"path": "b-own", "speaker": "b", "transcript": "only she says this"}]
    found = split_rows(rows, {"b"})
    tested = {row["transcript"] for row in found if row["split"] == "test"}
    trained = {row["transcript"] for row in found if row["split"] == "train"}
    assert "only she says this" in tested and 10 < len(tested) < 50 and not tested & trained
    assert {row["speaker"] for row in found if row["split"] == "train"} == {"a"}
    assert is_open("CC0 1.0") and not is_open("CC BY-NC-SA 4.0") and not is_open("not stated")
