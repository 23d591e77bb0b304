"""Our own speech tower: a small 1-D ConvNeXt over log-mel frames with masked statistics pooling."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from encoders.networks.masks import frame_mask
from encoders.networks.mel import MelFrontEnd

FLOOR = 1e-5
"""Mel power that is 50 dB or more below the clip's mean is not told from silence."""
SILENCE = 1e-10
"""Mean mel power below which a clip is not brought to the common level (about -100 dB of full scale)."""


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
    """Mean, standard deviation and attention-weighted mean over the valid frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.Linear(width, width // 2), nn.Tanh(), nn.Linear(width // 2, width))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x [batch, frames, width], mask [batch, frames, 1] -> [batch, 3 * width]."""
        count = mask.sum(dim=1)
        mean = (x * mask).sum(dim=1) / count
        deviation = ((x - mean[:, None]).square() * mask).sum(dim=1) / count
        weights = torch.softmax(self.attention(x).masked_fill(mask == 0, -1e4), dim=1)
        return torch.cat([mean, (deviation + 1e-6).sqrt(), (weights * x).sum(dim=1)], dim=1)


class ConvNeXtSpeechTower(nn.Module):
    """Waveform -> features, whatever the level, the padding or the neighbours in the batch.

    Args:
        mel_bins: mel bands between 40 Hz and 8 kHz.
        widths, depths: channels and blocks of each stage; each stage halves the frame rate (from 100 a second).
        kernel: frames that a block's depthwise convolution spans.
        expansion: hidden width of a block's perceptron, in multiples of its channels.
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
    ) -> None:
        super().__init__()
        self.mel = MelFrontEnd(mel_bins)
        self.downsamples = nn.ModuleList()
        self.stages = nn.ModuleList()
        inputs, total, seen = mel_bins, sum(depths), 0
        for width, depth in zip(widths, depths, strict=True):
            self.downsamples.append(Downsample(inputs, width, kernel=5))
            rates = [drop_path * (seen + i) / max(1, total - 1) for i in range(depth)]
            self.stages.append(nn.ModuleList(ConvNeXtBlock(width, kernel, expansion, rate) for rate in rates))
            inputs, seen = width, seen + depth
        self.pooling = StatisticsPooling(inputs)
        self.norm = nn.LayerNorm(3 * inputs)
        self.width = 3 * inputs
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
        level = (power * mask).sum(dim=(1, 2)) / (frames * power.shape[2])
        x = torch.log(power / level[:, None, None].clamp(min=SILENCE) + FLOOR)
        x = (x + 4.0) / 4.0 * mask
        for downsample, blocks in zip(self.downsamples, self.stages, strict=True):
            x, mask, frames = downsample(x, frames)
            for block in blocks:
                recompute = self.checkpointing and self.training
                x = checkpoint(block, x, mask, use_reentrant=False) if recompute else block(x, mask)
        return self.norm(self.pooling(x, mask))
