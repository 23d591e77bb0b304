"""The towers of SCRAPS (Valles-Perez et al., arXiv 2307.12445): speech and phonemes, pooled so that their order is kept."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from voxdex.encoders.errors import NetworkError
from voxdex.encoders.networks.dual_encoder import DualEncoder, Tower
from voxdex.encoders.networks.frontend import HOP, MelFrontEnd, frame_mask
from voxdex.encoders.networks.speech_tower import FLOOR, build_stages, mean_over, speech_level
from voxdex.encoders.networks.text_tower import TokenTransformer
from voxdex.encoders.phonetic.ctc import BLANK

WEIGHT_FLOOR = 1e-4
"""Added to sums of weights before a division."""


class OrderPooling(nn.Module):
    """Weighted means of states around evenly spaced positions of a sequence, and its length.

    The position of a state is the fraction of the total weight before it, so that sequences of different pace align: a phoneme
    has weight one, and a frame of sound the probability of a phoneme in it.

    Args:
        inputs: width of the states.
        features: width of a projected state.
        places: number of positions.
    """

    centres: Tensor

    def __init__(self, inputs: int, features: int = 64, places: int = 24) -> None:
        super().__init__()
        self.narrow = nn.Linear(inputs, features)
        self.norm = nn.LayerNorm(places * features)
        centres = (torch.arange(places) + 0.5) / places
        self.register_buffer("centres", centres, persistent=False)
        self.sharpness = 2 * places**2
        self.width = places * features + 1

    def forward(self, states: Tensor, weights: Tensor) -> Tensor:
        """States [batch, length, inputs], weights of 0 or more [batch, length] -> [batch, width]."""
        whole = weights.sum(dim=-1, keepdim=True)
        positions = (weights.cumsum(dim=-1) - weights / 2) / (whole + WEIGHT_FLOOR)
        weighting = torch.exp(-self.sharpness * (positions[..., None] - self.centres).square()) * weights[..., None]
        weighting = weighting / (weighting.sum(dim=-2, keepdim=True) + WEIGHT_FLOOR)
        means = weighting.transpose(-2, -1) @ self.narrow(states)
        return torch.cat([self.norm(means.flatten(-2)), (whole + 1).log() - 3], dim=-1)


class PhoneticFrames(NamedTuple):
    """Frame-wise output for clips.

    states: [batch, frames, width]. log_probs: of the phonemes and BLANK, [batch, frames, vocabulary]. weights:
    probability of any phoneme in a frame, [batch, frames]. frames: number of valid frames [batch].
    """

    states: Tensor
    log_probs: Tensor
    weights: Tensor
    frames: Tensor


class AcousticTower(Tower):
    """Waveform -> features that keep the order of phonemes, independent of level, padding and the other clips of the batch.

    Args:
        vocabulary: number of phonemes, with BLANK and the unknown one: the classes of a frame (CTC; Graves et al. 2006).
        mel_bins: mel bands between 40 Hz and 8 kHz.
        widths, depths: channels and blocks of each stage; each stage halves the frame rate (from 100 a second).
        kernels: frames that the depthwise convolutions of each stage span.
        expansion: hidden width of a block's perceptron, in multiples of its channels.
        drop_path: largest fraction of clips that skip a block in training (grows with depth).
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

    def listen(self, waveform: Tensor, lengths: Tensor) -> PhoneticFrames:
        """Waveform [batch, samples] in -1..1 at 16 kHz, zero after `lengths` [batch] -> frame-wise output."""
        x, mask, frames = self._features(waveform, lengths)
        for downsample, blocks in zip(self.downsamples, self.stages, strict=True):
            x, mask, frames = downsample(x, frames)
            for block in blocks.children():
                x = block(x, mask)
        states = self.norm(x) * mask
        log_probs = self.phonemes(states).float().log_softmax(dim=-1)
        weights = (1 - log_probs[..., BLANK].exp()) * mask[..., 0]
        return PhoneticFrames(states, log_probs, weights, frames)

    def pool(self, states: Tensor, weights: Tensor) -> Tensor:
        """States [batch, frames, ...] and weights [batch, frames], of PhoneticFrames or of a part of them -> features."""
        return self.pooling(states, weights)

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        """As listen() -> features [batch, width]."""
        output = self.listen(waveform, lengths)
        return self.pool(output.states, output.weights)

    def _features(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return log mel over the clip's level, and over each band's mean during speech; the mask; numbers of frames."""
        power, frames = self.mel(waveform, lengths)
        mask = frame_mask(frames, power.shape[1])
        power = power * mask
        level, _, speaking = speech_level(power, mask)
        mel = (power / level + FLOOR).log()
        relative = mel - mean_over(mel, speaking)[:, None]
        return torch.cat([(mel + 4) / 4, relative / 4], dim=2) * mask, mask, frames


def acoustic_tower(network: DualEncoder) -> AcousticTower:
    """Return the speech tower of a phonetic network.

    Raises:
        NetworkError: it is of another kind.
    """
    if not isinstance(network.speech_tower, AcousticTower):
        raise NetworkError("speech_tower.kind of a phonetic model is 'acoustic'.")
    return network.speech_tower


class PhonemeTower(TokenTransformer):
    """Phoneme ids -> features that keep their order.

    Args:
        vocabulary: number of phonemes, padding (0) and the unknown one included.
        hidden, layers, heads: see TokenTransformer.
        features, places: see OrderPooling.
        longest: maximum number of phonemes, which the tokenizer truncates to.
    """

    def __init__(
        self,
        vocabulary: int,
        hidden: int = 192,
        layers: int = 3,
        heads: int = 4,
        features: int = 64,
        places: int = 24,
        longest: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(vocabulary, hidden, layers, heads, longest, dropout)
        self.neighbours = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.pooling = OrderPooling(hidden, features, places)
        self.width = self.pooling.width

    def states(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """A state for each phoneme [batch, tokens, hidden], zero for padding."""
        mask = attention_mask.to(self.tokens.weight.dtype)
        x = self.tokens(input_ids) * mask[:, :, None]
        return self.mix(x + nn.functional.gelu(self.neighbours(x.transpose(1, 2)).transpose(1, 2)), mask)

    def pool(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """States and mask [batch, tokens] -> features [batch, width]."""
        return self.pooling(states, attention_mask.float())

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """input_ids and attention_mask, both int64 [batch, tokens] -> features [batch, width]."""
        return self.pool(self.states(input_ids, attention_mask), attention_mask)
