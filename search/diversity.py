"""From many clips that fit to the few that are shown: grouped, without copies, as diverse as was asked for."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from voxdex.indexer.store.base import ScoredPoint
from voxdex.search.query import Ranking


@dataclass(frozen=True)
class Chosen:
    """A clip that is shown, and how many like it are not."""

    clip: ScoredPoint
    copies: int


def choose(
    candidates: Sequence[ScoredPoint], count: int, ranking: Ranking, group_of: Callable[[ScoredPoint], object]
) -> list[Chosen]:
    """Takes at most `count` of one or more candidates (with vectors, best first), in the order in which they are shown."""
    chosen: list[ScoredPoint] = []
    vectors = np.empty((count, len(candidates[0].vector)), np.float32)
    copies: Counter[str] = Counter()
    taken: Counter[object] = Counter()
    for clip in _in_order(candidates, ranking.diversity):
        likeness = vectors[: len(chosen)] @ clip.vector
        if ranking.fold < 1 and likeness.max(initial=-1.0) >= ranking.fold:
            copies[chosen[likeness.argmax()].id] += 1
            continue
        group = group_of(clip) if ranking.group else clip.id
        if len(chosen) < count and clip.score >= ranking.least and taken[group] < ranking.per_group:
            vectors[len(chosen)] = clip.vector
            chosen.append(clip)
            taken[group] += 1
    return [Chosen(clip, copies[clip.id]) for clip in chosen]


def _in_order(candidates: Sequence[ScoredPoint], diversity: float) -> Iterable[ScoredPoint]:
    """By score, or each as good as it can be while unlike those before it (maximal marginal relevance)."""
    if not diversity:
        yield from candidates
        return
    vectors = np.stack([clip.vector for clip in candidates])
    scores = np.array([clip.score for clip in candidates])
    fit = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-6)
    nearest, left = np.zeros(len(candidates)), np.ones(len(candidates), bool)
    for _ in candidates:
        place = int(np.where(left, (1 - diversity) * fit - diversity * nearest, -np.inf).argmax())
        left[place] = False
        nearest = np.maximum(nearest, (1 + vectors @ vectors[place]) / 2)
        yield candidates[place]
