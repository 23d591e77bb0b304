"""A recording as a stream of clips: even windows with a little overlap."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE

OVERLAP_SECONDS = 1.0


@dataclass(frozen=True)
class Clip:
    """A span of a recording. start, end: seconds from its beginning. samples: float32 mono at 16 kHz."""

    start: float
    end: float
    samples: np.ndarray


class Windows:
    """Cuts a recording, block by block, into clips that overlap by 1 s; the last one is what is left.

    No more than a clip and a block are held in memory.

    Args:
        blocks: float32 samples, mono at 16 kHz, one after another.
        clip_seconds: length of a clip; a recording of that length or less is one clip.

    Attributes, complete after the last clip:
        seconds: how long the recording lasts.
        other_seconds: 0, as nothing is left out.
    """

    def __init__(self, blocks: Iterable[np.ndarray], clip_seconds: float) -> None:
        self._blocks = blocks
        self._window, self._step = (int(length * SAMPLE_RATE) for length in (clip_seconds, clip_seconds - OVERLAP_SECONDS))
        self.seconds = self.other_seconds = 0.0

    def __iter__(self) -> Iterator[Clip]:
        held, count, start = [], 0, 0
        for block in self._blocks:
            held.append(block)
            count += len(block)
            self.seconds += len(block) / SAMPLE_RATE
            if count <= self._window:
                continue
            samples = np.concatenate(held)
            while len(samples) > self._window:
                yield clip_at(start, samples[: self._window])
                samples, start = samples[self._step :], start + self._step
            held, count = [samples], len(samples)
        if count:
            yield clip_at(start, np.concatenate(held))


def clip_at(start: int, samples: np.ndarray) -> Clip:
    """The clip of these samples, of which the first is the `start`-th of its recording."""
    return Clip(round(start / SAMPLE_RATE, 3), round((start + len(samples)) / SAMPLE_RATE, 3), samples)
