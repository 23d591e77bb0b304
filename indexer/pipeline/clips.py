"""Clips of a recording, and their simplest segmentation: even windows with an overlap."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from voxdex.encoders.audio.track import SAMPLE_RATE, Hole

OVERLAP_SECONDS = 1.0
"""Overlap of adjacent windows."""


@dataclass(frozen=True)
class Clip:
    """A span of a recording. start, end: seconds from the recording's beginning. samples: float32 [samples], mono, 16 kHz.

    track, channel: number of the audio track, from 1, in a recording with several, and of the channel, where the channels of a
    track are read by themselves.
    """

    start: float
    end: float
    samples: np.ndarray
    track: int | None = None
    channel: int | None = None


class Segmenter(Protocol):
    """Cuts the sound of a source, block by block, into clips."""

    seconds: float
    non_speech_seconds: float

    @property
    def pending(self) -> float:
        """Second from which on further clips may come."""

    def push(self, part: np.ndarray | Hole) -> Iterator[Clip]:
        """Take consecutive float32 samples, mono, 16 kHz, or a hole, and yield the clips that are complete."""

    def finish(self) -> Iterator[Clip]:
        """Yield the last clip."""


class Windows:
    """Segments a recording, block by block, into windows that overlap by 1 s; the last window is what remains.

    At most one clip and one block are held in memory. Holes are silent.

    Args:
        clip_seconds: length of a window; a recording of at most that length is one clip.

    Attributes:
        seconds: duration of what was pushed.
        non_speech_seconds: 0, as no sound is left out.
        pending: see Segmenter.
    """

    def __init__(self, clip_seconds: float) -> None:
        self._window, self._step = (int(length * SAMPLE_RATE) for length in (clip_seconds, clip_seconds - OVERLAP_SECONDS))
        self.seconds = self.non_speech_seconds = 0.0
        self._buffer: list[np.ndarray] = []
        self._start = self._count = 0

    @property
    def pending(self) -> float:
        return self._start / SAMPLE_RATE

    def push(self, part: np.ndarray | Hole) -> Iterator[Clip]:
        for block in part.blocks() if isinstance(part, Hole) else (part,):
            self._buffer.append(block)
            self._count += len(block)
            self.seconds += len(block) / SAMPLE_RATE
            if self._count <= self._window:
                continue
            samples = np.concatenate(self._buffer)
            while len(samples) > self._window:
                yield clip_at(self._start, samples[: self._window])
                samples, self._start = samples[self._step :], self._start + self._step
            self._buffer, self._count = [samples], len(samples)

    def finish(self) -> Iterator[Clip]:
        if self._count:
            yield clip_at(self._start, np.concatenate(self._buffer))
        self._buffer, self._count = [], 0


def clip_at(start: int, samples: np.ndarray) -> Clip:
    """Return the clip of these samples. start: position of the first one in the recording, in samples."""
    return Clip(round(start / SAMPLE_RATE, 3), round((start + len(samples)) / SAMPLE_RATE, 3), samples)
