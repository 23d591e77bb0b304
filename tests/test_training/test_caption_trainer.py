"""Gradients of the caption trainer: in parts, and over two processes."""

import sys

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")


from tests.conftest import ROOT
from tests.fakes.runs import run_command, train_command
from voxdex.encoders.training.caption_trainer import CaptionTrainer
from voxdex.encoders.training.data.dataset import load_clips, split
from voxdex.encoders.training.distributed import init_distributed
from voxdex.encoders.training.initial import load_initial
from voxdex.encoders.training.recipe import load_recipe


def small_trainer(material, *changes, manifest="labels.csv"):
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
def test_gradients_do_not_depend_on_grad_cache_chunks(material, changes):
    found = []
    for chunks in (1, 3):
        one = small_trainer(material, *changes, f"schedule.grad_cache_chunks={chunks}")
        one._backward()
        found.append(gradients(one.network))
    assert torch.allclose(*found, rtol=1e-3, atol=1e-6)


WORKER = """
import sys, torch
from pathlib import Path
from voxdex.encoders.training.distributed import end_distributed
from tests.test_training.test_caption_trainer import LOSSES, first_step, small_trainer
material, out = map(Path, sys.argv[1:])
for name, changes in LOSSES.items():
    one = small_trainer(material, *changes, "schedule.clip_norm=0.0")
    found = first_step(one)
    if one.group.first:
        torch.save(found, out / f"{name}.pt")
end_distributed()
"""


def first_step(one: CaptionTrainer) -> tuple[float, torch.Tensor]:
    return one.step()["loss"], gradients(one.network)


def test_loss_and_gradients_do_not_depend_on_the_number_of_processes(material, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run_command([*launch, *map(str, (tmp_path / "worker.py", material, tmp_path))], PYTHONPATH=str(ROOT))
    for name, changes in LOSSES.items():
        loss, found = torch.load(tmp_path / f"{name}.pt")
        expected_loss, expected = first_step(small_trainer(material, *changes, "schedule.clip_norm=0.0"))
        assert loss == pytest.approx(expected_loss, rel=1e-5), name
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6), name


def test_train_command_under_torchrun(material, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    more = train_command(material, tmp_path / "run", "--set", "schedule.steps=4", "--set", "schedule.validate_every=4")[1:]
    run_command([*launch, *more])
    assert (tmp_path / "run" / "model" / "model.json").exists()
