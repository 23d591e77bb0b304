"""Metrics of zero-shot classification and retrieval, as percentages where they are fractions, with bootstrap intervals."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Metric:
    """A metric in percent with its 95 % interval.

    name: what was measured, such as "emotion" or "speech to caption R@1". set: the part of the clips it was measured on, such
    as a data set or "all"; clips: their number. low, high: the interval. chance: the value of random guessing.
    """

    name: str
    set: str
    clips: int
    value: float
    low: float
    high: float
    chance: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Classification:
    """Confusion of true and predicted labels: int [labels, labels], rows are true labels."""

    labels: tuple[str, ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        return 100 * float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def uar(self) -> float:
        """Unweighted average recall in percent, over the labels that occur."""
        seen = self.confusion.sum(axis=1) > 0
        return 100 * float(np.mean(np.diag(self.confusion)[seen] / self.confusion.sum(axis=1)[seen]))

    @property
    def macro_f1(self) -> float:
        """Mean F1 in percent, over the labels that occur."""
        seen = self.confusion.sum(axis=1) > 0
        hits = np.diag(self.confusion)
        return 100 * float(np.mean((2 * hits / (self.confusion.sum(axis=0) + self.confusion.sum(axis=1)).clip(1))[seen]))

    def metrics(self) -> dict[str, float]:
        """Return UAR, macro F1 and accuracy in percent."""
        return {"UAR": self.uar, "macro_F1": self.macro_f1, "accuracy": self.accuracy}


def classification(truth: Sequence[str], predicted: Sequence[str], labels: tuple[str, ...]) -> Classification:
    """Count predicted labels by true label."""
    index = {label: i for i, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, ([index[label] for label in truth], [index[label] for label in predicted]), 1)
    return Classification(labels, confusion)


@dataclass(frozen=True)
class Retrieval:
    """One direction of retrieval.

    ranks: rank of the first relevant answer of each query, from 1.
    precisions: average precision at 10 of each query, 0 to 1.
    """

    ranks: np.ndarray
    precisions: np.ndarray

    def recall_at(self, k: int) -> float:
        """Return the percentage of queries with a relevant answer among the first k."""
        return 100 * float(np.mean(self.ranks <= k))

    @property
    def median_rank(self) -> float:
        """Median rank; the lower one for an even number of queries, as in ParaSpeechCLAP's evaluation."""
        return float(np.sort(self.ranks)[(len(self.ranks) - 1) // 2])

    @property
    def mean_rank(self) -> float:
        return float(np.mean(self.ranks))

    @property
    def mean_average_precision(self) -> float:
        """mAP@10, in percent."""
        return 100 * float(np.mean(self.precisions))

    def select(self, queries: np.ndarray) -> "Retrieval":
        """Return the results of some queries."""
        return Retrieval(self.ranks[queries], self.precisions[queries])

    def metrics(self) -> dict[str, float]:
        """Return R@1, R@5, R@10, median and mean rank, and mAP@10."""
        recalls = {f"R@{k}": self.recall_at(k) for k in (1, 5, 10)}
        ranks = {"median_rank": self.median_rank, "mean_rank": self.mean_rank}
        return recalls | ranks | {"mAP@10": self.mean_average_precision}


def retrieval(scores: np.ndarray, relevant: np.ndarray) -> Retrieval:
    """Rank each query's answers by score.

    Args:
        scores: float [queries, answers], higher is better.
        relevant: bool [queries, answers]; every query has a relevant answer.

    Ties count against the query: an irrelevant answer of equal score ranks first.
    """
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    ranks = ((scores >= best) & ~relevant).sum(axis=1) + 1
    return Retrieval(ranks, average_precision(scores, relevant, 10))


def average_precision(scores: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """Return AP@k of each query, 0 to 1; see retrieval for the arguments."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(relevant, order, axis=1)
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    possible = np.minimum(relevant.sum(axis=1), hits.shape[1])
    return (precision * hits).sum(axis=1) / possible


def area_under_curve(scores: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve in percent: how often a positive scores above a negative; ties count half.

    Args:
        scores: float [answers].
        positive: bool [answers], with both values.
    """
    others = np.sort(scores[~positive])
    below, not_above = (np.searchsorted(others, scores[positive], side) for side in ("left", "right"))
    return 100 * float(((below + not_above) / 2 / len(others)).mean())


MIN_SPEAKERS = 5
"""Least number of speakers for intervals over speakers."""


def speaker_clusters(speakers: Sequence[str]) -> Sequence[str] | None:
    """Return the clusters of an interval over speakers; None, for single rows, where there are few or some are unknown ("")."""
    return speakers if len(set(speakers)) >= MIN_SPEAKERS and "" not in speakers else None


def mean_interval(
    values: np.ndarray,
    groups: Sequence[Any] | np.ndarray | None = None,
    draws: int = 1000,
    seed: int = 0,
    clusters: Sequence[Any] | None = None,
) -> tuple[float, float]:
    """Return the 95 % interval of a mean, or of the mean of group means, by the percentile bootstrap.

    Args:
        values: [clips or queries].
        groups: the group of each value, such as its true label for an unweighted average recall; None for a plain mean.
        draws, seed: see bootstrap.
        clusters: the cluster of each value, such as its speaker, that is drawn as a whole; None for single values.
    """
    names, places = np.unique(np.zeros(len(values)) if groups is None else groups, return_inverse=True)
    units = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    counts, sums = np.zeros((2, units.max() + 1, len(names)))
    np.add.at(counts, (units, places), 1)
    np.add.at(sums, (units, places), values)
    often = np.random.default_rng(seed).multinomial(len(counts), np.full(len(counts), 1 / len(counts)), size=draws)
    drawn = often @ counts
    means = (often @ sums) / np.where(drawn > 0, drawn, np.nan)
    low, high = np.percentile(np.nanmean(means, axis=1), (2.5, 97.5))
    return float(low), float(high)


def bootstrap(
    metrics: Callable[[np.ndarray], dict[str, float]],
    count: int,
    draws: int = 1000,
    seed: int = 0,
    clusters: Sequence[Any] | None = None,
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals of metrics by the percentile bootstrap (Efron and Tibshirani 1993, chapter 13).

    Args:
        metrics: computes the metrics of a resample, given as row numbers of the sample.
        count: number of rows of the sample.
        draws: number of resamples.
        seed: of the random draws.
        clusters: the cluster of each row, such as its speaker, that is drawn as a whole; None for single rows.
    """
    rng = np.random.default_rng(seed)
    if clusters is None:
        resamples = [rng.integers(count, size=count) for _ in range(draws)]
    else:
        units = np.unique(clusters, return_inverse=True)[1]
        members = [np.flatnonzero(units == unit) for unit in range(units.max() + 1)]
        resamples = [
            np.concatenate([members[unit] for unit in rng.integers(len(members), size=len(members))]) for _ in range(draws)
        ]
    drawn = [metrics(rows) for rows in resamples]
    bounds = {name: np.nanpercentile([values[name] for values in drawn], (2.5, 97.5)) for name in drawn[0]}
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}
