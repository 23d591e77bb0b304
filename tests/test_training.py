"""Networks, losses, the training loop and the export, end to end on sounds made here. Needs the train extra's torch."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")

from encoders import load_attributes, open_model
from encoders.model_folder import file_sha256
from encoders.networks import ConvNeXtSpeechTower, DualEncoder, MelFrontEnd, TransformerTextTower
from encoders.training.augment import augment
from encoders.training.captions import write_caption
from encoders.training.data import CLAIMS, sampling_weights, truth_of
from encoders.training.distil import caption_texts, train_tokenizer, wordnet_texts
from encoders.training.losses import attribute_classification, contrastive, match, multi_positive
from encoders.training.train import main as train
from export.__main__ import main as export
from tests.sounds import voice, write_sound

TINY = """
[speech_tower]
mel_bins = 32
widths = [16, 24]
depths = [1, 1]

[text_tower]
vocabulary = 600
hidden = 32
layers = 1
heads = 2
features = 48

[projection]
dimension = 16

[training]
seed = 3
steps = 120
batch = 8
crop_seconds = [0.5, 1.0]
learning_rate = 3e-3
text_tower_rate = 1.0
weight_decay = 0.01
warmup = 0.1
average_decay = 0.5
classification_weight = 1.0
validate_every = 120

[shares]
synthetic = 1.0

[card]
name = "tiny"
version = "1"
description = "A test."
licence = "none"
teacher = "nobody"
prompt_templates = []
hears = "Nothing much."
does_not_hear = "The rest."
"""


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return DualEncoder(ConvNeXtSpeechTower(32, (16, 24), (1, 1)), TransformerTextTower(100, 32, 1, 2, 48), dimension=16).eval()


def test_padding_and_neighbours_change_nothing(network):
    clips = [torch.from_numpy(voice(seconds, 100 + 40 * i, i)) for i, seconds in enumerate((0.02, 0.5, 1.234, 3.0))]
    lengths = torch.tensor([len(clip) for clip in clips])
    padded = torch.nn.utils.rnn.pad_sequence(clips, batch_first=True)
    with torch.inference_mode():
        together = network.embed_speech(torch.nn.functional.pad(padded, (0, 5000)), lengths)
        alone = torch.cat([network.embed_speech(clip[None], length[None]) for clip, length in zip(clips, lengths, strict=True)])
    assert (together * alone).sum(-1).min() > 0.999999
    assert together.norm(dim=-1) == pytest.approx(torch.ones(4).numpy(), abs=1e-5)


def test_a_caption_does_not_see_its_padding(network):
    ids = torch.tensor([[2, 7, 9, 0, 0], [2, 8, 11, 12, 13]])
    mask = (ids > 0).long()
    with torch.inference_mode():
        assert torch.allclose(network.embed_text(ids, mask)[0], network.embed_text(ids[:1, :3], mask[:1, :3])[0], atol=1e-6)


def test_mel_power_agrees_with_a_fourier_transform():
    mel = MelFrontEnd(bins=40)
    waveform = torch.from_numpy(voice(0.7, 150))[None]
    power, frames = mel(waveform, torch.tensor([waveform.shape[1]]))
    window = torch.hann_window(512) / 512**0.5
    spectrum = torch.stft(waveform, 512, 160, window=window, center=True, pad_mode="constant", return_complex=True)
    expected = spectrum.abs().square().transpose(1, 2) @ mel.filters
    assert power.shape == (1, int(frames), 40)
    assert torch.allclose(power, expected, rtol=1e-3, atol=1e-6)


def test_matching_knows_what_is_unknown():
    truth = torch.tensor([[1, -1, 0], [1, 1, 1]])
    claims = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 1]])
    assert match(truth, claims).tolist() == [[1, -1, 0], [1, 1, 1]]


def test_multi_positive_by_hand():
    logits = torch.tensor([[2.0, 1.0, 5.0, 0.0]])
    matches = torch.tensor([[1.0, 1.0, 0.0, -1.0]])
    shares = torch.softmax(torch.tensor([2.0, 1.0, 0.0]), 0)
    assert multi_positive(logits, matches).item() == pytest.approx(-(shares[0].log() + shares[1].log()).item() / 2, abs=1e-5)
    assert multi_positive(logits, torch.tensor([[0.0, 0, 0, -1]])).item() == 0


def test_contrastive_is_infonce_where_each_caption_has_one_clip():
    logits = torch.randn(5, 5)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5)) + torch.nn.functional.cross_entropy(
        logits.T, torch.arange(5)
    )
    assert contrastive(logits, 2 * torch.eye(5) - 1).item() == pytest.approx(expected.item() / 2, abs=1e-5)


def test_classification_sums_over_labels_that_could_hold():
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
    shares = torch.softmax(logits[0, :3], 0)
    truth = torch.tensor([[0, 0, -1, 0], [0, 0, 0, 0]])
    found = attribute_classification(logits, truth, [[0, 1, 2], [3]])
    assert found.item() == pytest.approx(-(shares[0] + shares[1]).log().item(), abs=1e-5)


def test_truth_of_a_manifest_row():
    truth = dict(
        zip(
            CLAIMS,
            truth_of({"gender": "male", "emotion": "neutral|calm", "style": "clear|kind", "style_not": "wild"}),
            strict=False,
        )
    )
    assert (truth["gender", "male"], truth["gender", "female"]) == (1, -1)
    assert (truth["emotion", "neutral"], truth["emotion", "sad"]) == (0, -1)
    assert (truth["style", "clear"], truth["style", "wild"], truth["style", "cool"]) == (1, -1, 0)
    assert truth["pitch", "low"] == 0


def test_sampling_is_even_over_data_sets_and_speakers():
    speakers = [("a", "x")] * 90 + [("a", "y")] * 10 + [("b", "z")] * 100
    rows = [{"dataset": dataset, "speaker": speaker} for dataset, speaker in speakers]
    weights = sampling_weights(rows, {"b": 3.0})
    assert weights[:90].sum() == pytest.approx(0.125)
    assert weights[90:100].sum() == pytest.approx(0.125)
    assert weights[100:].sum() == pytest.approx(0.75)


def test_captions_say_what_is_claimed_in_many_ways():
    rng = random.Random(0)
    captions = {write_caption([("gender", "female"), ("emotion", "sad")], rng).lower() for _ in range(300)}
    assert len(captions) > 100
    gender, sad = load_attributes()["gender"].labels[0], load_attributes()["emotion"].labels[3]
    female = [*gender.adjectives, *gender.nouns, "she ", "her ", "woman", "lady", "female", "girl", "actress"]
    for caption in captions:
        assert any(word in caption for word in female), caption
        assert any(word in caption for word in (*sad.adjectives, *sad.phrases)), caption


def test_augmentation_keeps_shape_and_silence_after_the_end():
    waveform = torch.stack([torch.from_numpy(voice(1.0, 120)), torch.zeros(16_000)])
    waveform[0, 9_000:] = 0
    lengths = torch.tensor([9_000, 16_000])
    changed = augment(waveform, lengths, torch.Generator().manual_seed(1), chance=1.0)
    assert changed.shape == waveform.shape and torch.isfinite(changed).all()
    assert changed[0, 9_000:].abs().max() == 0
    assert not torch.allclose(changed[0], waveform[0])


def test_vocoder_edits_do_what_they_are_called():
    pytest.importorskip("pyworld", reason="pyworld comes with the train extra")
    from encoders.training.edits import EDITS, analyse, pitch_track, synthesise

    original = voice(2.0, 130)
    analysis = analyse(original)
    rng = np.random.default_rng(0)

    def edited(name):
        return synthesise(EDITS[name].apply(analysis, rng))

    def median_f0(sound):
        f0 = pitch_track(sound)
        return np.median(f0[f0 > 0]) if (f0 > 0).mean() > 0.3 else 0

    before = median_f0(original)
    assert before == pytest.approx(130, rel=0.1)
    assert median_f0(edited("deeper")) < 0.85 * before
    assert median_f0(edited("higher")) > 1.2 * before
    assert median_f0(edited("whispered")) == 0
    assert len(edited("slow")) > 1.3 * len(original) > 1.3 * 1.3 * len(edited("fast"))
    assert all(np.abs(edited(name)).max() <= 0.71 for name in EDITS)


def test_preparing_measures_edits_and_splits_by_speaker(tmp_path):
    pytest.importorskip("pyworld", reason="pyworld comes with the train extra")
    from encoders.training.prepare import main as prepare

    votes = "ann1: clear, very raspy || ann2: slightly clear, raspy || ann3: calm"
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("path dataset licence speaker gender age emotion intensity style transcript duration".split())
        for i, f0 in enumerate((95, 160, 240)):
            write_sound(tmp_path / f"{i}.wav", voice(2.0, f0, i))
            row = [f"{i}.wav", "librispeech-libritts-p", "CC BY 4.0", f"s{i}", "male", "", "", "", votes, "word " * 10 * i, 2.0]
            writer.writerow(row)
        write_sound(tmp_path / "held.wav", voice(2.0, 200, 9))
        writer.writerow(["held.wav", "vctk", "CC BY 4.0", "p1", "female", "22", "", "", "", "", 2.0])
        writer.writerow(["demo.wav", "demo", "demo page: evaluation only", "d", "", "", "", "", "", "", 2.0])
    arguments = [tmp_path / "clips.csv", "--root", tmp_path, "--out", tmp_path / "out", "--edits", 2]
    done = CliRunner().invoke(prepare, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    real, edits = rows[:4], rows[4:]
    assert [row["pitch"] for row in real[:3]] == ["low", "medium", "high"]
    assert [row["split"] for row in real] == ["train", "train", "train", "valid"]
    assert real[0]["style"] == "clear|raspy" and "calm" not in real[0]["style_not"] and "wild" in real[0]["style_not"]
    assert real[0]["emotion"] == "neutral|calm" and real[3]["phonation"] == "modal"
    assert len(edits) == 18 and {row["split"] for row in edits if row["speaker"] == "p1"} <= {"valid"}
    whispered = next(row for row in edits if row["dataset"] == "edit-whispered")
    assert (whispered["phonation"], whispered["pitch"], whispered["emotion"]) == ("whispered", "", "")
    assert all(Path(row["path"]).exists() for row in rows)


def test_the_dictionary_is_read_for_people_and_voices(tmp_path):
    entry = '00001740 00 a 02 sad 0 sorrowful(p) 0 000 | feeling grief; "a sad smile"'
    for part in ("adj", "adv", "noun", "verb"):
        (tmp_path / f"data.{part}").write_text("  1 a licence line\n")
    (tmp_path / "data.adj").write_text(f"  1 a licence line\n{entry}\n{entry.replace(' 00 a', ' 44 a')}\n")
    texts, adjectives = wordnet_texts(tmp_path)
    assert texts == ["sad", "sorrowful", "sad: feeling grief", "a sad smile"] and adjectives == ["sad", "sorrowful"]
    captions = caption_texts(400, adjectives, random.Random(0))
    assert len(captions) == 400 and any("sorrowful" in caption for caption in captions)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training run on low men and high women, from manifest to weights."""
    folder = tmp_path_factory.mktemp("training")
    (folder / "tiny.toml").write_text(TINY)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "dataset", "licence", "speaker", "split", "gender", "pitch"])
        for i in range(60):
            gender, pitch, f0 = [("male", "low", 95), ("female", "high", 230)][i % 2]
            write_sound(folder / f"{i}.wav", voice(1.0, f0 * (1 + 0.01 * (i % 7)), seed=i))
            writer.writerow([f"{i}.wav", "synthetic", "none", f"s{i}", "valid" if i >= 36 else "train", gender, pitch])
    text = folder / "text"
    text.mkdir()
    rng = random.Random(0)
    claims = [("gender", "female"), ("gender", "male"), ("pitch", "low"), ("pitch", "high")]
    tokenizer = train_tokenizer([write_caption([rng.choice(claims)], rng) for _ in range(500)], 600)
    tokenizer.save(str(text / "tokenizer.json"))
    torch.manual_seed(0)
    torch.save(TransformerTextTower(600, 32, 1, 2, 48).state_dict(), text / "text_tower.pt")
    arguments = ["tiny.toml", "manifest.csv", "--text", text, "--out", folder / "run", "--cache", folder / "cache"]
    arguments[:2] = [folder / name for name in arguments[:2]]
    done = CliRunner().invoke(train, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return folder


def test_training_learns_and_says_how_it_was_done(run):
    log = [json.loads(line) for line in (run / "run" / "log.jsonl").read_text().splitlines()]
    assert np.mean([line["classes"] for line in log[-5:]]) < 0.7 * np.mean([line["classes"] for line in log[:5]])
    about = json.loads((run / "run" / "run.json").read_text())
    assert about["manifest_sha256"] == file_sha256(run / "manifest.csv")
    assert about["recipe"]["training"]["seed"] == 3
    assert {figure["question"] for figure in about["figures"]} == {"gender", "pitch"}
    assert all(figure["figure"] >= 80 and figure["chance"] == 50 for figure in about["figures"])
    assert about["trained_on"] == [{"name": "synthetic", "licence": "none", "clips": 36, "hours": 0.01, "speakers": 36}]


def test_what_was_trained_is_exported_and_agrees_with_torch(run):
    sounds = run / "sounds"
    sounds.mkdir()
    for i, seconds in enumerate((0.02, 0.4, 1.0, 2.7, 9.9)):
        write_sound(sounds / f"{i}.wav", voice(seconds, 150, i))
    arguments = [run / "run", "--out", run / "model", "--clips", sounds]
    done = CliRunner().invoke(export, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    parity = json.loads(done.stdout[done.stdout.index("{") :])
    assert parity["clips"] == 5
    assert min(parity["speech_worst"], parity["text_worst"], parity["batched_worst"]) >= 0.99999
    model = open_model(run / "model")
    assert (model.card.name, model.card.dimension) == ("tiny", 16)
    assert all(file_sha256(run / "model" / name) == checksum for name, checksum in model.card.sha256.items())
    assert "## What it hears" in (run / "model" / "README.md").read_text()
    low, woman, man = *model.embed_speech([voice(1.0, 100)]), *model.embed_text(["a woman", "a man"])
    assert low @ man > low @ woman
