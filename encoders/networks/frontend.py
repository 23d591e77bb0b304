"""Spectra as plain convolutions, so that training, torch and any ONNX runtime compute the same numbers."""

import math

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16_000
HOP = 160
"""Samples between frames: 100 frames a second."""


def dft_kernels(hz: Tensor, window: int) -> Tensor:
    """Hann-windowed cosines and sines of frequencies `hz` [bins] from a window's middle on, [2, window // 2, bins]."""
    time = torch.arange(window // 2, dtype=torch.float64) / SAMPLE_RATE
    angle = 2 * math.pi * time[:, None] * hz.double()
    hann = torch.hann_window(window, periodic=True, dtype=torch.float64)[window // 2 :, None] / window**0.5
    cosines = hann * angle.cos()
    cosines[0] /= 2  # the middle is met twice when a frame is folded
    return torch.stack([cosines, hann * angle.sin()]).float()


def power_spectrum(waveform: Tensor, kernels: Tensor) -> Tensor:
    """Waveform [batch, samples], silent after its end -> power [batch, frames, bins] at the frequencies of `kernels`.

    Frames are centred every HOP samples, with silence before the first sample and after the last one, so a frame never
    depends on how far the clip was padded. A frame is folded at its middle: cosines need the sum of its halves only, and
    sines their difference, which takes half the work.
    """
    half, frames = kernels.shape[1], waveform.shape[1] // HOP + 1
    after = _frames(nn.functional.pad(waveform, (0, half + HOP)), frames, half)
    padded = nn.functional.pad(waveform, (half + HOP, 1))[:, : half + HOP + 1 + (frames - 1) * HOP]
    before = _frames(padded.flip(1), frames, half).flip(1)
    with torch.autocast(waveform.device.type, enabled=False):  # power spans more decades than half precision has
        real, imaginary = (after + before) @ kernels[0], (after - before) @ kernels[1]
        return real * real + imaginary * imaginary


def _frames(samples: Tensor, count: int, length: int) -> Tensor:
    """Waveform [batch, samples] -> `count` frames of `length` samples, one every HOP: [batch, count, length]."""
    hops = math.ceil(length / HOP)
    blocks = samples[:, : (count + hops - 1) * HOP].unflatten(1, (count + hops - 1, HOP))
    return torch.cat([blocks[:, hop : hop + count] for hop in range(hops)], dim=2)[:, :, :length]


def mel_filters(bins: int, window: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular filters on the HTK mel scale, each summing to one, [window // 2 + 1, bins]."""

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
    """Waveform to mel power, in frames of 32 ms."""

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
