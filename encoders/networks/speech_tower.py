"""A small speech tower: a 1-D ConvNeXt and statistics of spectrum and pitch, both weighted by speech activity."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from voxdex.encoders.networks.dual_encoder import Tower
from voxdex.encoders.networks.frontend import BINS_PER_OCTAVE, HarmonicFrontEnd, MelFrontEnd, PitchTrack, frame_mask

FLOOR = 1e-5
"""Added to mel power relative to the clip's level: a floor 50 dB below it."""
SILENCE = 1e-10
"""Least level that a clip is normalised by, in mel power (about -100 dB of full scale)."""
FINE_FLOOR = 1e-4
"""As FLOOR, for the harmonic spectrum."""
GATE, SOFTNESS = -5.0, 0.7
"""Log power over the level (about -22 dB) at which the speech activity is 0.5, and the width of its sigmoid."""


SEMITONES = HarmonicFrontEnd.bins * 12 // BINS_PER_OCTAVE
"""Bands of the harmonic spectrum whose statistics are computed, one a semitone."""
PITCH_CHANNELS = 3


class AcousticFeatures(NamedTuple):
    """Frame-wise features of clips, all [batch, frames, ...].

    level: mean power of the speech, [batch, 1, 1]. mel, semitones: log power over the clip's level in mel bands and in
    semitones. octaves: pitch over 60 Hz. energy: log power over the level. speaking, voiced: probability of speech,
    and of voicing, 0..1. mask: 1 in valid frames. frames: number of valid frames [batch].
    """

    level: Tensor
    mel: Tensor
    semitones: Tensor
    octaves: Tensor
    energy: Tensor
    speaking: Tensor
    voiced: Tensor
    mask: Tensor
    frames: Tensor


def speech_level(power: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Measure the level of clips [batch, 1, 1], and log power over it and speech activity [batch, frames, 1].

    The level is the mean power weighted with itself, which silence at the ends does not change.

    Args:
        power: [batch, frames, bins], zero where mask [batch, frames, 1] is zero.
        mask: 1 in valid frames.
    """
    whole = power.mean(dim=2, keepdim=True)
    level = whole.square().sum(dim=1, keepdim=True) / whole.sum(dim=1, keepdim=True).clamp(min=SILENCE)
    level = level.clamp(min=SILENCE)
    energy = (whole / level + FLOOR).log()
    return level, energy, torch.sigmoid((energy - GATE) / SOFTNESS) * mask


def acoustic_features(power: Tensor, fine: Tensor, frames: Tensor, pitch: PitchTrack) -> AcousticFeatures:
    """Compute the frame-wise features of clips.

    Args:
        power: in mel bands, [batch, frames, bands].
        fine: the output of HarmonicFrontEnd, [batch, frames, bins].
        frames: number of valid frames [batch].
        pitch: the pitch tracker.
    """
    mask = frame_mask(frames, power.shape[1])
    power, fine = power * mask, fine * mask
    level, energy, speaking = speech_level(power, mask)
    octaves, voiced = pitch((fine / level + FINE_FLOOR).log())
    semitones = fine.unflatten(2, (SEMITONES, -1)).mean(dim=3)
    return AcousticFeatures(
        level=level,
        mel=(power / level + FLOOR).log(),
        semitones=(semitones / level + FINE_FLOOR).log(),
        octaves=octaves,
        energy=energy,
        speaking=speaking,
        voiced=voiced * speaking,
        mask=mask,
        frames=frames,
    )


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron on each frame (Liu et al., "A ConvNet for the 2020s")."""

    def __init__(self, width: int, kernel: int, expansion: int, drop_path: float) -> None:
        super().__init__()
        self.mix_time = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))
        self.scale = nn.Parameter(torch.full((width,), 0.1))
        self.drop_path = drop_path

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [batch, frames, width], zero where mask [batch, frames, 1] is zero -> the same."""
        y = self.mix_time(x.transpose(1, 2)).transpose(1, 2)
        y = self.scale * self.mlp(self.norm(y))
        if self.training and self.drop_path > 0:
            kept = torch.rand(x.shape[0], 1, 1, device=x.device) >= self.drop_path
            y = y * kept / (1 - self.drop_path)
        return (x + y) * mask


class Downsample(nn.Module):
    """Halve the frame rate; a frame is valid if its centre was."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.norm(self.convolution(x.transpose(1, 2)).transpose(1, 2))
        frames = (frames + 1) // 2
        mask = frame_mask(frames, x.shape[1])
        return x * mask, mask, frames


def build_stages(
    inputs: int, widths: Sequence[int], depths: Sequence[int], kernels: Sequence[int], expansion: int, drop_path: float
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Build downsampling layers and stages of blocks; the drop path rate grows linearly with depth."""
    downsamples, stages = nn.ModuleList(), nn.ModuleList()
    total, seen = sum(depths), 0
    for width, depth, kernel in zip(widths, depths, kernels, strict=True):
        downsamples.append(Downsample(inputs, width, kernel=5))
        rates = [drop_path * (seen + i) / max(1, total - 1) for i in range(depth)]
        stages.append(nn.ModuleList(ConvNeXtBlock(width, kernel, expansion, rate) for rate in rates))
        inputs, seen = width, seen + depth
    return downsamples, stages


class StatisticsPooling(nn.Module):
    """Mean, standard deviation and attention-weighted mean over frames, weighted by speech activity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, width))

    def forward(self, x: Tensor, speaking: Tensor) -> Tensor:
        """x [batch, frames, width], speaking [batch, frames, 1] in 0..1 -> [batch, 3 * width]."""
        mean = mean_over(x, speaking)
        deviation = mean_over((x - mean[:, None]).square(), speaking)
        weights = torch.softmax(self.attention(x) + (speaking + SILENCE).log(), dim=1)
        return torch.cat([mean, (deviation + 1e-6).sqrt(), (weights * x).sum(dim=1)], dim=1)


class ConvNeXtSpeechTower(Tower):
    """Waveform -> features, independent of level, padding and the other clips of the batch.

    Args:
        mel_bins: mel bands between 40 Hz and 8 kHz.
        widths, depths: channels and blocks of each stage; each stage halves the frame rate (from 100 a second).
        kernel: frames that a block's depthwise convolution spans.
        expansion: hidden width of a block's perceptron, in multiples of its channels.
        drop_path: largest fraction of clips that skip a block in training (grows with depth).
        functionals: width of the layer over the statistics.
        dropout: dropout rate of the statistics in training.
    """

    def __init__(
        self,
        mel_bins: int = 64,
        widths: tuple[int, ...] = (160, 256),
        depths: tuple[int, ...] = (3, 4),
        kernel: int = 9,
        expansion: int = 3,
        drop_path: float = 0.1,
        functionals: int = 128,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.mel = MelFrontEnd(mel_bins)
        self.harmonics = HarmonicFrontEnd()
        self.pitch = PitchTrack()
        inputs, kernels = 2 * mel_bins + PITCH_CHANNELS, [kernel] * len(widths)
        self.downsamples, self.stages = build_stages(inputs, widths, depths, kernels, expansion, drop_path)
        self.pooling = StatisticsPooling(widths[-1])
        self.norm = nn.LayerNorm(3 * widths[-1])
        self.functionals = Functionals(mel_bins + SEMITONES, functionals, dropout)
        self.width = 3 * widths[-1] + functionals
        self.checkpointing = False

    def checkpoint_activations(self) -> None:
        """Recompute activations in the backward pass, which trades time for memory in training."""
        self.checkpointing = True

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveform [batch, samples] in -1..1 at 16 kHz, zero after `lengths` [batch] -> features [batch, width]."""
        features = self._listen(waveform, lengths)
        return torch.cat([self.norm(self._deep(features)), self.functionals(self._measure(features))], dim=1)

    @torch.no_grad()
    def fit(self, waveform: Tensor, lengths: Tensor) -> None:
        """Fit the scale of the statistics to clips, before training starts."""
        self.functionals.fit(self._measure(self._listen(waveform, lengths)))

    def _listen(self, waveform: Tensor, lengths: Tensor) -> AcousticFeatures:
        """Compute the input of the layers."""
        power, frames = self.mel(waveform, lengths)
        return acoustic_features(power, self.harmonics(waveform), frames, self.pitch)

    def _measure(self, features: AcousticFeatures) -> Tensor:
        bands = torch.cat([features.mel, features.semitones], dim=2)
        return self.functionals.measure(bands, features.octaves, features.energy, features.speaking, features.voiced)

    def _deep(self, features: AcousticFeatures) -> Tensor:
        relative = features.mel - mean_over(features.mel, features.speaking)[:, None]
        melody = features.octaves - mean_over(features.octaves, features.voiced)[:, None]
        pitch = torch.cat([features.octaves - 1.4, 2 * melody, torch.ones_like(melody)], dim=2) * features.voiced
        x = torch.cat([(features.mel + 4.0) / 4.0, relative / 4.0, pitch], dim=2) * features.mask
        mask, frames = features.mask, features.frames
        for downsample, blocks in zip(self.downsamples, self.stages, strict=True):
            x, mask, frames = downsample(x, frames)
            for block in blocks.children():
                recompute = self.checkpointing and self.training
                x = checkpoint(block, x, mask, use_reentrant=False) if recompute else block(x, mask)
        every = 2 ** len(self.downsamples)
        return self.pooling(x, features.speaking[:, ::every] * mask)


BAND_STATISTICS, PITCH_STATISTICS, ENERGY_STATISTICS = 5, 6, 4
CLIP = 4.0
"""Standard deviations at which a statistic is clipped."""


def mean_over(x: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean over frames: x [batch, frames, width], weights [batch, frames, 1] -> [batch, width]."""
    return (x * weights).sum(dim=1) / (weights.sum(dim=1) + 1e-4)


def movement(x: Tensor, weights: Tensor, step: int) -> Tensor:
    """Return the root mean square change over `step` frames, [batch, width]."""
    change = (x[:, step:] - x[:, :-step]).square()
    return mean_over(change, weights[:, step:] * weights[:, :-step]).add(1e-4).sqrt()


def spread(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, standard deviation and mean rise above the mean, [batch, width] each."""
    mean = mean_over(x, weights)
    centred = x - mean[:, None]
    return mean, mean_over(centred.square(), weights).add(1e-4).sqrt(), mean_over(centred.clamp(min=0), weights)


class Functionals(nn.Module):
    """A layer over standardised statistics of a clip, as in acoustic parameter sets for emotion.

    Of each band of the spectrum: mean, standard deviation, mean rise above the mean, movement in 20 and in 100 ms. Of the
    pitch: the same, and the fraction of speech that is voiced. Of the energy: standard deviation, mean rise, movements. They
    generalise to new voices and recordings better than what deeper layers learn.

    Args:
        bands: of the spectrum.
        width: of the layer.
        dropout: dropout rate of the statistics in training.
        others: number of statistics that a tower adds to those of measure().
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, bands: int, width: int, dropout: float, others: int = 0) -> None:
        super().__init__()
        count = BAND_STATISTICS * bands + PITCH_STATISTICS + ENERGY_STATISTICS + others
        self.register_buffer("centre", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.Linear(count, width)

    def fit(self, statistics: Tensor) -> None:
        """Set the centre and scale of each statistic to its mean and standard deviation over clips [clips, statistics]."""
        self.centre.copy_(statistics.mean(dim=0))
        self.scale.copy_(statistics.std(dim=0) + 0.01)

    def measure(self, bands: Tensor, octaves: Tensor, energy: Tensor, speaking: Tensor, voiced: Tensor) -> Tensor:
        """Compute the statistics, [batch, statistics].

        Args:
            bands: log power of each band, [batch, frames, bands].
            octaves, energy: pitch and log power of each frame, [batch, frames, 1].
            speaking, voiced: probability of speech, and of voicing, 0..1, [batch, frames, 1].
        """
        found = [*spread(bands, speaking), movement(bands, speaking, 2), movement(bands, speaking, 10)]
        found += [*spread(octaves, voiced), movement(octaves, voiced, 3), movement(octaves, voiced, 10)]
        found += [voiced.sum(dim=1) / (speaking.sum(dim=1) + 1e-3)]
        found += [*spread(energy, speaking)[1:], movement(energy, speaking, 2), movement(energy, speaking, 10)]
        return torch.cat(found, dim=1)

    def forward(self, statistics: Tensor) -> Tensor:
        """Statistics [batch, statistics] -> features [batch, width]."""
        scaled = ((statistics - self.centre) / self.scale).clamp(-CLIP, CLIP)
        return nn.functional.gelu(self.layer(self.dropout(scaled)))
