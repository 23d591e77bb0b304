"""Waveform to spectra, mel power and pitch by plain convolutions, which torch and ONNX Runtime compute alike."""

import math

import torch
from torch import Tensor, nn

from voxdex.encoders.audio.acoustics import harmonic_comb

SAMPLE_RATE = 16_000
HOP = 160
"""Samples between frames: 10 ms."""


def dft_kernels(hz: Tensor, window: int) -> Tensor:
    """Return the right halves of Hann-windowed cosines and sines of frequencies `hz` [bins]: [2, window // 2, bins]."""
    time = torch.arange(window // 2, dtype=torch.float64) / SAMPLE_RATE
    angle = 2 * math.pi * time[:, None] * hz.double()
    hann = torch.hann_window(window, periodic=True, dtype=torch.float64)[window // 2 :, None] / window**0.5
    cosines = hann * angle.cos()
    cosines[0] /= 2  # folding a frame counts its middle twice
    return torch.stack([cosines, hann * angle.sin()]).float()


def power_spectrum(waveform: Tensor, kernels: Tensor) -> Tensor:
    """Compute the power of a waveform [batch, samples] at the frequencies of `kernels`: [batch, frames, bins].

    Frames are centred every HOP samples, with silence before the first sample and after the last one, so a frame never
    depends on padding. A frame is folded at its middle, since cosines need only the sum of its halves, and
    sines their difference, which takes half the work.
    """
    half, frames = kernels.shape[1], waveform.shape[1] // HOP + 1
    after = _frames(nn.functional.pad(waveform, (0, half + HOP)), frames, half)
    padded = nn.functional.pad(waveform, (half + HOP, 1))[:, : half + HOP + 1 + (frames - 1) * HOP]
    before = _frames(padded.flip(1), frames, half).flip(1)
    with torch.autocast(waveform.device.type, enabled=False):  # power exceeds the range of half precision
        real, imaginary = (after + before) @ kernels[0], (after - before) @ kernels[1]
        return real * real + imaginary * imaginary


def _frames(samples: Tensor, count: int, length: int) -> Tensor:
    """Cut a waveform [batch, samples] into `count` frames of `length` samples, one every HOP: [batch, count, length]."""
    hops = math.ceil(length / HOP)
    blocks = samples[:, : (count + hops - 1) * HOP].unflatten(1, (count + hops - 1, HOP))
    return torch.cat([blocks[:, hop : hop + count] for hop in range(hops)], dim=2)[:, :, :length]


def mel_filters(bins: int, window: int, low_hz: float, high_hz: float) -> Tensor:
    """Return triangular filters on the HTK mel scale, each summing to one: [window // 2 + 1, bins]."""

    def to_mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    mels = torch.linspace(to_mel(low_hz), to_mel(high_hz), bins + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters / filters.sum(dim=0).clamp(min=1e-8)


class MelFrontEnd(nn.Module):
    """Waveform to mel power, in frames of 32 ms every 10 ms."""

    kernels: Tensor
    filters: Tensor

    def __init__(self, bins: int = 64, window: int = 512) -> None:
        super().__init__()
        hz = torch.arange(window // 2 + 1) * SAMPLE_RATE / window
        self.register_buffer("kernels", dft_kernels(hz, window), persistent=False)
        self.register_buffer("filters", mel_filters(bins, window, 40.0, SAMPLE_RATE / 2), persistent=False)

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveform [batch, samples], zero after `lengths` [batch] -> mel power [batch, frames, bins], frames [batch]."""
        power = power_spectrum(waveform, self.kernels)
        with torch.autocast(waveform.device.type, enabled=False):
            return power @ self.filters, lengths // HOP + 1


def frame_mask(frames: Tensor, longest: int) -> Tensor:
    """Return 1 for valid frames and 0 for padding [batch, longest, 1], from the numbers of valid frames [batch]."""
    return (torch.arange(longest, device=frames.device) < frames[:, None]).float()[:, :, None]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Return the mean over valid frames: x [batch, frames, width], mask [batch, frames, 1] -> [batch, width]."""
    return (x * mask).sum(dim=1) / mask.sum(dim=1)


LOWEST_HZ = 60.0
BINS_PER_OCTAVE = 24
SPECTRUM_OCTAVES, PITCH_OCTAVES = 6, 3
"""Octaves over LOWEST_HZ: the spectrum ends at 3840 Hz, the pitch at 480 Hz."""
VOICED_SALIENCE, VOICED_SOFTNESS = 10.0, 2.0
"""Salience at which the probability of voicing is 0.5, and the width of its sigmoid."""


class HarmonicFrontEnd(nn.Module):
    """Waveform to power on a logarithmic frequency scale, in frames of 64 ms every 10 ms."""

    kernels: Tensor
    bins = SPECTRUM_OCTAVES * BINS_PER_OCTAVE

    def __init__(self, window: int = 1024) -> None:
        super().__init__()
        hz = LOWEST_HZ * 2 ** (torch.arange(self.bins) / BINS_PER_OCTAVE)
        self.register_buffer("kernels", dft_kernels(hz, window), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform [batch, samples] at 16 kHz -> power [batch, frames, bins], with as many frames as MelFrontEnd."""
        return power_spectrum(waveform, self.kernels)


class PitchTrack(nn.Module):
    """Expected pitch of each frame, by subharmonic summation (Hermes 1988) and a softmax over its salience."""

    combs: Tensor
    octaves: Tensor

    def __init__(self) -> None:
        super().__init__()
        pitches = PITCH_OCTAVES * BINS_PER_OCTAVE
        self.register_buffer("combs", combs(pitches, HarmonicFrontEnd.bins), persistent=False)
        self.register_buffer("octaves", (torch.arange(pitches) / BINS_PER_OCTAVE)[:, None], persistent=False)

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Log power [batch, frames, bins] -> octaves over LOWEST_HZ and probability of voicing, both [batch, frames, 1]."""
        salience = spectrum @ self.combs
        octaves = torch.softmax(salience, dim=2) @ self.octaves
        above = salience.amax(dim=2, keepdim=True) - salience.mean(dim=2, keepdim=True)
        return octaves, torch.sigmoid((above - VOICED_SALIENCE) / VOICED_SOFTNESS)


def combs(pitches: int, bins: int) -> Tensor:
    """Return the weights of subharmonic summation, [bins, pitches]."""
    weights = torch.zeros(bins, pitches)
    for pitch in range(pitches):
        for multiple, weight in harmonic_comb():
            position = pitch + BINS_PER_OCTAVE * math.log2(multiple)
            below, rest = math.floor(position), position - math.floor(position)
            if 0 <= below < bins - 1:
                weights[below, pitch] += weight * (1 - rest)
                weights[below + 1, pitch] += weight * rest
    return weights
