"""Labels from acoustic measures by thresholds (measured.toml)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Bins:
    """A measure, the edges of its bins in ascending order, and the labels of each bin.

    A bin has a label, several possible ones ("smooth|rough"), or none ("").
    """

    measure: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]

    def labels_for(self, value: float | None) -> set[str]:
        """Return the possible labels of a value; none for None."""
        return set() if value is None else set(filter(None, self.labels[np.searchsorted(self.edges, value)].split("|")))


@dataclass(frozen=True)
class MeasuredAttribute:
    """An attribute decided by measures: its label is the one that the bins of all of them allow."""

    bins: tuple[Bins, ...]

    def label(self, measures: Mapping[str, float | None]) -> str:
        """Return the label for measures by name (the fields of Measures), or ""."""
        allowed = set.intersection(*(bins.labels_for(measures.get(bins.measure)) for bins in self.bins))
        return allowed.pop() if len(allowed) == 1 else ""


MOVED_BY_SPEED = {"pitch_hz": 1, "syllables_per_second": 1, "centroid_hz": 1, "rt60_seconds": -1}
"""Exponent of the playback speed by which measures change."""


def played(row: Mapping[str, str], speed: float) -> dict[str, str]:
    """Return the cells that change if a clip is played faster, and so higher, by a factor `speed`.

    Args:
        row: a manifest's row; a label that does not follow from the row's measures is kept.
    """
    measures = {bins.measure for attribute in load_measured().values() for bins in attribute.bins}
    before = {name: float(row[name]) for name in measures if row.get(name)}
    after = {name: value * speed ** MOVED_BY_SPEED.get(name, 0) for name, value in before.items()}
    cells = {}
    for name, attribute in load_measured().items():
        former, label = attribute.label(before), attribute.label(after)
        if label != former == row.get(name, ""):
            cells[name] = label
    return cells


@cache
def load_measured() -> dict[str, MeasuredAttribute]:
    """Return all measured attributes by name."""
    raw = tomllib.loads((Path(__file__).parent / "measured.toml").read_text(encoding="utf-8"))
    return {name: MeasuredAttribute(_bins(fields["by"])) for name, fields in raw.items()}


def _bins(by: dict[str, dict[str, Any]]) -> tuple[Bins, ...]:
    return tuple(Bins(measure, tuple(bins["edges"]), tuple(bins["labels"])) for measure, bins in by.items())
