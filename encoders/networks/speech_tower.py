"""Our own speech tower: a small 1-D ConvNeXt over log-mel frames and plain statistics of them, both where somebody speaks."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoders.networks.masks import frame_mask
from encoders.networks.mel import MelFrontEnd

FLOOR = 1e-5
"""Mel power that is 50 dB or more below the clip's level is not told from silence."""
SILENCE = 1e-10
"""Mel power below which a clip is not brought to the common level (about -100 dB of full scale)."""
GATE, SOFTNESS = -5.0, 0.7
"""Frames are taken for speech from about 22 dB below the level on (natural log of power), and how gradually."""


def mean_over(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over frames: x [batch, frames, width], weights [batch, frames, 1] -> [batch, width]."""
    return (x * weights).sum(dim=1) / (weights.sum(dim=1) + 1e-4)


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
    """Halves the frame rate; a frame is valid when its centre was."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.norm(self.convolution(x.transpose(1, 2)).transpose(1, 2))
        frames = (frames + 1) // 2
        mask = frame_mask(frames, x.shape[1])
        return x * mask, mask, frames


class StatisticsPooling(nn.Module):
    """Mean, standard deviation and attention-weighted mean over the frames in which somebody speaks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, width))

    def forward(self, x: Tensor, speaking: Tensor) -> Tensor:
        """x [batch, frames, width], speaking [batch, frames, 1] in 0..1 -> [batch, 3 * width]."""
        mean = mean_over(x, speaking)
        deviation = mean_over((x - mean[:, None]).square(), speaking)
        weights = torch.softmax(self.attention(x) + (speaking + SILENCE).log(), dim=1)
        return torch.cat([mean, (deviation + 1e-6).sqrt(), (weights * x).sum(dim=1)], dim=1)


class Functionals(nn.Module):
    """Plain statistics of the log-mel bands while somebody speaks, through one layer.

    Of each band: its mean, standard deviation and mean rise above its mean, and how far it moves in 20 and in 100 ms. What
    such functionals tell of emotion carries over to other corpora better than what deeper layers learn.
    """

    def __init__(self, bands: int, width: int) -> None:
        super().__init__()
        centres, spreads = zip((-5.0, 2.0), (2.0, 0.65), (0.85, 0.28), (1.45, 0.35), (2.6, 0.85), strict=True)
        self.register_buffer("centre", torch.tensor(centres).repeat_interleave(bands), persistent=False)
        self.register_buffer("spread", torch.tensor(spreads).repeat_interleave(bands), persistent=False)
        self.bias = nn.Parameter(torch.zeros(5 * bands))
        self.layer = nn.Linear(5 * bands, width)

    def forward(self, bands: Tensor, speaking: Tensor) -> Tensor:
        """bands [batch, frames, bands] of log power, speaking [batch, frames, 1] in 0..1 -> [batch, width]."""
        mean = mean_over(bands, speaking)
        centred = bands - mean[:, None]
        found = [mean, mean_over(centred.square(), speaking).add(1e-4).sqrt(), mean_over(centred.clamp(min=0), speaking)]
        for step in (2, 10):
            change = (bands[:, step:] - bands[:, :-step]).square()
            found.append(mean_over(change, speaking[:, step:] * speaking[:, :-step]).add(1e-4).sqrt())
        return nn.functional.gelu(self.layer((torch.cat(found, dim=1) - self.centre) / self.spread + self.bias))


class ConvNeXtSpeechTower(nn.Module):
    """Waveform -> features, whatever the level, the padding or the neighbours in the batch.

    Args:
        mel_bins: mel bands between 40 Hz and 8 kHz.
        widths, depths: channels and blocks of each stage; each stage halves the frame rate (from 100 a second).
        kernel: frames that a block's depthwise convolution spans.
        expansion: hidden width of a block's perceptron, in multiples of its channels.
        functionals: width of the layer over plain statistics of the bands.
        drop_path: largest share of clips for which a block is skipped in training (grows with depth).
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
    ) -> None:
        super().__init__()
        self.mel = MelFrontEnd(mel_bins)
        self.downsamples = nn.ModuleList()
        self.stages = nn.ModuleList()
        inputs, total, seen = 2 * mel_bins, sum(depths), 0
        for width, depth in zip(widths, depths, strict=True):
            self.downsamples.append(Downsample(inputs, width, kernel=5))
            rates = [drop_path * (seen + i) / max(1, total - 1) for i in range(depth)]
            self.stages.append(nn.ModuleList(ConvNeXtBlock(width, kernel, expansion, rate) for rate in rates))
            inputs, seen = width, seen + depth
        self.pooling = StatisticsPooling(inputs)
        self.norm = nn.LayerNorm(3 * inputs)
        self.functionals = Functionals(mel_bins, functionals)
        self.width = 3 * inputs + functionals
        self.checkpointing = False

    def checkpoint_activations(self) -> None:
        """Trades time for memory in training: activations are computed again in the backward pass."""
        self.checkpointing = True

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """Waveform [batch, samples] in -1..1 at 16 kHz, zero after `lengths` [batch] -> features [batch, width]."""
        return self.encode(*self.mel(waveform, lengths))

    def encode(self, power: Tensor, frames: Tensor) -> Tensor:
        """Mel power [batch, frames, bins] with `frames` [batch] valid ones -> features [batch, width]."""
        mask = frame_mask(frames, power.shape[1])
        bands, speaking = self._bands(power * mask, mask)
        relative = bands - mean_over(bands, speaking)[:, None]
        x = torch.cat([bands + 4.0, relative], dim=2) / 4.0 * mask
        for downsample, blocks in zip(self.downsamples, self.stages, strict=True):
            x, mask, frames = downsample(x, frames)
            for block in blocks:
                recompute = self.checkpointing and self.training
                x = checkpoint(block, x, mask, use_reentrant=False) if recompute else block(x, mask)
        every = 2 ** len(self.downsamples)
        deep = self.pooling(x, speaking[:, ::every] * mask)
        return torch.cat([self.norm(deep), self.functionals(bands, speaking)], dim=1)

    @staticmethod
    def _bands(power: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(log power over the clip's level [batch, frames, bins], how surely somebody speaks [batch, frames, 1] in 0..1).

        The level is the mean power weighted with itself, which silence at the ends does not change.
        """
        whole = power.mean(dim=2, keepdim=True)
        level = whole.square().sum(dim=1, keepdim=True) / whole.sum(dim=1, keepdim=True).clamp(min=SILENCE)
        level = level.clamp(min=SILENCE)
        speaking = torch.sigmoid(((whole / level + SILENCE).log() - GATE) / SOFTNESS) * mask
        return torch.log(power / level + FLOOR), speaking
