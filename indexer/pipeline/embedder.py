"""Embedding of segmented clips: voice vectors, predicted attributes and, if wanted, phonetic vectors."""

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from voxdex.encoders.audio.acoustics import AcousticMeasures
from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.ctc import PhoneticEmbedding
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.encoders.zero_shot import PLAIN, AttributeTagger, Calibration, Prediction
from voxdex.indexer.pipeline.decoder import RecordingDone, SegmentedClip
from voxdex.indexer.taught import TaughtLabel, predict_taught

BATCH_CLIPS = 64
"""Events in a batch."""


@dataclass(frozen=True)
class EmbeddedClip:
    """An embedded clip of the recording at `path`. start, end: seconds. vector: float32 [dimension]. track, channel: see Clip.

    predictions: by attribute. phonetic: None where the index has no phonetic space. work_seconds: the clip's part of the time
    that its batch took.
    """

    path: str
    start: float
    end: float
    measures: AcousticMeasures
    vector: np.ndarray
    predictions: dict[str, Prediction]
    phonetic: PhoneticEmbedding | None
    work_seconds: float
    track: int | None = None
    channel: int | None = None


@dataclass(frozen=True)
class EmbeddingFailure:
    """A clip of the recording at `path` that could not be embedded, with the reason."""

    path: str
    reason: str


EmbedEvent = EmbeddedClip | EmbeddingFailure | RecordingDone


@dataclass(frozen=True)
class EmbedJob:
    """What a back end is to embed, and how.

    paths: of the recordings. known_hashes: SHA-256 of contents that are indexed already. model: for voices. phonetic_model: for
    phonetic vectors; None for none. vad: make clips of speech only. calibration: of the predicted labels. taught: labels that
    were taught to the index.
    """

    paths: Sequence[str]
    known_hashes: Collection[str]
    model: Model
    phonetic_model: PhoneticModel | None = None
    vad: bool = True
    calibration: Calibration = PLAIN
    taught: tuple[TaughtLabel, ...] = ()


class EmbedBackend(Protocol):
    """Decodes and embeds recordings on some machines."""

    def __call__(self, job: EmbedJob) -> Iterator[list[EmbedEvent]]:
        """Yield batches of events: the clips of each recording, and then its RecordingDone.

        A RecordingDone without a summary is of a content in known_hashes, or of one whose RecordingDone came before.
        """


class Embedder:
    """Embeds segmented clips.

    Args:
        model: for voices.
        phonetic_model: for phonetic vectors; None for none.
        calibration: of the predicted labels.
        taught: labels that were taught to the index.
    """

    def __init__(
        self,
        model: Model,
        phonetic_model: PhoneticModel | None = None,
        calibration: Calibration = PLAIN,
        taught: Sequence[TaughtLabel] = (),
    ) -> None:
        self._model, self._phonetic_model, self._calibration, self._taught = model, phonetic_model, calibration, taught

    @cached_property
    def _tagger(self) -> AttributeTagger:
        return AttributeTagger(self._model, self._calibration)

    def _predict(self, vectors: np.ndarray) -> list[dict[str, Prediction]]:
        return [{**one, **own} for one, own in zip(self._tagger(vectors), predict_taught(self._taught, vectors), strict=True)]

    def __call__(self, events: Sequence[SegmentedClip | RecordingDone]) -> list[EmbedEvent]:
        """Return the same events with embedded clips in place of segmented ones."""
        embedded = iter(self._embedded([event for event in events if isinstance(event, SegmentedClip)]))
        return [next(embedded) if isinstance(event, SegmentedClip) else event for event in events]

    def _embedded(self, clips: list[SegmentedClip]) -> Sequence[EmbeddedClip | EmbeddingFailure]:
        """Embed clips; if the batch fails, each clip is embedded alone, so that one odd clip does not affect the others."""
        try:
            return self._embed(clips)
        except Exception as error:
            if len(clips) == 1:
                return [EmbeddingFailure(clips[0].path, f"a clip of it could not be embedded ({str(error) or repr(error)})")]
            return [result for clip in clips for result in self._embedded([clip])]

    def _embed(self, clips: list[SegmentedClip]) -> list[EmbeddedClip]:
        if not clips:
            return []
        started = time.perf_counter()
        vectors = np.stack(list(self._model.embed_speech(each.clip.samples for each in clips)))
        predictions = self._predict(vectors)
        phonetic: Sequence[PhoneticEmbedding | None] = [None] * len(clips)
        if self._phonetic_model:
            phonetic = list(self._phonetic_model.listen(each.clip.samples for each in clips))
        seconds = (time.perf_counter() - started) / len(clips)
        return [
            EmbeddedClip(
                each.path,
                each.clip.start,
                each.clip.end,
                each.measures,
                vector,
                labels,
                sounds,
                seconds,
                each.clip.track,
                each.clip.channel,
            )
            for each, vector, labels, sounds in zip(clips, vectors, predictions, phonetic, strict=True)
        ]
