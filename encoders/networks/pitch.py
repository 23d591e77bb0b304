"""A spectrum fine enough for single harmonics, and the pitch in it, as plain convolutions and products."""

import math

import torch
from torch import Tensor, nn

from voxdex.encoders.networks.frontend import dft_kernels, power_spectrum

LOWEST_HZ = 60.0
BINS_PER_OCTAVE = 24
SPECTRUM_OCTAVES, PITCH_OCTAVES = 6, 3
"""The spectrum reaches to 3840 Hz, the pitch to 480 Hz."""
HARMONICS, DECAY, BETWEEN = 8, 0.84, 0.5
"""How many harmonics speak for a pitch, each how much less than the one before, and how much what lies between them says
against it."""
VOICED, SOFTNESS = 10.0, 2.0
"""Salience from which on a frame is taken for voiced, and how gradually."""


class HarmonicFrontEnd(nn.Module):
    """Waveform to power on a logarithmic scale of frequency, in frames of 64 ms."""

    bins = SPECTRUM_OCTAVES * BINS_PER_OCTAVE

    def __init__(self, window: int = 1024) -> None:
        super().__init__()
        hz = LOWEST_HZ * 2 ** (torch.arange(self.bins) / BINS_PER_OCTAVE)
        self.register_buffer("kernels", dft_kernels(hz, window), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform [batch, samples] at 16 kHz -> power [batch, frames, bins], frames as MelFrontEnd's."""
        return power_spectrum(waveform, self.kernels)


class PitchTrack(nn.Module):
    """The expected pitch of each frame, over all pitches weighted by how well their harmonics stand out (Hermes 1988)."""

    def __init__(self) -> None:
        super().__init__()
        pitches = PITCH_OCTAVES * BINS_PER_OCTAVE
        self.register_buffer("combs", combs(pitches, HarmonicFrontEnd.bins), persistent=False)
        self.register_buffer("octaves", (torch.arange(pitches) / BINS_PER_OCTAVE)[:, None], persistent=False)

    def forward(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Log power [batch, frames, bins] -> octaves over LOWEST_HZ and how surely voiced (0..1), both [batch, frames, 1]."""
        salience = spectrum @ self.combs
        octaves = torch.softmax(salience, dim=2) @ self.octaves
        above = salience.amax(dim=2, keepdim=True) - salience.mean(dim=2, keepdim=True)
        return octaves, torch.sigmoid((above - VOICED) / SOFTNESS)


def combs(pitches: int, bins: int) -> Tensor:
    """What each bin of the spectrum says for each pitch, [bins, pitches]."""
    weights = torch.zeros(bins, pitches)
    for pitch in range(pitches):
        for harmonic in range(1, HARMONICS + 1):
            weight = DECAY ** (harmonic - 1)
            for multiple, share in ((harmonic, weight), (harmonic - 0.5, -BETWEEN * weight)):
                place = pitch + BINS_PER_OCTAVE * math.log2(multiple)
                below, rest = math.floor(place), place - math.floor(place)
                if 0 <= below < bins - 1:
                    weights[below, pitch] += share * (1 - rest)
                    weights[below + 1, pitch] += share * rest
    return weights
