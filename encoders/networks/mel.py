"""Spectra as plain convolutions, so that training, torch and any ONNX runtime compute the same numbers."""

import math

import torch
from torch import Tensor, nn

SAMPLE_RATE = 16_000
HOP = 160
"""Samples between frames: 100 frames a second."""


def dft_kernels(hz: Tensor, window: int) -> Tensor:
    """Hann-windowed cosines and sines of frequencies `hz` [bins], as convolution kernels [2 * bins, 1, window]."""
    time = torch.arange(window, dtype=torch.float64) / SAMPLE_RATE
    angle = 2 * math.pi * hz.double()[:, None] * time
    hann = torch.hann_window(window, periodic=True, dtype=torch.float64) / window**0.5
    return torch.cat([hann * angle.cos(), hann * angle.sin()]).float()[:, None, :]


def power_spectrum(waveform: Tensor, kernels: Tensor) -> Tensor:
    """Waveform [batch, samples], silent after its end -> power [batch, frames, bins] at the frequencies of `kernels`.

    Frames are centred every HOP samples, with silence before the first sample and after the last one, so a frame never
    depends on how far the clip was padded.
    """
    silence = waveform.new_zeros(waveform.shape[0], kernels.shape[-1] // 2)
    padded = torch.cat([silence, waveform, silence], dim=1)
    with torch.autocast(waveform.device.type, enabled=False):  # power spans more decades than half precision has
        spectrum = nn.functional.conv1d(padded[:, None, :], kernels, stride=HOP)
        real, imaginary = spectrum.transpose(1, 2).chunk(2, dim=-1)
        return real * real + imaginary * imaginary


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
