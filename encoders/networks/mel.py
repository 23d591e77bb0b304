"""The mel front end as plain convolutions, so that training, torch and any ONNX runtime compute the same numbers."""

import math

import torch
from torch import Tensor, nn


def mel_filters(bins: int, fft_size: int, sample_rate: int, low_hz: float, high_hz: float) -> Tensor:
    """Triangular filters on the HTK mel scale, each summing to one, [fft_size // 2 + 1, bins]."""

    def to_mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    mels = torch.linspace(to_mel(low_hz), to_mel(high_hz), bins + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    frequencies = torch.linspace(0, sample_rate / 2, fft_size // 2 + 1)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    return filters / filters.sum(dim=0).clamp(min=1e-8)


class MelFrontEnd(nn.Module):
    """Waveform to mel power: a Hann-windowed DFT as a strided convolution, then triangular filters.

    Frames are centred every `hop` samples, with silence before the first sample and after the last one, so a frame
    never depends on how far the clip was padded.
    """

    def __init__(self, bins: int = 64, window: int = 512, hop: int = 160, sample_rate: int = 16_000) -> None:
        super().__init__()
        self.bins, self.window, self.hop = bins, window, hop
        time = torch.arange(window, dtype=torch.float64)
        angle = 2 * math.pi * torch.arange(window // 2 + 1, dtype=torch.float64)[:, None] * time / window
        hann = torch.hann_window(window, periodic=True, dtype=torch.float64) / window**0.5
        kernels = torch.cat([hann * angle.cos(), hann * angle.sin()]).float()
        self.register_buffer("kernels", kernels[:, None, :], persistent=False)
        self.register_buffer("filters", mel_filters(bins, window, sample_rate, 40.0, sample_rate / 2), persistent=False)

    def frames(self, lengths: Tensor) -> Tensor:
        """How many frames clips of `lengths` samples have."""
        return lengths // self.hop + 1

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Waveform [batch, samples], zero after `lengths` [batch] -> mel power [batch, frames, bins], frames [batch]."""
        silence = waveform.new_zeros(waveform.shape[0], self.window // 2)
        padded = torch.cat([silence, waveform, silence], dim=1)
        with torch.autocast(waveform.device.type, enabled=False):  # power spans more decades than half precision has
            spectrum = nn.functional.conv1d(padded[:, None, :], self.kernels, stride=self.hop)
            real, imaginary = spectrum.transpose(1, 2).chunk(2, dim=-1)
            power = (real * real + imaginary * imaginary) @ self.filters
        return power, self.frames(lengths)
