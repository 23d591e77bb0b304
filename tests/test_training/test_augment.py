"""Augmentation of training waveforms."""

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.sounds import voice
from voxdex.encoders.training.data.augment import augment, draw_conditions


def test_augmentation_keeps_shape_and_silence_after_the_end():
    waveform = torch.stack([torch.from_numpy(voice(1.0, 120)), torch.zeros(16_000)])
    waveform[0, 9_000:] = 0
    lengths = torch.tensor([9_000, 16_000])
    generator = torch.Generator().manual_seed(1)
    changed = augment(waveform, lengths, draw_conditions(2, generator, chance=1.0), generator)
    assert changed.shape == waveform.shape and torch.isfinite(changed).all()
    assert changed[0, 9_000:].abs().max() == 0
    assert not torch.allclose(changed[0], waveform[0])
