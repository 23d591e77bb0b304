"""The same speech in several tracks or channels of a recording: found by the course of its loudness, and kept once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from voxdex.encoders.audio.track import SAMPLE_RATE
from voxdex.indexer.pipeline.clips import Clip

HOP = 320
"""Samples between values of a loudness curve, 20 ms."""
BANDS_HZ = (100, 700, 2000, 4000, 8000)
"""Edges of the bands whose loudness is compared."""
LAGS = range(-3, 4)
"""Delays between tracks that are tried, in hops."""
SAME = 0.6
"""Correlation of loudness curves from which clips have the same speech; different speech at the same time is below 0.4."""
OVERLAP = 0.5
"""Fraction of the shorter clip that must overlap the other."""
RANGE_DB = 40.0
"""Range of loudness that counts, below the loudest."""


@dataclass(frozen=True)
class _Candidate:
    """A clip of a source. rank: of the source, lower is better."""

    clip: Clip
    rank: int

    @cached_property
    def curve(self) -> np.ndarray:
        """Loudness of each band in dB, [bands, hops]."""
        count = max(1, len(self.clip.samples) // HOP)
        padded = np.zeros(count * HOP, np.float32)
        padded[: len(self.clip.samples)] = self.clip.samples[: len(padded)]
        power = np.abs(np.fft.rfft(padded.reshape(-1, HOP))) ** 2
        hz = np.fft.rfftfreq(HOP, 1 / SAMPLE_RATE)
        edges = np.searchsorted(hz, BANDS_HZ)
        bands = np.stack([power[:, low:high].sum(axis=1) for low, high in pairwise(edges.tolist())])
        loudness = 10 * np.log10(bands + 1e-12)
        return np.maximum(loudness, loudness.max(axis=1, keepdims=True) - RANGE_DB)

    def has_speech_of(self, other: "_Candidate") -> bool:
        """Return whether most of the shorter clip has the same speech as the other clip."""
        start, end = max(self.clip.start, other.clip.start), min(self.clip.end, other.clip.end)
        if end - start < OVERLAP * min(self.clip.end - self.clip.start, other.clip.end - other.clip.start):
            return False
        mine, its = self._piece(start, end), other._piece(start, end)
        return max(_correlation(*_shifted(mine, its, lag)) for lag in LAGS) > SAME

    def _piece(self, start: float, end: float) -> np.ndarray:
        """Return a part of the curve, between seconds of the recording."""
        first = round((start - self.clip.start) * SAMPLE_RATE / HOP)
        return self.curve[:, first : first + int((end - start) * SAMPLE_RATE / HOP)]


class Overlaps:
    """Holds the clips of several sources back until no other source can bring the same speech, and drops repetitions.

    copies: number of clips that were dropped.
    """

    def __init__(self) -> None:
        self.copies = 0
        self._waiting: list[_Candidate] = []
        self._kept: list[_Candidate] = []

    def add(self, clip: Clip, rank: int) -> None:
        """Take a clip of the source of that rank; of clips with the same speech, that of the lowest rank is kept."""
        self._waiting.append(_Candidate(clip, rank))

    def take(self, until: float) -> Iterator[Clip]:
        """Yield the clips that end before the second from which on further clips may come."""
        ready = [each for each in self._waiting if each.clip.end <= until]
        self._waiting = [each for each in self._waiting if each.clip.end > until]
        self._kept = [each for each in self._kept if each.clip.end > min((each.clip.start for each in ready), default=until)]
        for each in sorted(ready, key=lambda each: each.rank):
            if any(each.rank != other.rank and each.has_speech_of(other) for other in self._kept):
                self.copies += 1
                continue
            self._kept.append(each)
            yield each.clip


def _shifted(first: np.ndarray, second: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the parts of two curves that overlap if the second is `lag` hops later."""
    first, second = first[:, max(0, lag) :], second[:, max(0, -lag) :]
    count = min(first.shape[1], second.shape[1])
    return first[:, :count], second[:, :count]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean correlation of the bands of two curves."""
    if first.shape[1] < 2:
        return 0.0
    first, second = (each - each.mean(axis=1, keepdims=True) for each in (first, second))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return float(np.mean((first * second).sum(axis=1) / np.maximum(norms, 1e-6)))
