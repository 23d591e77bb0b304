"""Pooling that keeps order: what was said at the beginning, in the middle and at the end stays apart."""

import torch
from torch import Tensor, nn

LEAST = 1e-4
"""Weight that is added to each place, so that nothing is divided by zero."""


class OrderPooling(nn.Module):
    """Weighted means of states at evenly spaced places of a sequence, and its length.

    A state's position is the share of all weight that lies before it, so that sequences of different pace line up: phonemes
    weigh one each, frames of sound as surely as a phoneme is heard in them.

    Args:
        inputs: width of the states.
        features: width of what is kept of a state.
        places: how many.
    """

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
        positions = (weights.cumsum(dim=-1) - weights / 2) / (whole + LEAST)
        shares = torch.exp(-self.sharpness * (positions[..., None] - self.centres).square()) * weights[..., None]
        shares = shares / (shares.sum(dim=-2, keepdim=True) + LEAST)
        means = shares.transpose(-2, -1) @ self.narrow(states)
        return torch.cat([self.norm(means.flatten(-2)), (whole + 1).log() - 3], dim=-1)
