"""Clips of a recording, and their simplest segmentation: even windows with an overlap."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE, Hole

OVERLAP_SECONDS = 1.0
"""Overlap of adjacent windows."""


@dataclass(frozen=True)
class Clip:
    """A span of a recording. start, end: seconds from the recording's beginning. samples: float32 [samples], mono, 16 kHz."""

    start: float
    end: float
    samples: np.ndarray


class Windows:
    """Segments a recording, block by block, into windows that overlap by 1 s; the last window is what remains.

    At most one clip and one block are held in memory.

    Args:
        blocks: consecutive float32 samples, mono, 16 kHz, and holes, which are silent.
        clip_seconds: length of a window; a recording of at most that length is one clip.

    Attributes, complete after the last clip:
        seconds: duration of the recording.
        non_speech_seconds: 0, as no sound is left out.
    """

    def __init__(self, blocks: Iterable[np.ndarray | Hole], clip_seconds: float) -> None:
        self._blocks = (block for part in blocks for block in (part.blocks() if isinstance(part, Hole) else (part,)))
        self._window, self._step = (int(length * SAMPLE_RATE) for length in (clip_seconds, clip_seconds - OVERLAP_SECONDS))
        self.seconds = self.non_speech_seconds = 0.0

    def __iter__(self) -> Iterator[Clip]:
        buffer, count, start = [], 0, 0
        for block in self._blocks:
            buffer.append(block)
            count += len(block)
            self.seconds += len(block) / SAMPLE_RATE
            if count <= self._window:
                continue
            samples = np.concatenate(buffer)
            while len(samples) > self._window:
                yield clip_at(start, samples[: self._window])
                samples, start = samples[self._step :], start + self._step
            buffer, count = [samples], len(samples)
        if count:
            yield clip_at(start, np.concatenate(buffer))


def clip_at(start: int, samples: np.ndarray) -> Clip:
    """Return the clip of these samples. start: position of the first one in the recording, in samples."""
    return Clip(round(start / SAMPLE_RATE, 3), round((start + len(samples)) / SAMPLE_RATE, 3), samples)
