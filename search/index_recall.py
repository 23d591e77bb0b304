"""How much of the exact answer an index gives: engines that search large indexes quickly miss a little."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from voxdex.encoders.model import Model
from voxdex.indexer.store.base import CLIP, KIND, Store
from voxdex.search.query_vector import caption_vector

AT_ONCE = 10_000
"""Clips that are compared at a time."""


@dataclass(frozen=True)
class IndexRecall:
    """Of `clips` clips the `first` ones.

    recalls: for each query the share of the exact answers that the engine gives, 0 to 1. milliseconds: that each took.
    """

    clips: int
    first: int
    recalls: np.ndarray
    milliseconds: np.ndarray

    @property
    def recall(self) -> float:
        """Mean recall, in percent."""
        return 100 * float(self.recalls.mean())


def evaluate_index(
    store: Store,
    model: Model,
    captions: Sequence[str],
    first: int = 10,
    on_clips: Callable[[int], object] = lambda count: None,
) -> IndexRecall:
    """Asks an index captions, and compares its first answers with those of a scan over all clips.

    Among clips that score the same, to six digits, any counts as right. on_clips is told how many more were scanned.
    """
    queries = np.stack([caption_vector(caption, model) for caption in captions])
    found, milliseconds = [], []
    for query in queries:
        started = time.perf_counter()
        found.append([clip.id for clip in store.query(query, first)])
        milliseconds.append(1000 * (time.perf_counter() - started))
    best, scores_of, clips = np.full((len(queries), first), -np.inf), {}, 0
    wanted = {id for ids in found for id in ids}
    points = iter(store.points({KIND: CLIP}))
    while batch := list(islice(points, AT_ONCE)):
        scores = queries @ np.stack([point.vector for point in batch]).T
        best = np.sort(np.concatenate([best, scores], axis=1), axis=1)[:, -first:]
        scores_of |= {point.id: scores[:, place] for place, point in enumerate(batch) if point.id in wanted}
        clips += len(batch)
        on_clips(len(batch))
    few = min(first, clips)
    recalls = [sum(scores_of[id][row] >= best[row, -few] - 1e-6 for id in ids) / few for row, ids in enumerate(found)]
    return IndexRecall(clips, few, np.array(recalls), np.array(milliseconds))
