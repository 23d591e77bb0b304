"""Figures of merit for zero-shot classification and retrieval, in percent where they are shares."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Classification:
    """confusion: int [labels, labels], rows are the truth. UAR is the mean of the recalls of the labels that occur."""

    labels: tuple[str, ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        return 100 * float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def uar(self) -> float:
        """Unweighted average recall."""
        seen = self.confusion.sum(axis=1) > 0
        return 100 * float(np.mean(np.diag(self.confusion)[seen] / self.confusion.sum(axis=1)[seen]))

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the labels that occur."""
        seen = self.confusion.sum(axis=1) > 0
        hits = np.diag(self.confusion)
        return 100 * float(np.mean((2 * hits / (self.confusion.sum(axis=0) + self.confusion.sum(axis=1)).clip(1))[seen]))


def classification(truth: list[str], predicted: list[str], labels: tuple[str, ...]) -> Classification:
    """Counts how often each true label was taken for each other."""
    place = {label: i for i, label in enumerate(labels)}
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, ([place[label] for label in truth], [place[label] for label in predicted]), 1)
    return Classification(labels, confusion)


@dataclass(frozen=True)
class Retrieval:
    """ranks: for each query the rank, from 1, of its best-placed right answer."""

    ranks: np.ndarray

    def recall_at(self, k: int) -> float:
        """Percent of queries with a right answer among the first k."""
        return 100 * float(np.mean(self.ranks <= k))

    @property
    def median_rank(self) -> float:
        return float(np.median(self.ranks))

    @property
    def mean_rank(self) -> float:
        return float(np.mean(self.ranks))


def retrieval(scores: np.ndarray, right: np.ndarray) -> Retrieval:
    """Ranks each query's answers by score.

    Args:
        scores: float [queries, answers], higher is better.
        right: bool [queries, answers]; every query has a right answer.

    Ties count against the query: an equal score ranks before the right answer.
    """
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return Retrieval(((scores >= best) & ~right).sum(axis=1) + 1)


def average_precision_at(scores: np.ndarray, right: np.ndarray, k: int) -> float:
    """mAP@k in percent: the mean over queries of the average precision of the first k answers.

    Args:
        scores: float [queries, answers], higher is better.
        right: bool [queries, answers]; every query has a right answer.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    hits = np.take_along_axis(right, order, axis=1)
    precision = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    possible = np.minimum(right.sum(axis=1), hits.shape[1])
    return 100 * float(np.mean((precision * hits).sum(axis=1) / possible))
