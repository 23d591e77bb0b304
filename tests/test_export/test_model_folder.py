"""Export of a training run as a model folder, in every precision."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")

import onnx

from tests.fakes.runs import train_small
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.model import open_model
from voxdex.encoders.training.initial import load_trained
from voxdex.export.model_folder import ModelInfo, write_model
from voxdex.export.report import MIN_COSINE


@pytest.fixture
def recordings(tmp_path):
    """A folder of recordings for the comparison with torch."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i, seconds in enumerate((0.02, 0.4, 1.0, 2.7, 4.9)):
        write_sound(folder / f"{i}.wav", voice(seconds, 150, i))
    return folder


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("int8", 0.98), ("int8-static", 0.9), ("compact", 0.98)])
def test_lower_precisions_agree_with_torch(traced_small_run, here, recordings, tmp_path, precision, least):
    done = here("export", traced_small_run, "--out", tmp_path / "m", "--precision", precision, "--clips", recordings, "--json")
    assert done.status == 0, done.err
    assert done.json["clips"] == 5 and done.json["sounds"] == "recordings"
    assert min(done.json[f"{name}_worst"] for name in ("speech", "text", "batched")) >= least
    model = open_model(tmp_path / "m", device="cpu")
    assert model.card.precision == precision
    full = sum(file.stat().st_size for file in (traced_small_run / "model").glob("*.onnx"))
    assert sum(file.stat().st_size for file in (tmp_path / "m").glob("*.onnx")) < full
    [embedding] = model.embed_speech([voice(1.0, 100)])
    assert embedding.dtype == np.float32 and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-3)


def test_training_continues_from_a_compact_model(traced_small_run, tmp_path):
    write_model(load_trained(str(traced_small_run)), ModelInfo("small"), tmp_path / "small", "compact")
    speech = onnx.load(str(tmp_path / "small" / "speech.onnx")).graph.initializer
    stored = {tensor.name: tensor.data_type for tensor in speech}
    assert stored["speech_projection.linear1.weight.fp16"] == onnx.TensorProto.FLOAT16
    trained, compact = (load_trained(str(source)).network.state_dict() for source in (traced_small_run, tmp_path / "small"))
    assert trained.keys() == compact.keys()
    for name, weight in trained.items():
        if weight.ndim == 2:
            assert torch.cosine_similarity(weight.flatten(), compact[name].flatten(), dim=0) > 0.999, name


@pytest.mark.parametrize(("least", "expected"), [(0.5, "int8"), (1.1, "fp32")])
def test_auto_precision_chooses_int8_above_the_least_cosine(
    traced_small_run, recordings, tmp_path, monkeypatch, least, expected
):
    monkeypatch.setitem(MIN_COSINE, "int8", least)
    model = load_trained(str(traced_small_run))
    assert write_model(model, ModelInfo("chosen"), tmp_path / "chosen", "auto", recordings).precision == expected
    assert open_model(tmp_path / "chosen").card.precision == expected
    assert write_model(model, ModelInfo("untold"), tmp_path / "untold", "auto").precision == "fp32"


def test_static_int8_requires_recordings(small_run, here, tmp_path):
    done = here("export", small_run[1], "--out", tmp_path / "m", "--precision", "int8-static")
    assert done.status == 2 and "give a folder with --clips" in done.err and not (tmp_path / "m").exists()


def test_static_int8_embeddings_do_not_depend_on_the_batch(traced_small_run, recordings, tmp_path):
    write_model(load_trained(str(traced_small_run)), ModelInfo("still"), tmp_path / "still", "int8-static", recordings)
    model, clip = open_model(tmp_path / "still", device="cpu"), voice(2.0, 140)
    alone, beside = next(model.embed_speech([clip])), next(model.embed_speech([clip, 0.9 * voice(2.0, 320)], batch_seconds=60))
    assert float(alone @ beside) > 0.9999  # rounding may differ with the shape of a batch, the scales may not
    kinds = {node.op_type for node in onnx.load(tmp_path / "still" / "speech.onnx").graph.node}
    assert "QuantizeLinear" in kinds and "DynamicQuantizeLinear" not in kinds


def test_large_weights_are_stored_in_a_separate_file(traced_small_run, tmp_path):
    assert write_model(load_trained(str(traced_small_run)), ModelInfo("large"), tmp_path / "large", max_bytes=10_000).holds
    model = open_model(tmp_path / "large")
    assert {"speech.onnx.data", "text.onnx.data"} <= set(model.card.sha256)
    assert (tmp_path / "large" / "speech.onnx").stat().st_size < (tmp_path / "large" / "speech.onnx.data").stat().st_size * 50
    assert len(list(model.embed_speech([voice(1.0, 100)]))) == 1


def test_metrics_from_a_run_that_held_speakers_out(traced_small_run, material, here, tmp_path):
    small_run = traced_small_run  # a learning rate of 0 keeps its weights
    changes = (f"init_from={small_run}", "schedule.learning_rate=0", "sampling.hold_out=false", "schedule.steps=2")
    result, about = train_small(material, tmp_path / "all", *changes)
    assert result.before == result.after == []
    assert about["trained_on"][0]["speakers"] == 60
    assert here("export", tmp_path / "all", "--metrics-from", small_run, "--out", tmp_path / "shipped").status == 0
    card, measured = open_model(tmp_path / "shipped").card, open_model(small_run / "model").card
    assert card.trained_on == about["trained_on"] != measured.trained_on
    assert card.metrics["evaluation"] == measured.metrics["evaluation"] and card.scales == measured.scales
    said = (tmp_path / "shipped" / "README.md").read_text()
    assert "| gender | synthetic | 24 |" in said and "seconds of audio a second" in said


def test_export_requires_a_finished_run_and_a_new_folder(small_run, here, tmp_path):
    nothing = here("export", tmp_path, "--out", tmp_path / "m")
    assert nothing.status == 2 and "is not a training run" in nothing.err
    (tmp_path / "sounds").mkdir()
    silent = here("export", small_run[1], "--out", tmp_path / "m", "--clips", tmp_path / "sounds")
    assert silent.status == 2 and "holds no recording that can be read" in silent.err
    taken = here("export", small_run[1], "--out", small_run[1] / "model")
    assert taken.status == 2 and "exists already" in taken.err
    about = json.loads((small_run[1] / "run.json").read_text())
    del about["metrics"]
    (tmp_path / "run.json").write_text(json.dumps(about))
    unfinished = here("export", tmp_path, "--out", tmp_path / "m")
    assert unfinished.status == 2 and "not finished" in unfinished.err
