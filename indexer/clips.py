"""A recording as a stream of clips: even windows with a little overlap."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from encoders import SAMPLE_RATE

OVERLAP_SECONDS = 1.0


@dataclass(frozen=True)
class Clip:
    """A span of a recording. start, end: seconds from its beginning. samples: float32 mono at 16 kHz."""

    start: float
    end: float
    samples: np.ndarray


def split(blocks: Iterable[np.ndarray], clip_seconds: float) -> Iterator[Clip]:
    """Cuts a recording, block by block, into clips that overlap by 1 s; the last one is what is left.

    Args:
        blocks: float32 samples, mono at 16 kHz, one after another.
        clip_seconds: length of a clip; a recording of that length or less is one clip.

    No more than a clip and a block are held in memory.
    """
    window, step = (int(seconds * SAMPLE_RATE) for seconds in (clip_seconds, clip_seconds - OVERLAP_SECONDS))
    held, count, start = [], 0, 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count <= window:
            continue
        samples = np.concatenate(held)
        while len(samples) > window:
            yield _clip(start, samples[:window])
            samples, start = samples[step:], start + step
        held, count = [samples], len(samples)
    if count:
        yield _clip(start, np.concatenate(held))


def _clip(start: int, samples: np.ndarray) -> Clip:
    return Clip(round(start / SAMPLE_RATE, 3), round((start + len(samples)) / SAMPLE_RATE, 3), samples)
