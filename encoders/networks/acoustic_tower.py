"""The acoustic side of SCRAPS (Valles-Perez et al., arXiv 2307.12445): which sounds are heard, in which order."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from voxdex.encoders.networks.frontend import HOP, MelFrontEnd
from voxdex.encoders.networks.functionals import mean_over
from voxdex.encoders.networks.masks import frame_mask
from voxdex.encoders.networks.order_pooling import OrderPooling
from voxdex.encoders.networks.speech_tower import FLOOR, build_stages, gauge
from voxdex.encoders.phonetic.ctc import BLANK


class Utterance(NamedTuple):
    """What is heard of clips.

    states: [batch, frames, width]. log_shares: of the phonemes and BLANK, [batch, frames, vocabulary]. weights: how surely a
    phoneme is heard in a frame, 0 to 1, [batch, frames]. frames: how many are valid, [batch].
    """

    states: Tensor
    log_shares: Tensor
    weights: Tensor
    frames: Tensor


class AcousticTower(nn.Module):
    """Waveform -> features that keep the order of what is said, whatever the level, the padding or the neighbours.

    Args:
        vocabulary: number of phonemes, with BLANK and the unknown one, that frames are told apart by (CTC; Graves et al. 2006).
        mel_bins: mel bands between 40 Hz and 8 kHz.
        widths, depths: channels and blocks of each stage; each stage halves the frame rate (from 100 a second).
        kernels: frames that the depthwise convolutions of each stage span.
        expansion: hidden width of a block's perceptron, in multiples of its channels.
        drop_path: largest share of clips for which a block is skipped in training (grows with depth).
        features, places: see OrderPooling.
    """

    def __init__(
        self,
        vocabulary: int,
        mel_bins: int = 80,
        widths: tuple[int, ...] = (192, 256),
        depths: tuple[int, ...] = (2, 8),
        kernels: tuple[int, ...] = (9, 15),
        expansion: int = 3,
        drop_path: float = 0.1,
        features: int = 64,
        places: int = 24,
    ) -> None:
        super().__init__()
        self.mel = MelFrontEnd(mel_bins)
        self.downsamples, self.stages = build_stages(2 * mel_bins, widths, depths, kernels, expansion, drop_path)
        self.norm = nn.LayerNorm(widths[-1])
        self.phonemes = nn.Linear(widths[-1], vocabulary)
        self.pooling = OrderPooling(widths[-1], features, places)
        self.hop = HOP * 2 ** len(widths)
        """Samples between frames."""
        self.width = self.pooling.width

    def listen(self, waveform: Tensor, lengths: Tensor) -> Utterance:
        """Waveform [batch, samples] in -1..1 at 16 kHz, zero after `lengths` [batch]."""
        x, mask, frames = self._features(waveform, lengths)
        for downsample, blocks in zip(self.downsamples, self.stages, strict=True):
            x, mask, frames = downsample(x, frames)
            for block in blocks:
                x = block(x, mask)
        states = self.norm(x) * mask
        log_shares = self.phonemes(states).float().log_softmax(dim=-1)
        weights = (1 - log_shares[..., BLANK].exp()) * mask[..., 0]
        return Utterance(states, log_shares, weights, frames)

    def pool(self, states: Tensor, weights: Tensor) -> Tensor:
        """States [batch, frames, ...] and weights [batch, frames], of an Utterance or a part of it -> features."""
        return self.pooling(states, weights)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """As listen() -> features [batch, width]."""
        heard = self.listen(waveform, lengths)
        return self.pool(heard.states, heard.weights)

    def _features(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log mel over the clip's level, and over each band's mean where somebody speaks; mask; frames."""
        power, frames = self.mel(waveform, lengths)
        mask = frame_mask(frames, power.shape[1])
        power = power * mask
        level, _, speaking = gauge(power, mask)
        mel = (power / level + FLOOR).log()
        relative = mel - mean_over(mel, speaking)[:, None]
        return torch.cat([(mel + 4) / 4, relative / 4], dim=2) * mask, mask, frames
