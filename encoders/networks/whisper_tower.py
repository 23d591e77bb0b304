"""A speech tower on the lower layers of Whisper's encoder (Radford et al. 2022), beside statistics of spectrum and pitch."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from voxdex.encoders.errors import NetworkError
from voxdex.encoders.networks.dual_encoder import Tower
from voxdex.encoders.networks.frontend import (
    HOP,
    SAMPLE_RATE,
    HarmonicFrontEnd,
    PitchTrack,
    dft_kernels,
    frame_mask,
    power_spectrum,
)
from voxdex.encoders.networks.speech_tower import SEMITONES, AcousticFeatures, Functionals, StatisticsPooling, acoustic_features
from voxdex.encoders.networks.text_tower import TransformerBlock

WINDOW = 400
"""Samples of a frame of the spectrum: 25 ms."""
MOST_POSITIONS = 1500
"""Number of states of 20 ms that Whisper has positions for: 30 s, including the silence after the clip."""
SILENCE_AFTER = SAMPLE_RATE // 2
"""Samples of silence appended to each clip; Whisper was trained on clips padded to 30 s."""
LEAST_POWER, RANGE = 1e-10, 8.0
"""Floor of mel power, and dynamic range below the loudest band of a clip, in powers of ten."""
POWER_SCALE = 10.0
"""Output of Whisper's filters relative to filters that sum to one, for white noise."""
LEVEL = 0.01
"""Mean power of speech that clips are normalised to; the median of five corpora is 0.014."""


def slaney_filters(bins: int) -> Tensor:
    """Return triangular filters on the Slaney mel scale, 0 to 8000 Hz, each of unit area over Hz, [WINDOW // 2 + 1, bins]."""
    knee_hz, hz_a_mel, decade = 1000.0, 200 / 3, math.log(6.4) / 27
    knee = knee_hz / hz_a_mel
    highest = knee + math.log(SAMPLE_RATE / 2 / knee_hz) / decade
    mels = torch.linspace(0, highest, bins + 2, dtype=torch.float64)
    edges = torch.where(mels < knee, mels * hz_a_mel, knee_hz * ((mels - knee) * decade).exp())
    frequencies = torch.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return (torch.minimum(rising, falling).clamp(min=0) * 2 / (edges[2:] - edges[:-2])).float()


def sinusoids(positions: int, width: int) -> Tensor:
    """Return sines and cosines of positions at wavelengths from 2 pi to 20,000 pi, [positions, width]."""
    rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(positions)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class WhisperMel(nn.Module):
    """Waveform to mel power as in Whisper: windows of 25 ms every 10 ms, reflected at the start, with Slaney's filters."""

    kernels: Tensor
    filters: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        hz = torch.arange(WINDOW // 2 + 1) * SAMPLE_RATE / WINDOW
        self.register_buffer("kernels", dft_kernels(hz, WINDOW), persistent=False)
        self.register_buffer("filters", WINDOW * slaney_filters(bins), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Waveform [batch, samples] -> mel power [batch, samples // HOP, bins]; at least WINDOW samples."""
        mirrored = waveform[:, 1 : WINDOW // 2 + 1].flip(1)
        before = 2 * HOP - WINDOW // 2
        power = power_spectrum(torch.cat([nn.functional.pad(mirrored, (before, 0)), waveform], dim=1), self.kernels)
        with torch.autocast(waveform.device.type, enabled=False):  # power spans more decades than half precision has
            return power[:, 2:-1] @ self.filters


class WhisperEncoder(nn.Module):
    """The convolutions and the first blocks of Whisper's encoder.

    Args:
        mel_bins, width, heads: its shape.
        blocks: how many of its blocks there are.
    """

    positions: Tensor

    def __init__(self, mel_bins: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(mel_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout=0.0) for _ in range(blocks))
        self.register_buffer("positions", sinusoids(MOST_POSITIONS, width), persistent=False)
        self.checkpointing = False

    def forward(self, mel: Tensor, frames: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the states after the convolutions and each block [batch, states, width], and their mask [batch, states, 1].

        Args:
            mel: log mel, [batch, frames, mel_bins].
            frames: number of valid frames [batch]; later frames have no effect.
        """
        mask = frame_mask(frames, mel.shape[1]).transpose(1, 2)
        x = nn.functional.gelu(self.conv1(mel.transpose(1, 2) * mask)) * mask
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2)
        valid = frame_mask((frames + 1) // 2, x.shape[1])
        x = x + self.positions[: x.shape[1]]
        states, bias = [x], (1.0 - valid[:, None, None, :, 0]) * -1e4
        for block in self.blocks:
            recompute = self.checkpointing and self.training
            x = checkpoint(block, x, bias, use_reentrant=False) if recompute else block(x, bias)
            states.append(x)
        return states, valid


class WhisperSpeechTower(Tower):
    """Waveform -> features, independent of padding and the other clips of the batch.

    A learned sum of the encoder's states, pooled by speech activity, and Functionals of bands, pitch and energy,
    which Whisper represents badly. Clips are at most 29.5 s long.

    Args:
        mel_bins, width, heads: shape of the encoder; those of Whisper tiny.en.
        layers: the states that are summed: 0 are those after the convolutions, 1 those after the first block. Blocks above
            the highest are left out.
        frozen: the highest state of which the weights below are not trained; -1 for none.
        level: "relative", each clip is normalised to the same level, or "absolute", as Whisper, with the
            level among the statistics.
        functionals: width of the layer over the statistics.
        dropout: dropout rate of the statistics in training.

    Raises:
        NetworkError: an option is invalid.
    """

    def __init__(
        self,
        mel_bins: int = 80,
        width: int = 384,
        heads: int = 6,
        layers: Sequence[int] = (1, 2, 3),
        frozen: int = -1,
        level: str = "relative",
        functionals: int = 192,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if not layers or min(layers) < 0 or len(set(layers)) < len(layers):
            raise NetworkError(f"layers of a speech tower are different numbers from 0 on, not {list(layers)}.")
        if not -1 <= frozen <= max(layers):
            raise NetworkError(f"frozen of a speech tower is between -1 and its highest layer, {max(layers)}, not {frozen}.")
        if level not in ("relative", "absolute"):
            raise NetworkError(f"level of a speech tower is 'relative' or 'absolute', not {level!r}.")
        self.mel = WhisperMel(mel_bins)
        self.harmonics = HarmonicFrontEnd()
        self.pitch = PitchTrack()
        self.encoder = WhisperEncoder(mel_bins, width, heads, max(layers))
        self.layers, self.level = tuple(layers), level
        self.layer_weights = nn.Parameter(torch.zeros(len(layers)))
        self.pooling = StatisticsPooling(width)
        self.norm = nn.LayerNorm(3 * width)
        self.functionals = Functionals(mel_bins + SEMITONES, functionals, dropout, others=int(level == "absolute"))
        self.width = 3 * width + functionals
        if frozen >= 0:
            for part in (self.encoder.conv1, self.encoder.conv2, *self.encoder.blocks[:frozen]):
                part.requires_grad_(requires_grad=False)

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, which trades time for memory in training."""
        self.encoder.checkpointing = True

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveform [batch, samples] in -1..1 at 16 kHz, zero after `lengths` [batch] -> features [batch, width]."""
        features, states, _ = self.listen(waveform, lengths)
        weights = torch.softmax(self.layer_weights, dim=0)
        normal = [nn.functional.layer_norm(states[layer], states[layer].shape[2:]) for layer in self.layers]
        x = sum(weight * state for weight, state in zip(weights, normal, strict=True))
        deep = self.pooling(x, features.speaking[:, ::2])
        return torch.cat([self.norm(deep), self.functionals(self.measure(features))], dim=1)

    @torch.no_grad()
    def fit(self, waveform: Tensor, lengths: Tensor) -> None:
        """Fit the scale of the statistics to clips, before training starts."""
        self.functionals.fit(self.measure(self._features(waveform, lengths)[0]))

    def listen(self, waveform: Tensor, lengths: Tensor) -> tuple[AcousticFeatures, list[Tensor], Tensor]:
        """Compute frame-wise features, the encoder's states [batch, states, width], and their mask [batch, states, 1]."""
        features, power = self._features(waveform, lengths)
        if self.level == "relative":
            power = power * (LEVEL / features.level)
        log_power = power.clamp(min=LEAST_POWER).log10()
        log_power = torch.maximum(log_power, log_power.amax(dim=(1, 2), keepdim=True) - RANGE)
        return features, *self.encoder((log_power + 4) / 4, (lengths + SILENCE_AFTER) // HOP)

    def _features(self, waveform: Tensor, lengths: Tensor) -> tuple[AcousticFeatures, Tensor]:
        """Compute frame-wise features, and mel power including the appended silence, [batch, frames, mel_bins]."""
        waveform = nn.functional.pad(waveform, (0, SILENCE_AFTER))
        power = self.mel(waveform)
        fine = self.harmonics(waveform)[:, :-1]
        return acoustic_features(power / POWER_SCALE, fine, lengths // HOP + 1, self.pitch), power

    def measure(self, features: AcousticFeatures) -> Tensor:
        """Compute the statistics for the functionals, [batch, statistics]."""
        bands = torch.cat([features.mel, features.semitones], dim=2)
        found = self.functionals.measure(bands, features.octaves, features.energy, features.speaking, features.voiced)
        return torch.cat([found, features.level.log()[:, 0]], dim=1) if self.level == "absolute" else found
