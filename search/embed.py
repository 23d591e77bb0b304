"""Embedding of whole recordings, clip by clip."""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from voxdex.encoders.audio.container import AudioError, audio_errors
from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.model import Model
from voxdex.encoders.speaker import SpeakerModel
from voxdex.encoders.worker import idle_worker
from voxdex.indexer.pipeline.clips import Clip
from voxdex.indexer.pipeline.decoder import DecodeSummary, Segmentation

log = logging.getLogger("voxdex")


class NoSpeechError(AudioError):
    """A recording in which nobody speaks."""


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


def embed_recording(
    model: Model | SpeakerModel, path: Location, start: float | None = None, end: float | None = None, *, vad: bool = True
) -> EmbeddedRecording:
    """Cut a recording into clips of speech, as an index does, and embed them. Damage is logged as a warning.

    Memory does not grow with the recording.

    Args:
        model: the model.
        path: the recording.
        start, end: bounds of a part of the recording, in seconds; None for no bound.
        vad: make clips of speech only; else of all sound.

    Raises:
        NoSpeechError: nobody speaks in the recording or the part.
        AudioError: the recording cannot be read.
    """
    spans: list[tuple[float, float]] = []

    def samples() -> Iterator[np.ndarray]:
        for clip in _clips(path, Segmentation(model.card.max_seconds, vad), start or 0.0, math.inf if end is None else end):
            spans.append((clip.start, clip.end))
            yield clip.samples

    vectors = list(model.embed_speech(samples()))
    if not vectors:
        part = (
            "" if start is None and end is None else f" from {start or 0:g} s to {'its end' if end is None else f'{end:g} s'}"
        )
        raise NoSpeechError(f"nobody speaks in it{part}") if vad else AudioError(f"it has no sound{part}")
    return EmbeddedRecording(spans, np.stack(vectors))


def _clips(path: Location, segmentation: Segmentation, start: float, end: float) -> Iterator[Clip]:
    """Yield the clips of a part of a recording, cut to the part."""
    with audio_errors(path), on_disk(path) as file, idle_worker() as worker:
        failure = ""
        for event in worker.run("voxdex.indexer.pipeline.decoder_worker:decode", str(path), file, segmentation):
            if isinstance(event, DecodeSummary):  # the last one; leaving the loop at it would end the worker
                failure = event.failure
                if event.damage:
                    log.warning("Damaged: %s: %s.", path, event.damage)
                continue
            clip = event.clip
            if clip.start >= end:
                return
            first, last = (round((edge - clip.start) * SAMPLE_RATE) for edge in (max(start, clip.start), min(end, clip.end)))
            if last > first:
                yield replace(clip, start=max(start, clip.start), end=min(end, clip.end), samples=clip.samples[first:last])
        if failure:
            raise AudioError(failure)
