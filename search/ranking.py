"""From many clips that fit to the few that are shown: grouped, without copies, as diverse as was asked for."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from indexer.store import Neighbour
from search.query import Ranking


@dataclass(frozen=True)
class Chosen:
    """A clip that is shown, and how many like it are not."""

    clip: Neighbour
    copies: int


def choose(
    candidates: Sequence[Neighbour], count: int, ranking: Ranking, group_of: Callable[[Neighbour], object]
) -> list[Chosen]:
    """Takes at most `count` of the candidates (with vectors, best first), in the order in which they are shown."""
    chosen: list[Neighbour] = []
    copies: Counter[str] = Counter()
    taken: Counter[object] = Counter()
    for clip in _in_order(candidates, ranking.diversity):
        original = _like(clip, chosen, ranking.fold)
        if original:
            copies[original.id] += 1
        elif (
            len(chosen) < count
            and clip.score >= ranking.least
            and (not ranking.group or taken[group_of(clip)] < ranking.per_group)
        ):
            chosen.append(clip)
            taken[group_of(clip)] += 1
    return [Chosen(clip, copies[clip.id]) for clip in chosen]


def _like(clip: Neighbour, others: Sequence[Neighbour], least: float) -> Neighbour | None:
    """Another clip that this one is a copy of."""
    if least >= 1 or not others:
        return None
    likeness = np.stack([other.vector for other in others]) @ clip.vector
    return others[int(likeness.argmax())] if likeness.max() >= least else None


def _in_order(candidates: Sequence[Neighbour], diversity: float) -> Iterable[Neighbour]:
    """By score, or each as good as it can be while unlike those before it (maximal marginal relevance)."""
    if not diversity or len(candidates) < 2:
        yield from candidates
        return
    vectors = np.stack([clip.vector for clip in candidates])
    fit = _unit_range(np.array([clip.score for clip in candidates]))
    likeness = _unit_range(vectors @ vectors.T)
    nearest, left = np.zeros(len(candidates)), np.ones(len(candidates), bool)
    for _ in candidates:
        place = int(np.where(left, (1 - diversity) * fit - diversity * nearest, -np.inf).argmax())
        left[place] = False
        nearest = np.maximum(nearest, likeness[place])
        yield candidates[place]


def _unit_range(values: np.ndarray) -> np.ndarray:
    return (values - values.min()) / max(float(np.ptp(values)), 1e-6)
