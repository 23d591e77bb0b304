"""Embedding of whole recordings, clip by clip."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioReader
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.model import Model
from voxdex.indexer.pipeline.clips import Windows

log = logging.getLogger("voxdex")


@dataclass(frozen=True)
class EmbeddedRecording:
    """The clips of a recording. spans: start and end of each in seconds. vectors: float32 [clips, dimension] of unit length."""

    spans: list[tuple[float, float]]
    vectors: np.ndarray

    @property
    def voice(self) -> np.ndarray:
        """The mean over the clips, weighted by their duration, float32 [dimension] of unit length."""
        mean = np.average(self.vectors, axis=0, weights=[max(end - start, 1e-3) for start, end in self.spans])
        return mean / np.linalg.norm(mean)


def embed_recording(model: Model, path: Location, start: float | None = None, end: float | None = None) -> EmbeddedRecording:
    """Split a recording into clips and embed them. Memory does not grow with the recording. Damage is logged as a warning.

    Args:
        model: the model.
        path: the recording.
        start, end: bounds of a part of the recording, in seconds; None for no bound.

    Raises:
        AudioError: the recording cannot be read, or has nothing between `start` and `end`.
    """
    reader, begin, spans = AudioReader(path, math.inf if end is None else end), start or 0.0, []

    def samples() -> Iterator[np.ndarray]:
        for clip in Windows(_between(reader, begin, end), model.card.max_seconds):
            spans.append((round(begin + clip.start, 3), round(begin + clip.end, 3)))
            yield clip.samples

    vectors = list(model.embed_speech(samples()))
    if not vectors:
        raise AudioError(f"it has no sound from {begin:g} s to {'its end' if end is None else f'{end:g} s'}")
    if reader.damage:
        log.warning("Damaged: %s: %s.", path, reader.damage)
    return EmbeddedRecording(spans, np.stack(vectors))


def _between(blocks: Iterable[np.ndarray], start: float, end: float | None) -> Iterator[np.ndarray]:
    """Yield the samples of a recording from `start` to `end`, in seconds."""
    first, last = round(start * SAMPLE_RATE), None if end is None else round(end * SAMPLE_RATE)
    position = 0
    for block in blocks:
        if last is not None and position >= last:
            return
        part = block[max(0, first - position) : None if last is None else last - position]
        position += len(block)
        if len(part):
            yield part
