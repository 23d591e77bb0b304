"""The speaker model: its last layer trained, its graph compared with torch."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from voxdex.encoders.model_card import SpeakerThresholds
from voxdex.encoders.networks.campplus import SpeakerNetwork
from voxdex.encoders.speaker import open_speaker_model
from voxdex.encoders.training.scripts import speaker
from voxdex.encoders.training.scripts.speaker import Clips, embedded, equal_error, is_trained_on, train_last_layer
from voxdex.export.model_folder import ExportError
from voxdex.export.speaker_model import write_speaker_model


def rows(*speakers, **more):
    return [{"speaker": name, "path": f"a/{number}.flac", "emotion": ""} | more for number, name in enumerate(speakers)]


def test_equal_error_rate():
    voices = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    assert equal_error(voices, rows(*"aabbcc"))[0] == 0
    assert equal_error(voices, rows(*"abcabc"))[0] > 40
    stretches = [row | {"path": f"stretches/tape-{row['speaker']}-0001-{n}.flac"} for n, row in enumerate(rows(*"aabbcc"))]
    assert {speaker._recording_of(row) for row in stretches} == {f"tape-{name}-0001" for name in "abc"}


def test_only_data_that_is_free_for_any_use_is_trained_on():
    for licence, expected in (
        ("CC BY 4.0", True),
        ("MIT (repository licence)", True),
        ("CMU ARCTIC (BSD-like)", True),
        ("public domain", True),
        ("CC BY-NC-SA 4.0", False),
        ("CC BY-SA 4.0", False),
        ("CC BY-NC-ND 4.0", False),
        ("unknown", False),
    ):
        assert is_trained_on({"split": "train", "licence": licence}) is expected
    assert not is_trained_on({"split": "valid", "licence": "CC BY 4.0"})


def test_the_last_layer_learns_to_tell_speakers_apart(monkeypatch):
    for name, value in (("STEPS", 100), ("LEARNING_RATE", 1e-2), ("KEPT", 0.02)):
        monkeypatch.setattr(speaker, name, value)
    rng = np.random.default_rng(0)
    people = rng.standard_normal((20, 32))
    styles = 3 * rng.standard_normal((200, 4)) @ rng.standard_normal((4, 32))  # what all speakers share
    sounds = (np.repeat(people, 10, axis=0) + styles).astype(np.float32)
    clips = Clips(rows(*(f"s{number // 10}" for number in range(200))), sounds, sounds + 0.1)
    layer = nn.Linear(32, 16)
    trained = train_last_layer(clips, layer)
    before, after = (equal_error(embedded(sounds, each), clips.rows)[0] for each in (layer, trained))
    assert after < before - 5
    again = train_last_layer(clips, layer)
    assert torch.equal(trained.weight, again.weight)


def test_a_run_is_exported(tmp_path, monkeypatch):
    monkeypatch.setattr("voxdex.encoders.networks.campplus.BLOCKS", ((2, 1), (1, 2), (1, 2)))  # traced in seconds
    torch.manual_seed(0)
    torch.save(SpeakerNetwork().state_dict(), tmp_path / "network.pt")
    error = {"name": "set", "condition": "clips", "speakers": 4, "clips": 9, "rate": 1.5, "published": 2.5, "cosine": 0.4}
    trained = {"name": "set", "licence": "CC0", "clips": 9, "hours": 0.1, "speakers": 4}
    (tmp_path / "run.json").write_text(json.dumps({"weights_sha256": "0", "trained_on": [trained], "errors": [error]}))
    assert write_speaker_model(tmp_path, tmp_path / "model", SpeakerThresholds(0.4, 0.35, 0.55)) > 0.9999
    model = open_speaker_model(tmp_path / "model")
    assert model.thresholds == SpeakerThresholds(0.4, 0.35, 0.55) and model.card.dimension == 192
    assert "| set, clips | 4 | 9 | 1.5 | 2.5 |" in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(ExportError, match="exists already"):
        write_speaker_model(tmp_path, tmp_path / "model", SpeakerThresholds(0.4, 0.35, 0.55))
