"""Training runs from the command line, end to end on sounds made here. Needs the train extra."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")

import onnx
from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.model import open_model
from voxdex.encoders.model_card import SPEECH, TEXT
from voxdex.encoders.paths import file_sha256
from voxdex.encoders.training.caption_trainer import CaptionTrainer
from voxdex.encoders.training.data.dataset import load_clips, split
from voxdex.encoders.training.distributed import init_distributed
from voxdex.encoders.training.initial import load_initial, load_trained
from voxdex.encoders.training.recipe import load_recipe
from voxdex.encoders.training.train import train
from voxdex.export.model_folder import ModelInfo, write_model
from voxdex.export.report import MIN_COSINE

ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def command(material, out, *more, manifest="labels.csv"):
    arguments = ["train", material / "tiny.toml", material / manifest, "--out", out, "--cache", material / "cache", *more]
    return [sys.executable, str(ROOT / "cli.py"), *map(str, arguments)]


def ran(arguments, **environment):
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=ONE_THREAD | environment)
    assert done.returncode == 0, done.stderr
    return done


def trained(material, out, *changes, manifest="labels.csv", root=None):
    """A run that nothing is exported of, which takes most of the time: its metrics, and what run.json says."""
    recipe = load_recipe(str(material / "tiny.toml"), changes)
    result = train(recipe, [material / manifest], out, material / "cache", root=root)
    return result, json.loads((out / "run.json").read_text())


@pytest.fixture(scope="session")
def run(material, once):
    """A finished run from the command line: what `train --json` said, and the folder."""

    def make(folder):
        (folder / "said.json").write_text(ran(command(material, folder / "run", "--json")).stdout)

    folder = once("run", make)
    return json.loads((folder / "said.json").read_text()), folder / "run"


@pytest.fixture
def traced_run(run, traced_once):
    """The run, whose graphs are not traced again when it is exported in this process."""
    model = run[1] / "model"
    traced_once(load_trained(str(run[1])).network, {name: onnx.load(str(model / name)) for name in (SPEECH, TEXT)})
    return run[1]


def test_training_learns_and_says_how_it_was_done(run, material):
    said, folder = run
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    losses = [line["attributes"] for line in log if "loss" in line]
    assert len(losses) == 120 and np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    about = json.loads((folder / "run.json").read_text())
    assert about["manifests"][0]["sha256"] == file_sha256(material / "labels.csv")
    assert about["recipe"]["schedule"]["seed"] == 3 and about["architecture"]["speech_tower"]["widths"] == [16, 24]
    assert about["trained_on"] == [{"name": "synthetic", "licence": "none", "clips": 36, "hours": 0.01, "speakers": 36}]
    after = {metric["name"]: metric["value"] for metric in said["after"]}
    assert after["gender"] >= 80 and after["pitch"] >= 80
    assert {"speech to caption R@1", "caption to speech mAP@10"} <= set(after)
    assert {metric["name"] for metric in said["before"]} == set(after)
    assert (folder / "curves.png").stat().st_size > 10_000 and not (folder / "checkpoint.safetensors").exists()


def test_the_run_is_a_model_that_indexes_and_searches(run, voxdex, material):
    said, folder = run
    assert min(said["parity"][f"{name}_worst"] for name in ("speech", "text", "batched")) >= 0.99999
    model = open_model(folder / "model")
    assert (model.card.name, model.card.dimension) == ("tiny", 16)
    assert all(file_sha256(folder / "model" / name) == checksum for name, checksum in model.card.sha256.items())
    assert "## What it hears" in (folder / "model" / "README.md").read_text()
    assert voxdex("index", material / "0.wav", material / "1.wav", "--model", folder / "model").status == 0
    assert voxdex("search", "a woman", "--json").json["hits"][0]["recording"].endswith("1.wav")


@pytest.fixture
def sounds(tmp_path):
    """A folder of recordings to compare with torch by."""
    folder = tmp_path / "sounds"
    folder.mkdir()
    for i, seconds in enumerate((0.02, 0.4, 1.0, 2.7, 9.9)):
        write_sound(folder / f"{i}.wav", voice(seconds, 150, i))
    return folder


@pytest.mark.parametrize(("precision", "least"), [("fp16", 0.9999), ("int8", 0.98), ("int8-static", 0.9)])
def test_other_precisions_agree_with_torch(traced_run, here, sounds, tmp_path, precision, least):
    done = here("export", traced_run, "--out", tmp_path / "m", "--precision", precision, "--clips", sounds, "--json")
    assert done.status == 0, done.err
    assert done.json["clips"] == 5 and done.json["sounds"] == "recordings"
    assert min(done.json[f"{name}_worst"] for name in ("speech", "text", "batched")) >= least
    model = open_model(tmp_path / "m", device="cpu")
    assert model.card.precision == precision
    full = sum(file.stat().st_size for file in (traced_run / "model").glob("*.onnx"))
    assert sum(file.stat().st_size for file in (tmp_path / "m").glob("*.onnx")) < full
    [embedding] = model.embed_speech([voice(1.0, 100)])
    assert embedding.dtype == np.float32 and np.linalg.norm(embedding) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("least", "expected"), [(0.5, "int8"), (1.1, "fp32")])
def test_8_bits_are_chosen_where_they_will_do(traced_run, sounds, tmp_path, monkeypatch, least, expected):
    monkeypatch.setitem(MIN_COSINE, "int8", least)
    model = load_trained(str(traced_run))
    assert write_model(model, ModelInfo("chosen"), tmp_path / "chosen", "auto", sounds).precision == expected
    assert open_model(tmp_path / "chosen").card.precision == expected
    assert write_model(model, ModelInfo("untold"), tmp_path / "untold", "auto").precision == "fp32"


def test_static_8_bits_want_recordings(run, here, tmp_path):
    done = here("export", run[1], "--out", tmp_path / "m", "--precision", "int8-static")
    assert done.status == 2 and "say where some are with --clips" in done.err and not (tmp_path / "m").exists()


def test_an_embedding_in_static_8_bits_does_not_depend_on_its_neighbours(traced_run, sounds, tmp_path):
    write_model(load_trained(str(traced_run)), ModelInfo("still"), tmp_path / "still", "int8-static", sounds)
    model, clip = open_model(tmp_path / "still", device="cpu"), voice(2.0, 140)
    alone, beside = next(model.embed_speech([clip])), next(model.embed_speech([clip, 0.9 * voice(2.0, 320)], batch_seconds=60))
    assert float(alone @ beside) > 0.9999  # rounding may differ with the shape of a batch, the scales may not
    kinds = {node.op_type for node in onnx.load(tmp_path / "still" / "speech.onnx").graph.node}
    assert "QuantizeLinear" in kinds and "DynamicQuantizeLinear" not in kinds


def test_large_weights_go_into_a_file_of_their_own(traced_run, tmp_path):
    assert write_model(load_trained(str(traced_run)), ModelInfo("large"), tmp_path / "large", max_bytes=10_000).holds
    model = open_model(tmp_path / "large")
    assert {"speech.onnx.data", "text.onnx.data"} <= set(model.card.sha256)
    assert (tmp_path / "large" / "speech.onnx").stat().st_size < (tmp_path / "large" / "speech.onnx.data").stat().st_size * 50
    assert len(list(model.embed_speech([voice(1.0, 100)]))) == 1


RESUMABLE = ("schedule.save_every=5", "schedule.steps=30", "schedule.validate_every=15")
KILLED = f"""
import os, signal, sys
from pathlib import Path
from voxdex.encoders.training.recipe import load_recipe
from voxdex.encoders.training.train import RunObserver, train
material, out = map(Path, sys.argv[1:])

class Killer(RunObserver):
    def on_step(self, progress):
        if progress.step == 18:
            os.kill(os.getpid(), signal.SIGKILL)

recipe = load_recipe(str(material / "tiny.toml"), {RESUMABLE})
train(recipe, [material / "labels.csv"], out, material / "cache", observer=Killer())
"""


@pytest.fixture
def one_thread():
    """As many threads as commands have, on which the last bits of a sum depend."""
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(former)


def test_resumed_after_a_kill_the_run_is_the_same(run, material, here, tmp_path, one_thread):
    trained(material, tmp_path / "whole", *RESUMABLE)
    (tmp_path / "killed.py").write_text(KILLED)
    worker = [sys.executable, *map(str, (tmp_path / "killed.py", material, tmp_path / "broken"))]
    killed = subprocess.run(worker, cwd=ROOT, env=ONE_THREAD | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    log = tmp_path / "broken" / "log.jsonl"
    assert killed.returncode == -signal.SIGKILL and json.loads(log.read_text().splitlines()[-1])["step"] == 18
    assert (tmp_path / "broken" / "checkpoint.safetensors").exists()
    other = here(*command(material, tmp_path / "broken")[2:])
    assert other.status == 2 and "another recipe" in other.err
    trained(material, tmp_path / "broken", *RESUMABLE)
    whole, broken = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert (tmp_path / "whole" / "log.jsonl").read_text() == log.read_text()
    finished = here(*command(material, run[1])[2:])
    assert finished.status == 2 and "is finished" in finished.err


def trainer(material, *changes, manifest="labels.csv"):
    recipe = load_recipe(
        str(material / "tiny.toml"), ("projection.dropout=0.0", "speech_tower.drop_path=0.0", "schedule.augment=0.0", *changes)
    )
    clips, _ = load_clips([material / manifest], material / "cache")
    torch.manual_seed(recipe.schedule.seed)
    return CaptionTrainer(recipe, load_initial(recipe, clips.rows), clips.select(split(clips.rows)[0]), init_distributed("cpu"))


LOSSES = {
    "attributes": ("loss.attributes=1.0",),
    "tags": ("loss.attributes=0.0", "loss.tags=1.0", 'loss.tag_columns=["gender"]'),
    "text_similarity": ("loss.attributes=0.0", 'loss.positives="text_similarity"'),
}


def gradients(network) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("changes", LOSSES.values(), ids=LOSSES)
def test_a_batch_in_parts_has_the_gradients_of_the_whole(material, changes):
    found = []
    for chunks in (1, 3):
        one = trainer(material, *changes, f"schedule.grad_cache_chunks={chunks}")
        one._backward()
        found.append(gradients(one.network))
    assert torch.allclose(*found, rtol=1e-3, atol=1e-6)


WORKER = """
import sys, torch
from pathlib import Path
from voxdex.encoders.training.distributed import leave
from tests.test_training.test_train import LOSSES, first_step, trainer
material, out = map(Path, sys.argv[1:])
for name, changes in LOSSES.items():
    one = trainer(material, *changes, "schedule.clip_norm=0.0")
    found = first_step(one)
    if one.group.first:
        torch.save(found, out / f"{name}.pt")
leave()
"""


def first_step(one: CaptionTrainer) -> tuple[float, torch.Tensor]:
    return one.step()["loss"], gradients(one.network)


def test_two_processes_have_the_loss_and_gradients_of_one(material, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    ran([*launch, *map(str, (tmp_path / "worker.py", material, tmp_path))], PYTHONPATH=str(ROOT))
    for name, changes in LOSSES.items():
        loss, found = torch.load(tmp_path / f"{name}.pt")
        expected_loss, expected = first_step(trainer(material, *changes, "schedule.clip_norm=0.0"))
        assert loss == pytest.approx(expected_loss, rel=1e-5), name
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6), name


def test_torchrun_trains_through_the_command_line(material, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    more = command(material, tmp_path / "run", "--set", "schedule.steps=4", "--set", "schedule.validate_every=4")[1:]
    ran([*launch, *more])
    assert (tmp_path / "run" / "model" / "model.json").exists()


def test_a_student_starts_from_its_teacher_and_keeps_its_matches(run, material, tmp_path):
    changes = (
        f"init_from={run[1]}", "loss.contrastive=0.0", "loss.attributes=0.0", "loss.self_distillation=1.0",
        "schedule.steps=6", "schedule.validate_every=6", "schedule.learning_rate=1e-4",
    )  # fmt: skip
    for form in ("cross-entropy", "squared"):
        result, _ = trained(material, tmp_path / form, *changes, f"loss.distillation_form={form}")
        assert {metric.name: metric.value for metric in result.before}["gender"] >= 80
        log = [json.loads(line) for line in (tmp_path / form / "log.jsonl").read_text().splitlines()]
        assert "self_distillation" in log[1] and "contrastive" not in log[1]


def test_a_model_folder_is_a_place_to_start_from(run, material, here, tmp_path):
    said, folder = run
    changes = (f"init_from={folder / 'model'}", "schedule.steps=2", "schedule.learning_rate=1e-9")
    result, _ = trained(material, tmp_path / "more", *changes)
    assert [metric.as_dict() for metric in result.before] == said["after"]
    shutil.copytree(folder / "model", tmp_path / "other")
    (tmp_path / "other" / "speech.onnx").write_bytes((tmp_path / "other" / "text.onnx").read_bytes())
    refused = here(
        "train", material / "tiny.toml", material / "labels.csv", "--out", tmp_path / "x", "--init-from", tmp_path / "other"
    )
    assert refused.status == 2 and "cannot be started from: it has no speech_" in refused.err


def test_captioned_clips_fine_tune_what_ships_and_one_that_cannot_be_read_is_named(material, voxdex, tmp_path):
    manifest = tmp_path / "captions.csv"
    manifest.write_text((material / "captions.csv").read_text() + "gone.wav,s99,a low man,male|low\n")
    done = voxdex(
        "train", "fine-tune", manifest, "--root", material, "--out", tmp_path / "mine", "--cache", material / "cache",
        "--set", "schedule.steps=3", "--json",
    )  # fmt: skip
    assert done.status == 1 and "gone.wav" in done.err
    assert [failure["path"] for failure in done.json["failed"]] == [str(material / "gone.wav")]
    assert done.json["parity"]["speech_worst"] >= 0.99999
    about = json.loads((tmp_path / "mine" / "run.json").read_text())
    assert about["trained_on"][0]["licence"] == "not stated" and about["recipe"]["init_from"] == "mini"
    assert voxdex("index", material / "0.wav", "--model", tmp_path / "mine" / "model").status == 0


def test_what_ships_is_trained_on_everyone_and_measured_on_a_run_that_held_some_out(traced_run, material, here, tmp_path):
    run = traced_run  # whose weights a rate of nothing keeps
    changes = (f"init_from={run}", "schedule.learning_rate=0", "sampling.hold_out=false", "schedule.steps=2")
    result, about = trained(material, tmp_path / "all", *changes)
    assert result.before == result.after == []
    assert about["trained_on"][0]["speakers"] == 60
    assert here("export", tmp_path / "all", "--metrics-from", run, "--out", tmp_path / "shipped").status == 0
    card, measured = open_model(tmp_path / "shipped").card, open_model(run / "model").card
    assert card.trained_on == about["trained_on"] != measured.trained_on
    assert card.metrics["evaluation"] == measured.metrics["evaluation"] and card.scales == measured.scales
    said = (tmp_path / "shipped" / "README.md").read_text()
    assert "| gender | synthetic | 24 |" in said and "seconds of audio a second" in said


def test_only_what_a_licence_allows_is_trained_on(material, tmp_path):
    rows = (material / "labels.csv").read_text().splitlines()
    freed = [row.replace(",none,", ",CC0 1.0,") if i % 3 else row for i, row in enumerate(rows)]
    (tmp_path / "some.csv").write_text("\n".join(freed))
    changes = ('sampling.licences=["CC0 1.0"]', "schedule.steps=2")
    _, about = trained(material, tmp_path / "run", *changes, manifest=tmp_path / "some.csv", root=material)
    assert [(part["licence"], part["clips"]) for part in about["trained_on"]] == [("CC0 1.0", 24)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense", "M"), "no recipe 'nonsense'"),
        (("R", "M", "--set", "schedule.step=3"), "no field 'step' in [schedule]"),
        (("R", "M", "--set", "schedule.steps=many"), "schedule.steps is of type int"),
        (("R", "M", "--set", "loss.positives=all"), "loss.positives is 'identity' or 'labels'"),
        (("R", "M", "--set", "text_tower.source=/nowhere"), "/nowhere/tokenizer.json cannot be read"),
        (("R", "M", "--set", "speech_tower.kind=resnet"), "speech_tower.kind is"),
        (("R", "M", "--set", "loss.tags=1.0"), "no clip has any in the manifest's column(s) tags"),
        (("R", "M", "--init-from", "/nowhere"), "neither a training run"),
        (("ra-clap", "M"), "Self-distillation needs a teacher"),
        (("R", "M", "--set", "schedule.crop_seconds=[3, 1]"), "two numbers, rising"),
        (("R", "M", "--set", "loss.attribute_weights={mood = 2.0}"), "no field 'mood' in loss.attribute_weights"),
        (("R", "M", "--set", 'sampling.licences=["CC0 1.0"]'), "No clip has one of the licences CC0 1.0"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(material, here, tmp_path, arguments, words):
    places = {"R": material / "tiny.toml", "M": material / "labels.csv"}
    done = here(
        "train", *(places.get(part, part) for part in arguments), "--out", tmp_path / "run", "--cache", material / "cache"
    )
    assert done.status == 2 and words in " ".join(done.err.split()), done.err
    assert "Traceback" not in done.err


def test_a_gpu_that_is_not_there_is_named(material, here, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = here("train", material / "tiny.toml", material / "labels.csv", "--out", tmp_path / "run", "--device", "cuda")
    assert done.status == 2 and "--device cpu" in done.err and "Traceback" not in done.err


def test_export_wants_a_finished_run_and_an_empty_place(run, here, tmp_path):
    nothing = here("export", tmp_path, "--out", tmp_path / "m")
    assert nothing.status == 2 and "is not a training run" in nothing.err
    (tmp_path / "sounds").mkdir()
    silent = here("export", run[1], "--out", tmp_path / "m", "--clips", tmp_path / "sounds")
    assert silent.status == 2 and "holds no recording that can be read" in silent.err
    taken = here("export", run[1], "--out", run[1] / "model")
    assert taken.status == 2 and "exists already" in taken.err
    about = json.loads((run[1] / "run.json").read_text())
    del about["metrics"]
    (tmp_path / "run.json").write_text(json.dumps(about))
    unfinished = here("export", tmp_path, "--out", tmp_path / "m")
    assert unfinished.status == 2 and "not finished" in unfinished.err
