"""Recording conditions as augmentation: rooms, microphones, channels and noise."""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from voxdex.encoders.audio.reader import SAMPLE_RATE

NOISY_DB, CLEAN_DB = 12.0, 35.0
"""Signal-to-noise ratio below which a clip is labelled noisy, and from which its label is kept."""
ECHOING_DB, ECHOING_SECONDS = 6.0, 0.3
"""Direct-to-reverberant ratio below which, and decay time above which, a clip is labelled reverberant."""


@dataclass(frozen=True)
class RecordingConditions:
    """Conditions of a batch of clips, each a tensor [clips, ...].

    changed: bool, whether a clip is changed. response_db: frequency response at 9 knots. low_hz, high_hz: edges of the
    pass-band. telephone: bool, whether it is that of a telephone. room: bool; decay_seconds: to a
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

    def __getitem__(self, rows: slice) -> "RecordingConditions":
        return RecordingConditions(*(getattr(self, field.name)[rows] for field in fields(self)))

    def to(self, device: torch.device) -> "RecordingConditions":
        """Return the conditions on a device."""
        return RecordingConditions(*(getattr(self, field.name).to(device) for field in fields(self)))

    def labels(self) -> list[dict[str, str]]:
        """Return for each clip the cells that its conditions change, "" for labels that become unknown."""
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


def draw_conditions(clips: int, generator: torch.Generator, chance: float = 0.8) -> RecordingConditions:
    """Draw conditions for a number of clips, each of which is changed with probability `chance`."""

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(clips, *shape, generator=generator)

    def maybe(probability: float) -> Tensor:
        return torch.rand(clips, generator=generator) < probability

    telephone, muffled = maybe(0.12), maybe(0.2)
    low_pass = torch.where(muffled, uniform(3500, 7800), torch.full((clips,), SAMPLE_RATE / 2))
    return RecordingConditions(
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


def augment(waveform: Tensor, lengths: Tensor, conditions: RecordingConditions, generator: torch.Generator) -> Tensor:
    """Apply recording conditions to clips.

    Args:
        waveform: [batch, samples] at 16 kHz, zero after `lengths` [batch].
        conditions: conditions of each clip.
        generator: random generator of noise and rooms, of the waveform's device.

    Returns:
        The same shape, zero after `lengths` again.
    """
    batch, samples = waveform.shape
    conditions = conditions.to(waveform.device)
    size = 2 ** math.ceil(math.log2(samples + SAMPLE_RATE // 2))
    hz = torch.fft.rfftfreq(size, 1 / SAMPLE_RATE, device=waveform.device)
    gain_db = _smooth_curve(hz, conditions.response_db) + _band(hz, conditions.low_hz, conditions.high_hz)
    room = torch.fft.rfft(_rooms(conditions, generator), size)
    changed = torch.fft.irfft(torch.fft.rfft(waveform, size) * 10 ** (gain_db / 20) * room, size)[:, :samples]

    noise = torch.randn(batch, size, generator=generator, device=waveform.device)
    noise = torch.fft.irfft(torch.fft.rfft(noise) * 10 ** (_smooth_curve(hz, conditions.noise_db) / 20), size)[:, :samples]
    level = changed.square().mean(1, keepdim=True).sqrt() / noise.square().mean(1, keepdim=True).sqrt()
    changed = changed + noise * level * (10 ** (-conditions.snr_db / 20) * conditions.noise)[:, None]

    valid = torch.arange(samples, device=waveform.device) < lengths[:, None]
    return torch.where(conditions.changed[:, None], changed, waveform) * valid


def _smooth_curve(hz: Tensor, knots_db: Tensor) -> Tensor:
    """Interpolate gains in dB at knots evenly spaced on a log scale from 60 Hz to 8 kHz: [batch, bins]."""
    count = knots_db.shape[1]
    position = (torch.log2(hz.clamp(min=60) / 60) / math.log2(8000 / 60) * (count - 1)).clamp(0, count - 1 - 1e-4)
    left = position.floor().long()
    fraction = position - left
    return knots_db[:, left] * (1 - fraction) + knots_db[:, left + 1] * fraction


def _band(hz: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the gains in dB of band-passes with edges in Hz [batch], falling by 48 dB an octave to -60 dB."""
    below = torch.log2(low[:, None].clamp(min=1) / hz.clamp(min=1)).clamp(min=0)
    above = torch.log2(hz.clamp(min=1) / high[:, None]).clamp(min=0)
    return -(48 * (below + above)).clamp(max=60)


def _rooms(conditions: RecordingConditions, generator: torch.Generator) -> Tensor:
    """Return impulse responses of 0.5 s [batch, samples]: the direct sound, followed by decaying noise in a room."""
    device = conditions.room.device
    time = torch.arange(SAMPLE_RATE // 2, device=device) / SAMPLE_RATE
    decay = 10 ** (-3 * time / conditions.decay_seconds[:, None])
    tail = torch.randn(len(conditions), len(time), generator=generator, device=device) * decay
    gain = 10 ** (-conditions.direct_db / 20) * conditions.room
    tail = tail / tail.norm(dim=1, keepdim=True) * gain[:, None]
    tail[:, 0] = 1.0
    return tail
