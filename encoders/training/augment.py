"""Rooms, microphones, lines and noise: what a recording adds to a voice and what must not pass for style."""

import math

import torch
from torch import Tensor

from encoders.audio import SAMPLE_RATE


def augment(waveform: Tensor, lengths: Tensor, generator: torch.Generator, chance: float = 0.8) -> Tensor:
    """Puts each clip through a random channel and adds coloured noise.

    Args:
        waveform: [batch, samples] at 16 kHz, zero after `lengths` [batch].
        generator: source of the draws.
        chance: share of clips that are changed.

    Returns:
        The same shape, zero after `lengths` again.
    """
    batch, samples = waveform.shape
    size = 2 ** math.ceil(math.log2(samples + SAMPLE_RATE // 2))
    hz = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def maybe(share: float) -> Tensor:
        return (torch.rand(batch, 1, generator=generator) < share).float()

    channel = _smooth_curve(hz, uniform(-8, 8, 9)) * maybe(0.7)
    channel = channel + _band(hz, uniform(80, 400, 1), uniform(3000, 3800, 1)) * maybe(0.12)
    channel = channel + _band(hz, torch.zeros(batch, 1), uniform(3500, 7800, 1)) * maybe(0.2)
    spectrum = torch.fft.rfft(waveform, size)
    room = torch.fft.rfft(_room(batch, generator), size)
    wet = maybe(0.4)
    changed = torch.fft.irfft(spectrum * 10 ** (channel / 20) * (wet * room + (1 - wet)), size)[:, :samples]

    noise = torch.randn(batch, size, generator=generator)
    noise = torch.fft.irfft(torch.fft.rfft(noise) * 10 ** (_smooth_curve(hz, uniform(-15, 15, 9)) / 20), size)[:, :samples]
    snr_db = uniform(3, 45, 1)
    level = changed.square().mean(1, keepdim=True).sqrt() / noise.square().mean(1, keepdim=True).sqrt()
    changed = changed + noise * level * 10 ** (-snr_db / 20) * maybe(0.8)

    valid = torch.arange(samples) < lengths[:, None]
    return torch.where(maybe(chance) > 0, changed, waveform) * valid


def _smooth_curve(hz: Tensor, knots_db: Tensor) -> Tensor:
    """Gains in dB at knots evenly spaced on a log scale from 60 Hz to 8 kHz -> [batch, bins]."""
    count = knots_db.shape[1]
    place = (torch.log2(hz.clamp(min=60) / 60) / math.log2(8000 / 60) * (count - 1)).clamp(0, count - 1 - 1e-4)
    left = place.floor().long()
    share = place - left
    return knots_db[:, left] * (1 - share) + knots_db[:, left + 1] * share


def _band(hz: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A band-pass of [batch] edges in Hz as gains in dB, falling 48 dB an octave outside, at most 60 dB."""
    below = torch.log2(low.clamp(min=1) / hz.clamp(min=1)).clamp(min=0)
    above = torch.log2(hz.clamp(min=1) / high).clamp(min=0)
    return -(48 * (below + above)).clamp(max=60)


def _room(batch: int, generator: torch.Generator) -> Tensor:
    """Exponentially decaying noise after a direct sound: impulse responses of 0.5 s, [batch, samples]."""
    time = torch.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    decay_s = 0.1 + 0.5 * torch.rand(batch, 1, generator=generator)
    direct_to_reverberant_db = 15 * torch.rand(batch, 1, generator=generator)
    tail = torch.randn(batch, len(time), generator=generator) * 10 ** (-3 * time / decay_s)
    tail = tail / tail.norm(dim=1, keepdim=True) * 10 ** (-direct_to_reverberant_db / 20)
    tail[:, 0] = 1.0
    return tail
