"""Training of the phonetic model, with small towers."""

import json
import random
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")
pytest.importorskip("phonemizer", reason="phonemizer comes with the phonetic extra")

from safetensors.torch import load_file

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.phonetic.ctc import pack_posteriorgram
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.recipe import RecipeError, load_recipe
from voxdex.encoders.training.train import RunObserver, train

SMALL = (
    "speech_tower.mel_bins=32", "speech_tower.widths=[16,24]", "speech_tower.depths=[1,1]", "speech_tower.kernels=[5,5]",
    "speech_tower.features=8", "speech_tower.places=6", "text_tower.hidden=16", "text_tower.layers=1", "text_tower.heads=2",
    "text_tower.features=8", "text_tower.places=6", "projection.dimension=16", "schedule.steps=6", "schedule.batch=4",
    "schedule.validate_every=6", "schedule.save_every=3", "schedule.average_decay=0.5",
)  # fmt: skip


@pytest.fixture(scope="session")
def manifest(once) -> Path:
    """Twelve sounds with random phonemes, two of them held out."""

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


def test_resuming_gives_the_same_weights(manifest, tmp_path):
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


def test_export_a_phonetic_model(voxdex, manifest, tmp_path):
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


def test_invalid_manifests(manifest, tmp_path):
    with pytest.raises(RecipeError, match="one part"):
        train(recipe("schedule.grad_cache_chunks=2"), [manifest], tmp_path / "a", tmp_path / "cache")
    (tmp_path / "bare.csv").write_text(f"path,speaker\n{manifest.parent}/1.wav,a\n{manifest.parent}/2.wav,b\n")
    with pytest.raises(ManifestError, match="neither a transcript nor phonemes"):
        train(recipe("sampling.hold_out=false"), [tmp_path / "bare.csv"], tmp_path / "b", tmp_path / "cache")
    with pytest.raises(ManifestError, match=r"No two clips are up to 0\.5 s"):
        train(recipe("schedule.crop_seconds=[0.1,0.5]"), [manifest], tmp_path / "c", tmp_path / "cache")
