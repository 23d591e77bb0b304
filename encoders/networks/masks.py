"""Masks that keep padding out of what is computed of a clip."""

import torch
from torch import Tensor


def frame_mask(frames: Tensor, longest: int) -> Tensor:
    """One for the valid frames and zero for padding, [batch, longest, 1], given how many are valid [batch]."""
    return (torch.arange(longest, device=frames.device) < frames[:, None]).float()[:, :, None]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean over the valid frames: x [batch, frames, width], mask [batch, frames, 1] -> [batch, width]."""
    return (x * mask).sum(dim=1) / mask.sum(dim=1)
