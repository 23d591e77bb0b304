"""Training runs from start to finish: results, resumption, initial weights and refused options."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")

from safetensors.torch import load_file

from tests.conftest import ROOT
from tests.fakes.runs import ONE_THREAD, train_command, train_small
from voxdex.encoders.model import open_model
from voxdex.encoders.paths import file_sha256


def test_training_reduces_the_loss_and_records_the_run(small_run, material):
    said, folder = small_run
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


def test_trained_model_indexes_and_searches(small_run, voxdex, material):
    said, folder = small_run
    assert min(said["parity"][f"{name}_worst"] for name in ("speech", "text", "batched")) >= 0.99999
    model = open_model(folder / "model")
    assert (model.card.name, model.card.dimension) == ("tiny", 16)
    assert all(file_sha256(folder / "model" / name) == checksum for name, checksum in model.card.sha256.items())
    assert "## What it hears" in (folder / "model" / "README.md").read_text()
    assert voxdex("index", material / "0.wav", material / "1.wav", "--model", folder / "model").status == 0
    assert voxdex("search", "a woman", "--json").json["hits"][0]["recording"].endswith("1.wav")


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
    """One thread, as in commands, since the last bits of sums depend on it."""
    former = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(former)


def test_resuming_a_killed_run_gives_the_same_weights(small_run, material, here, tmp_path, one_thread):
    train_small(material, tmp_path / "whole", *RESUMABLE)
    (tmp_path / "killed.py").write_text(KILLED)
    worker = [sys.executable, *map(str, (tmp_path / "killed.py", material, tmp_path / "broken"))]
    killed = subprocess.run(worker, cwd=ROOT, env=ONE_THREAD | {"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    log = tmp_path / "broken" / "log.jsonl"
    assert killed.returncode == -signal.SIGKILL and json.loads(log.read_text().splitlines()[-1])["step"] == 18
    assert (tmp_path / "broken" / "checkpoint.safetensors").exists()
    other = here(*train_command(material, tmp_path / "broken")[2:])
    assert other.status == 2 and "another recipe" in other.err
    train_small(material, tmp_path / "broken", *RESUMABLE)
    whole, broken = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert (tmp_path / "whole" / "log.jsonl").read_text() == log.read_text()
    finished = here(*train_command(material, small_run[1])[2:])
    assert finished.status == 2 and "is finished" in finished.err


def test_student_starts_from_its_teacher(small_run, material, tmp_path):
    changes = (
        f"init_from={small_run[1]}", "loss.contrastive=0.0", "loss.attributes=0.0", "loss.self_distillation=1.0",
        "schedule.steps=6", "schedule.validate_every=6", "schedule.learning_rate=1e-4",
    )  # fmt: skip
    for form in ("cross-entropy", "squared"):
        result, _ = train_small(material, tmp_path / form, *changes, f"loss.distillation_form={form}")
        assert {metric.name: metric.value for metric in result.before}["gender"] >= 80
        log = [json.loads(line) for line in (tmp_path / form / "log.jsonl").read_text().splitlines()]
        assert "self_distillation" in log[1] and "contrastive" not in log[1]


def test_init_from_a_model_folder(small_run, material, here, tmp_path):
    said, folder = small_run
    changes = (f"init_from={folder / 'model'}", "schedule.steps=2", "schedule.learning_rate=1e-9")
    result, _ = train_small(material, tmp_path / "more", *changes)
    assert [metric.as_dict() for metric in result.before] == said["after"]
    shutil.copytree(folder / "model", tmp_path / "other")
    (tmp_path / "other" / "speech.onnx").write_bytes((tmp_path / "other" / "text.onnx").read_bytes())
    refused = here(
        "train", material / "tiny.toml", material / "labels.csv", "--out", tmp_path / "x", "--init-from", tmp_path / "other"
    )
    assert refused.status == 2 and "cannot be started from: it has no speech_" in refused.err


def test_sampling_by_licence(material, tmp_path):
    rows = (material / "labels.csv").read_text().splitlines()
    freed = [row.replace(",none,", ",CC0 1.0,") if i % 3 else row for i, row in enumerate(rows)]
    (tmp_path / "some.csv").write_text("\n".join(freed))
    changes = ('sampling.licences=["CC0 1.0"]', "schedule.steps=2")
    _, about = train_small(material, tmp_path / "run", *changes, manifest=tmp_path / "some.csv", root=material)
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
def test_refused_options_of_train(material, here, tmp_path, arguments, words):
    places = {"R": material / "tiny.toml", "M": material / "labels.csv"}
    done = here(
        "train", *(places.get(part, part) for part in arguments), "--out", tmp_path / "run", "--cache", material / "cache"
    )
    assert done.status == 2 and words in " ".join(done.err.split()), done.err
    assert "Traceback" not in done.err


def test_train_refuses_a_missing_gpu(material, here, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = here("train", material / "tiny.toml", material / "labels.csv", "--out", tmp_path / "run", "--device", "cuda")
    assert done.status == 2 and "--device cpu" in done.err and "Traceback" not in done.err
