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

from voxdex.encoders import Model
from voxdex.encoders.evidence import Spoken
from voxdex.encoders.phonetic_model import PhoneticModel
from voxdex.encoders.zero_shot import AttributeTagger, Heard
from voxdex.indexer.decoding import Piece
from voxdex.indexer.measures import Measures
from voxdex.indexer.reading import Done, Reader

BATCH_CLIPS = 64
"""Events that are embedded, and told of, at a time."""


@dataclass(frozen=True)
class Span:
    """An embedded clip of the recording at `path`. start, end: seconds. vector: float32 [dimension].

    attributes: what was heard, by name. says: what is said; None where that is not indexed. work_seconds: its share of the
    time that its batch took.
    """

    path: str
    start: float
    end: float
    measures: Measures
    vector: np.ndarray
    attributes: dict[str, Heard]
    says: Spoken | None
    work_seconds: float


@dataclass(frozen=True)
class Unembedded:
    """A clip of the recording at `path` that could not be embedded, and why."""

    path: str
    reason: str


Embedded = Span | Unembedded | Done


class Read(Protocol):
    """Reads and embeds recordings, wherever that is done."""

    def __call__(
        self, paths: Sequence[str], held: Collection[str], model: Model, listener: PhoneticModel | None, everything: bool
    ) -> Iterator[list[Embedded]]:
        """Everything about recordings, each as its spans and then Done.

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

    def __call__(self, events: Sequence[Piece | Done]) -> list[Embedded]:
        """The same events, with spans in place of pieces."""
        spans = iter(self._spans([event for event in events if isinstance(event, Piece)]))
        return [next(spans) if isinstance(event, Piece) else event for event in events]

    def _spans(self, pieces: list[Piece]) -> Sequence[Span | Unembedded]:
        """The spans of pieces; where embedding them fails, each is tried alone, so that one odd clip harms no other."""
        try:
            return self._embed(pieces)
        except Exception as error:
            if len(pieces) == 1:
                return [Unembedded(pieces[0].path, f"a clip of it could not be embedded ({str(error) or repr(error)})")]
            return [span for piece in pieces for span in self._spans([piece])]

    def _embed(self, pieces: list[Piece]) -> list[Span]:
        if not pieces:
            return []
        started = time.perf_counter()
        vectors = np.stack(list(self._model.embed_speech(piece.clip.samples for piece in pieces)))
        attributes = self._tag(vectors)
        says: Sequence[Spoken | None] = [None] * len(pieces)
        if self._listener:
            says = list(self._listener.listen(piece.clip.samples for piece in pieces))
        seconds = (time.perf_counter() - started) / len(pieces)
        return [
            Span(piece.path, piece.clip.start, piece.clip.end, piece.measures, vector, heard, said, seconds)
            for piece, vector, heard, said in zip(pieces, vectors, attributes, says, strict=True)
        ]


def read_here(
    paths: Sequence[str], held: Collection[str], model: Model, listener: PhoneticModel | None, everything: bool
) -> Iterator[list[Embedded]]:
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
