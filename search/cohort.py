"""What an archive's clips are like on the whole: against that, a score says something."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxdex.indexer.store.base import Store

SAMPLE = 1000
"""Clips that stand for an archive."""
LEAST_SAMPLE, LEAST_SPREAD = 20, 1e-3
"""Clips, and standard deviation, from which on the spread of scores is taken for that of an archive."""


@dataclass(frozen=True)
class ScoreCohort:
    """Vectors [clips, dimension] of a random sample of an archive."""

    vectors: np.ndarray

    @classmethod
    def of(cls, store: Store) -> "ScoreCohort":
        return cls(store.sample_vectors(SAMPLE))

    def spread(self, vector: np.ndarray) -> float:
        """The standard deviation of the archive's scores; 1 where the archive is too small to tell."""
        spread = float((self.vectors @ vector).std()) if len(self.vectors) >= LEAST_SAMPLE else 1.0
        return spread if spread >= LEAST_SPREAD else 1.0

    def percentiles(self, fit: Callable[[np.ndarray], np.ndarray], scores: np.ndarray) -> np.ndarray:
        """How many percent of the archive have a score below each of `scores`, given what scores clips [clips, dimension]."""
        ordered = np.sort(fit(self.vectors))
        return 100 * np.searchsorted(ordered, scores - 1e-6) / len(ordered)
