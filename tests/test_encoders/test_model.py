"""The model that ships: batch invariance, refusals, the model folder and golden values."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest

from tests.fakes.sounds import voice
from tests.golden import GOLDEN, first_numbers
from voxdex.encoders.model import open_model
from voxdex.encoders.model_card import SHIPPED, ModelError, find_models, read_card
from voxdex.encoders.paths import file_sha256
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.speaker import open_speaker_model

LENGTHS = [0.05, 0.3, 0.7, 1.0, 1.5, 2.2, 3.0, 4.7, 6.0, 8.3, 10.0]


@pytest.fixture(scope="module")
def clips():
    return [voice(LENGTHS[i % len(LENGTHS)], f0=90 + 6 * i, seed=i) for i in range(32)]


def test_embeddings_do_not_depend_on_the_batch(mini, clips):
    together = np.stack(list(mini.embed_speech(clips, batch_seconds=320)))
    alone = np.stack([next(mini.embed_speech([clip])) for clip in clips])
    assert (together * alone).sum(axis=1).min() >= 0.99999
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert together.shape == (32, mini.card.dimension) and together.dtype == np.float32


def test_embeddings_do_not_depend_on_threads_or_batch_size(mini, clips):
    one_thread = open_model("mini", device="cpu:1")
    expected = np.stack(list(mini.embed_speech(clips)))
    for batch_seconds in (0.1, 15, 60):
        found = np.stack(list(one_thread.embed_speech(clips, batch_seconds)))
        assert (found * expected).sum(axis=1).min() >= 0.99999


def test_embeddings_of_a_stream_keep_its_order(mini, clips):
    many = [clips[i % 32] for i in np.random.default_rng(0).permutation(150)]
    vectors = np.stack(list(mini.embed_speech(iter(many), batch_seconds=30)))
    expected = {id(clip): vector for clip, vector in zip(clips, mini.embed_speech(clips), strict=True)}
    assert all(vector @ expected[id(clip)] >= 0.99999 for clip, vector in zip(many, vectors, strict=True))


def test_embeddings_depend_on_the_voice_not_on_padding_or_level(mini):
    low, high = voice(3, 100), voice(3, 230)
    quiet, same, other = mini.embed_speech([0.01 * low, low, high])
    assert quiet @ same > 0.9999
    assert other @ same < 0.9


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (np.zeros(0, np.float32), "non-empty"),
        (np.zeros((2, 100), np.float32), "shape"),
        (np.array([0.0, np.inf], np.float32), "finite"),
        (np.zeros(16_000 * 11, np.float32), "split it first"),
    ],
)
def test_invalid_clips(mini, clip, reason):
    with pytest.raises(ValueError, match=reason):
        list(mini.embed_speech([clip]))


def test_digital_silence(mini):
    (vector,) = mini.embed_speech([np.zeros(16_000, np.float32)])
    assert np.isfinite(vector).all()


def test_captions_of_any_length_and_script(mini):
    captions = ["a woman", "", "a man " * 500, "Eine traurige Stimme", "슬픈 목소리", "A WOMAN"]
    vectors = np.stack(list(mini.embed_text(captions)))
    assert np.isfinite(vectors).all()
    assert vectors[0] @ vectors[5] == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ next(mini.embed_text(["a woman"])) >= 0.99999


def test_similar_captions_have_similar_embeddings(mini):
    sad, mournful, angry, furious = mini.embed_text(["a sad voice", "a mournful voice", "an angry voice", "a furious voice"])
    assert sad @ mournful > sad @ angry
    assert angry @ furious > mournful @ furious


def test_shipped_speaker_model():
    model = open_speaker_model()
    assert find_models()[model.card.name] == model.folder == SHIPPED / "speaker" and model.card.text == "none"
    assert model.card.licence and model.card.trained_on and model.card.metrics["evaluation"] and model.card.description
    assert {*model.card.sha256, "model.json"} == {file.name for file in model.folder.iterdir()}
    assert all(file_sha256(model.folder / file) == checksum for file, checksum in model.card.sha256.items())
    for name, opened in (("mini", open_speaker_model), ("speaker", open_model), ("speaker", open_phonetic_model)):
        with pytest.raises(ModelError, match=r"is for|is not for"):
            opened(name)


@pytest.mark.parametrize("folder", sorted(set(SHIPPED.iterdir()) - {SHIPPED / "speaker"}), ids=lambda folder: folder.name)
def test_shipped_model_folders(folder):
    spoken = read_card(folder).text == "phonemes"
    model = open_phonetic_model(folder.name) if spoken else open_model(folder.name)
    assert find_models()[folder.name] == model.folder == folder
    assert model.card.name == folder.name
    assert model.card.licence and model.card.trained_on and model.card.metrics and model.card.description
    assert model.card.sample_rate == 16_000 and model.card.max_seconds == (16 if spoken else 10)
    for file, checksum in model.card.sha256.items():
        assert file_sha256(folder / file) == checksum
    assert {*model.card.sha256, "model.json"} == {file.name for file in folder.iterdir()}
    text, extra = ("phonemes.onnx", ["log_probs", "states"]) if spoken else ("text.onnx", [])
    assert {"speech.onnx", text, "tokenizer.json", "README.md"} <= set(model.card.sha256)
    graphs = {
        "speech.onnx": {"waveform": ("tensor(float)", 2), "lengths": ("tensor(int64)", 1)},
        text: {"input_ids": ("tensor(int64)", 2), "attention_mask": ("tensor(int64)", 2)},
    }
    for file, inputs in graphs.items():
        session = onnxruntime.InferenceSession(str(folder / file), providers=["CPUExecutionProvider"])
        assert {i.name: (i.type, len(i.shape)) for i in session.get_inputs()} == inputs
        output, *others = session.get_outputs()
        assert (output.name, output.shape[1]) == ("embedding", model.card.dimension)
        assert {other.name for other in others} <= set(extra)


def test_errors_of_open_model(mini, tmp_path):
    with pytest.raises(ModelError, match=r"no model .maxi.*mini"):
        open_model("maxi")
    with pytest.raises(ModelError, match="no device"):
        open_model("mini", device="tpu").start()
    broken = tmp_path / "broken"
    shutil.copytree(mini.folder, broken)
    (broken / "speech.onnx").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot be opened"):
        list(open_model(broken).embed_speech([voice(1)]))
    card = json.loads((broken / "model.json").read_text())
    del card["dimension"]
    (broken / "model.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match="no field 'dimension'"):
        open_model(broken)
    (broken / "model.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        open_model(broken)


def test_cuda_is_used_or_refused(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match=r"\[gpu\]"):
        open_model("mini", device="cuda").start()
    assert open_model("mini", device="auto").start().name == "cpu"
    assert "CPU build" in open_model("mini", device="auto").start().reason


def test_golden_values(mini):
    """Values of the shipped model. To update them: python -m tests.golden"""
    golden = json.loads(GOLDEN.read_text())
    assert golden["space"] == mini.card.space
    for name, values in first_numbers(mini).items():
        assert values == pytest.approx(golden[name], abs=2e-3), name
