"""Plain statistics of a clip's spectrum, pitch and energy while somebody speaks, as in acoustic parameter sets for emotion."""

import torch
from torch import Tensor, nn

BAND_STATISTICS, PITCH_STATISTICS, ENERGY_STATISTICS = 5, 6, 4
FURTHEST = 4.0
"""Standard deviations beyond which a statistic counts no more."""


def mean_over(x: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over frames: x [batch, frames, width], weights [batch, frames, 1] -> [batch, width]."""
    return (x * weights).sum(dim=1) / (weights.sum(dim=1) + 1e-4)


def movement(x: Tensor, weights: Tensor, step: int) -> Tensor:
    """Root mean square change over `step` frames, [batch, width]."""
    change = (x[:, step:] - x[:, :-step]).square()
    return mean_over(change, weights[:, step:] * weights[:, :-step]).add(1e-4).sqrt()


def spread(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and mean rise above the mean, [batch, width] each."""
    mean = mean_over(x, weights)
    centred = x - mean[:, None]
    return mean, mean_over(centred.square(), weights).add(1e-4).sqrt(), mean_over(centred.clamp(min=0), weights)


class Functionals(nn.Module):
    """Statistics, brought to one scale, through one layer.

    Of each band of the spectrum: mean, standard deviation, mean rise above the mean, movement in 20 and in 100 ms. Of the
    pitch: the same, and the share of speech that is voiced. Of the energy: standard deviation, mean rise, movements. They
    were made for emotion, and carry over to voices and recordings never heard better than what deeper layers learn.

    Args:
        bands: of the spectrum.
        width: of the layer.
        dropout: share of the statistics that are left out in training.
        others: statistics that a tower adds to those of measure().
    """

    def __init__(self, bands: int, width: int, dropout: float, others: int = 0) -> None:
        super().__init__()
        count = BAND_STATISTICS * bands + PITCH_STATISTICS + ENERGY_STATISTICS + others
        self.register_buffer("centre", torch.zeros(count))
        self.register_buffer("scale", torch.ones(count))
        self.dropout = nn.Dropout(dropout)
        self.layer = nn.Linear(count, width)

    def fit(self, found: Tensor) -> None:
        """Takes mean and standard deviation of each statistic over clips, `found` [clips, statistics], for its scale."""
        self.centre.copy_(found.mean(dim=0))
        self.scale.copy_(found.std(dim=0) + 0.01)

    def measure(self, bands: Tensor, octaves: Tensor, energy: Tensor, speaking: Tensor, voiced: Tensor) -> Tensor:
        """The statistics, [batch, statistics].

        Args:
            bands: log power of each band, [batch, frames, bands].
            octaves, energy: pitch and log power of each frame, [batch, frames, 1].
            speaking, voiced: how surely somebody speaks, and with voice, 0..1, [batch, frames, 1].
        """
        found = [*spread(bands, speaking), movement(bands, speaking, 2), movement(bands, speaking, 10)]
        found += [*spread(octaves, voiced), movement(octaves, voiced, 3), movement(octaves, voiced, 10)]
        found += [voiced.sum(dim=1) / (speaking.sum(dim=1) + 1e-3)]
        found += [*spread(energy, speaking)[1:], movement(energy, speaking, 2), movement(energy, speaking, 10)]
        return torch.cat(found, dim=1)

    def forward(self, found: Tensor) -> Tensor:
        """Statistics [batch, statistics] -> features [batch, width]."""
        scaled = ((found - self.centre) / self.scale).clamp(-FURTHEST, FURTHEST)
        return nn.functional.gelu(self.layer(self.dropout(scaled)))
