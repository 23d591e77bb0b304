"""Rooms, microphones, lines and noise: what a recording adds to a voice and what must not pass for style."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from encoders.audio import SAMPLE_RATE

NOISY_DB, CLEAN_DB = 12.0, 35.0
"""Signal-to-noise ratio below which added noise is heard, and from which on it is not."""
ECHOING_DB, ECHOING_SECONDS = 6.0, 0.3
"""Direct to reverberant sound below which, and decay above which, a room is heard."""


@dataclass(frozen=True)
class Surroundings:
    """What clips are put through: each a tensor of [clips, ...].

    changed: bool, whether a clip is changed at all. response_db: smooth curve over frequency, at 9 knots. low_hz, high_hz:
    the band that is let through. telephone: bool, whether it is that of a telephone. room: bool; decay_seconds: to a
    thousandth of the amplitude; direct_db: direct over reverberant sound. noise: bool; snr_db; noise_db: colour, at 9 knots.
    """

    changed: Tensor
    response_db: Tensor
    low_hz: Tensor
    high_hz: Tensor
    telephone: Tensor
    room: Tensor
    decay_seconds: Tensor
    direct_db: Tensor
    noise: Tensor
    snr_db: Tensor
    noise_db: Tensor

    def __len__(self) -> int:
        return len(self.changed)

    def __getitem__(self, rows: slice) -> "Surroundings":
        return Surroundings(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device) -> "Surroundings":
        """The same on a device."""
        return Surroundings(*(getattr(self, field.name).to(device) for field in fields(self)))

    def labels(self) -> list[dict[str, str]]:
        """For each clip the cells that its surroundings change, "" for what is no longer known."""
        return [self._labels(clip) if self.changed[clip] else {} for clip in range(len(self))]

    def _labels(self, clip: int) -> dict[str, str]:
        cells = {"brightness": ""}
        if self.noise[clip] and self.snr_db[clip] < CLEAN_DB:
            cells["noise"] = "noisy" if self.snr_db[clip] < NOISY_DB else ""
        if self.room[clip]:
            echoing = self.direct_db[clip] < ECHOING_DB and self.decay_seconds[clip] > ECHOING_SECONDS
            cells["reverberation"] = "reverberant" if echoing else ""
        if self.high_hz[clip] < SAMPLE_RATE / 2:
            cells["channel"] = "telephone" if self.telephone[clip] else ""
        return cells


def draw_surroundings(clips: int, generator: torch.Generator, chance: float = 0.8) -> Surroundings:
    """Random surroundings for `clips` clips, of which a share of `chance` is changed."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(clips, *shape, generator=generator)

    def maybe(share: float) -> Tensor:
        return torch.rand(clips, generator=generator) < share

    telephone, muffled = maybe(0.12), maybe(0.2)
    low_pass = torch.where(muffled, uniform(3500, 7800), torch.full((clips,), SAMPLE_RATE / 2))
    return Surroundings(
        changed=maybe(chance),
        response_db=uniform(-8, 8, 9) * maybe(0.7)[:, None],
        low_hz=torch.where(telephone, uniform(80, 400), torch.zeros(clips)),
        high_hz=torch.where(telephone, uniform(3000, 3800), low_pass),
        telephone=telephone,
        room=maybe(0.4),
        decay_seconds=uniform(0.1, 0.6),
        direct_db=uniform(0, 15),
        noise=maybe(0.8),
        snr_db=uniform(3, 45),
        noise_db=uniform(-15, 15, 9),
    )


def augment(waveform: Tensor, lengths: Tensor, surroundings: Surroundings, generator: torch.Generator) -> Tensor:
    """Puts each clip through its surroundings.

    Args:
        waveform: [batch, samples] at 16 kHz, zero after `lengths` [batch].
        surroundings: of each clip.
        generator: source of the noise and the rooms, of the waveform's device.

    Returns:
        The same shape, zero after `lengths` again.
    """
    batch, samples = waveform.shape
    surroundings = surroundings.to(waveform.device)
    size = 2 ** math.ceil(math.log2(samples + SAMPLE_RATE // 2))
    hz = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=waveform.device)
    gain_db = _smooth_curve(hz, surroundings.response_db) + _band(hz, surroundings.low_hz, surroundings.high_hz)
    room = torch.fft.rfft(_rooms(surroundings, generator), size)
    changed = torch.fft.irfft(torch.fft.rfft(waveform, size) * 10 ** (gain_db / 20) * room, size)[:, :samples]

    noise = torch.randn(batch, size, generator=generator, device=waveform.device)
    noise = torch.fft.irfft(torch.fft.rfft(noise) * 10 ** (_smooth_curve(hz, surroundings.noise_db) / 20), size)[:, :samples]
    level = changed.square().mean(1, keepdim=True).sqrt() / noise.square().mean(1, keepdim=True).sqrt()
    changed = changed + noise * level * (10 ** (-surroundings.snr_db / 20) * surroundings.noise)[:, None]

    valid = torch.arange(samples, device=waveform.device) < lengths[:, None]
    return torch.where(surroundings.changed[:, None], changed, waveform) * valid


def _smooth_curve(hz: Tensor, knots_db: Tensor) -> Tensor:
    """Gains in dB at knots evenly spaced on a log scale from 60 Hz to 8 kHz -> [batch, bins]."""
    count = knots_db.shape[1]
    place = (torch.log2(hz.clamp(min=60) / 60) / math.log2(8000 / 60) * (count - 1)).clamp(0, count - 1 - 1e-4)
    left = place.floor().long()
    share = place - left
    return knots_db[:, left] * (1 - share) + knots_db[:, left + 1] * share


def _band(hz: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """A band-pass of [batch] edges in Hz as gains in dB, falling 48 dB an octave outside, at most 60 dB."""
    below = torch.log2(low[:, None].clamp(min=1) / hz.clamp(min=1)).clamp(min=0)
    above = torch.log2(hz.clamp(min=1) / high[:, None]).clamp(min=0)
    return -(48 * (below + above)).clamp(max=60)


def _rooms(surroundings: Surroundings, generator: torch.Generator) -> Tensor:
    """Impulse responses of 0.5 s, [batch, samples]: a direct sound, and after it decaying noise where there is a room."""
    device = surroundings.room.device
    time = torch.arange(SAMPLE_RATE // 2, device=device) / SAMPLE_RATE
    decay = 10 ** (-3 * time / surroundings.decay_seconds[:, None])
    tail = torch.randn(len(surroundings), len(time), generator=generator, device=device) * decay
    gain = 10 ** (-surroundings.direct_db / 20) * surroundings.room
    tail = tail / tail.norm(dim=1, keepdim=True) * gain[:, None]
    tail[:, 0] = 1.0
    return tail
