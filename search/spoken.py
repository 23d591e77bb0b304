"""Candidates of a search for spoken text: clips by how well a part of their speech matches phonemes."""

import math
from dataclasses import replace

import numpy as np

from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.indexer.store.base import POSTERIORGRAM, ScoredPoint, Store
from voxdex.indexer.store.filters import Filter
from voxdex.search.query import QueryError, SpokenMatch

MAX_CLIPS = 20_000
"""Clips whose posteriorgrams are searched: the nearest to the phonemes by their phonetic vectors."""


LEAST_MATCH = 1e-9
"""Added to matches before the logarithm."""
LEAST_CLIPS = 20
"""Clips from which on their matches tell what is usual."""
NORMAL = 1.4826
"""Standard deviations of a normal distribution in its median absolute deviation."""


class SpokenText:
    """A search of an index for phonemes.

    Args:
        phonemes: phonemes (IPA).
        store: the index.
        model: the phonetic model of the index; None if the index has no phonetic vectors.

    Raises:
        QueryError: the index has no phonetic vectors, or those of another model.
    """

    def __init__(self, phonemes: str, store: Store, model: PhoneticModel | None) -> None:
        if store.phonetic is None or model is None:
            raise QueryError("The index has no phonetic vectors: index it again with --phonetic.")
        if store.phonetic.space != model.card.space:
            raise QueryError(f"The index holds phonetic vectors of {store.phonetic.space}, not of {model.card.space}.")
        self._phonemes, self._store, self._model = phonemes, store, model
        self._usual: tuple[float, float] | None = None

    def candidates(self, where: Filter) -> list[ScoredPoint]:
        """Return clips that match a filter, with their vectors, best first; the score is the match, 0 to 1.

        The engine finds the clips nearest to the phonemes as a whole. The phonemes are then searched for in the posteriorgram
        of each, from any frame to any other.

        Raises:
            TextError: the model knows none of the phonemes.
            FilterError: the filter names an unknown field, or compares values without an order.
        """
        vector = next(self._model.embed_phonemes([self._phonemes])).vector
        nearest = self._store.query(vector, MAX_CLIPS, where, vectors=True, phonetic=True)
        matches = self._model.match(self._phonemes, [clip.payload[POSTERIORGRAM] for clip in nearest])
        self._usual = _median_and_deviation(np.log(matches + LEAST_MATCH))
        clips = [replace(clip, score=float(match)) for clip, match in zip(nearest, matches, strict=True)]
        return sorted(clips, key=lambda clip: -clip.score)

    def locate(self, clip: ScoredPoint, match: float) -> SpokenMatch:
        """Return the location of the phonemes in a candidate."""
        begin, end = self._model.locate(self._phonemes, clip.payload[POSTERIORGRAM])
        first, last = clip.payload["start"], clip.payload["end"]
        deviations = None
        if self._usual:
            median, deviation = self._usual
            deviations = round((math.log(match + LEAST_MATCH) - median) / deviation, 2)
        return SpokenMatch(round(first + begin, 3), round(min(first + end, last), 3), match, deviations)


def _median_and_deviation(logs: np.ndarray) -> tuple[float, float] | None:
    """Return the median and the scaled median absolute deviation of log matches [clips]; None for too few or equal ones."""
    if len(logs) < LEAST_CLIPS:
        return None
    median = float(np.median(logs))
    deviation = NORMAL * float(np.median(np.abs(logs - median)))
    return (median, deviation) if deviation else None
