"""Sound files of a question -> embeddings."""

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioError, AudioReader
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.model import Model
from voxdex.indexer.pipeline.clips import Windows

log = logging.getLogger("voxdex")


@dataclass(frozen=True)
class EmbeddedRecording:
    """spans: start and end of each clip in seconds. vectors: float32 [clips, dimension] of unit length."""

    spans: list[tuple[float, float]]
    vectors: np.ndarray

    @property
    def voice(self) -> np.ndarray:
        """One unit vector [dimension] for the whole recording: the mean over its clips, weighted by their length."""
        mean = np.average(self.vectors, axis=0, weights=[max(end - start, 1e-3) for start, end in self.spans])
        return mean / np.linalg.norm(mean)


def embed_recording(model: Model, path: Location, start: float | None = None, end: float | None = None) -> EmbeddedRecording:
    """Cuts a recording into clips and embeds them; no more than some clips are held in memory. Logs damage as a warning.

    Args:
        model: what embeds.
        path: the recording.
        start, end: the part of it that counts, in seconds; None for no bound.

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
    """The part of a recording from `start` to `end`, in seconds."""
    first, last = round(start * SAMPLE_RATE), None if end is None else round(end * SAMPLE_RATE)
    place = 0
    for block in blocks:
        if last is not None and place >= last:
            return
        part = block[max(0, first - place) : None if last is None else last - place]
        place += len(block)
        if len(part):
            yield part
