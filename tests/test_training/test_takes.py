"""Takes of clips for a frozen speech tower."""

import random

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.runs import train_small
from tests.test_training.test_caption_trainer import small_trainer
from voxdex.encoders.training.initial import load_trained

FROZEN = ("schedule.takes=2", "schedule.speech_tower_rate=0.0", "schedule.augment=0.5", "schedule.speed_change=0.1")


def test_each_take_is_embedded_once_and_heard_as_labelled(material, monkeypatch):
    trainer = small_trainer(material, *FROZEN)
    takes, tower = trainer.takes, trainer.network.speech_tower
    tower.eval()
    embedded = []
    monkeypatch.setattr(
        tower, "forward", lambda *sound, heard=tower.forward: (embedded.append(len(sound[1])), heard(*sound))[1]
    )
    rng = random.Random(0)
    drawn = [takes.draw(row, rng) for row in [0, 1, 2] * 8]
    assert len({(take.row, take.number) for take in drawn}) == 6
    assert len({take.speed for take in drawn}) == 6, "a take is always played in the same way"
    first = takes.features(drawn)
    assert sum(embedded) == 6 and first.shape == (24, tower.width)
    assert torch.equal(takes.features(drawn[:5]), first[:5]) and sum(embedded) == 6
    again = small_trainer(material, *FROZEN)
    again.network.speech_tower.eval()
    assert torch.allclose(again.takes.features(drawn[:1]), first[:1], atol=1e-6), "a resumed run has the same takes"
    changed = [take for take in drawn if take.conditions.changed[0]]
    assert changed and all("brightness" in takes.labels(take) for take in changed)


def test_a_frozen_speech_tower_stays_as_it_was(small_run, material, tmp_path):
    short = ("schedule.steps=20", "schedule.validate_every=20")
    changes = (*FROZEN, f'speech_tower.source="{small_run[1]}"', "schedule.text_tower_rate=1.0", *short)
    result, about = train_small(material, tmp_path / "second", *changes)
    before, after = (load_trained(str(run)).network for run in (small_run[1], tmp_path / "second"))
    for name, weight in before.speech_tower.state_dict().items():
        assert torch.equal(weight, after.speech_tower.state_dict()[name]), name
    text = [network.text_tower.state_dict() for network in (before, after)]
    assert any(not torch.equal(weight, text[1][name]) for name, weight in text[0].items())
    assert about["hears"]["gender"] == ["female", "male"] and result.after
