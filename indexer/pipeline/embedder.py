"""Pieces of recordings into spans: embedded, tagged and, where that is wanted, listened to."""

import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np

from voxdex.encoders.audio.acoustics import AcousticMeasures
from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.ctc import PhoneticEmbedding
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.encoders.zero_shot import AttributeTagger, Prediction
from voxdex.indexer.pipeline.decoder import SegmentedClip
from voxdex.indexer.pipeline.reader import Reader, RecordingDone

BATCH_CLIPS = 64
"""Events that are embedded, and told of, at a time."""


@dataclass(frozen=True)
class EmbeddedClip:
    """An embedded clip of the recording at `path`. start, end: seconds. vector: float32 [dimension].

    attributes: what was heard, by name. says: what is said; None where that is not indexed. work_seconds: its share of the
    time that its batch took.
    """

    path: str
    start: float
    end: float
    measures: AcousticMeasures
    vector: np.ndarray
    attributes: dict[str, Prediction]
    says: PhoneticEmbedding | None
    work_seconds: float


@dataclass(frozen=True)
class EmbeddingFailure:
    """A clip of the recording at `path` that could not be embedded, and why."""

    path: str
    reason: str


EmbedEvent = EmbeddedClip | EmbeddingFailure | RecordingDone


class EmbedBackend(Protocol):
    """Reads and embeds recordings, wherever that is done."""

    def __call__(
        self, paths: Sequence[str], held: Collection[str], model: Model, listener: PhoneticModel | None, everything: bool
    ) -> Iterator[list[EmbedEvent]]:
        """Everything about recordings, each as its spans and then RecordingDone.

        Args:
            paths: of the recordings.
            held: contents that are indexed already.
            model, listener: what embeds; see Embedder.
            everything: see Reader.
        """


class Embedder:
    """Embeds what is read.

    Args:
        model: what embeds.
        listener: what embeds what is said, if that is wanted.
    """

    def __init__(self, model: Model, listener: PhoneticModel | None = None) -> None:
        self._model, self._listener = model, listener

    @cached_property
    def _tag(self) -> AttributeTagger:
        return AttributeTagger(self._model)

    def __call__(self, events: Sequence[SegmentedClip | RecordingDone]) -> list[EmbedEvent]:
        """The same events, with spans in place of pieces."""
        spans = iter(self._spans([event for event in events if isinstance(event, SegmentedClip)]))
        return [next(spans) if isinstance(event, SegmentedClip) else event for event in events]

    def _spans(self, pieces: list[SegmentedClip]) -> Sequence[EmbeddedClip | EmbeddingFailure]:
        """The spans of pieces; where embedding them fails, each is tried alone, so that one odd clip harms no other."""
        try:
            return self._embed(pieces)
        except Exception as error:
            if len(pieces) == 1:
                return [EmbeddingFailure(pieces[0].path, f"a clip of it could not be embedded ({str(error) or repr(error)})")]
            return [span for piece in pieces for span in self._spans([piece])]

    def _embed(self, pieces: list[SegmentedClip]) -> list[EmbeddedClip]:
        if not pieces:
            return []
        started = time.perf_counter()
        vectors = np.stack(list(self._model.embed_speech(piece.clip.samples for piece in pieces)))
        attributes = self._tag(vectors)
        says: Sequence[PhoneticEmbedding | None] = [None] * len(pieces)
        if self._listener:
            says = list(self._listener.listen(piece.clip.samples for piece in pieces))
        seconds = (time.perf_counter() - started) / len(pieces)
        return [
            EmbeddedClip(piece.path, piece.clip.start, piece.clip.end, piece.measures, vector, heard, said, seconds)
            for piece, vector, heard, said in zip(pieces, vectors, attributes, says, strict=True)
        ]


def embed_locally(
    paths: Sequence[str], held: Collection[str], model: Model, listener: PhoneticModel | None, everything: bool
) -> Iterator[list[EmbedEvent]]:
    """See Read: decoded in processes of this machine, and embedded in a thread of this one, a batch ahead."""
    embed = Embedder(model, listener)
    events = Reader(held, model.card.max_seconds, everything, ahead=2 * BATCH_CLIPS).read(paths)
    with ThreadPoolExecutor(1) as pool:
        embedded: deque[Future] = deque()
        while batch := list(islice(events, BATCH_CLIPS)):
            embedded.append(pool.submit(embed, batch))
            if len(embedded) > 1:
                yield embedded.popleft().result()
        yield from (batch.result() for batch in embedded)
