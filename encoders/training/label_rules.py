"""Attributes that are measured rather than judged: which measures make a label (measured.toml)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Bins:
    """A measure, the edges between its bins in ascending order, and what each bin stands for.

    A bin names a label, several that it could be ("smooth|rough"), or nothing ("") where it is not worth a word.
    """

    measure: str
    edges: tuple[float, ...]
    labels: tuple[str, ...]

    def labels_for(self, value: float | None) -> set[str]:
        """What a value could be called; nothing where it is None."""
        return set() if value is None else set(filter(None, self.labels[np.searchsorted(self.edges, value)].split("|")))


@dataclass(frozen=True)
class MeasuredAttribute:
    """The measures that decide an attribute: its label is the one that all of them allow."""

    bins: tuple[Bins, ...]

    def label(self, measures: Mapping[str, float | None]) -> str:
        """The label for measures by name (the fields of Measures), "" where there is none."""
        allowed = set.intersection(*(bins.labels_for(measures.get(bins.measure)) for bins in self.bins))
        return allowed.pop() if len(allowed) == 1 else ""


MOVED_BY_SPEED = {"pitch_hz": 1, "syllables_per_second": 1, "centroid_hz": 1, "rt60_seconds": -1}
"""Measures that playing a clip faster multiplies by the speed, or divides by it."""


def played(row: Mapping[str, str], speed: float) -> dict[str, str]:
    """The cells that playing a clip `speed` times as fast, and so higher, changes.

    Args:
        row: of a manifest; a cell that its measures do not explain, or without them, stays as it is.
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
    """All measured attributes, by name."""
    raw = tomllib.loads((Path(__file__).parent / "measured.toml").read_text(encoding="utf-8"))
    return {name: MeasuredAttribute(_bins(fields["by"])) for name, fields in raw.items()}


def _bins(by: dict[str, dict]) -> tuple[Bins, ...]:
    return tuple(Bins(measure, tuple(bins["edges"]), tuple(bins["labels"])) for measure, bins in by.items())
