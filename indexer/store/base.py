"""What a store is: a point for each clip, found by its vector and by conditions on its payload, and one for each recording."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from indexer.store.filters import Condition

FORMAT = 2
"""Of what an index holds."""
Payload = dict[str, Any]
KIND, CLIP, RECORDING = "kind", "clip", "recording"
"""The payload key that tells a clip from a recording, and its values."""
PORTION = 256
"""Points that are written at a time."""
INTERNAL = (KIND, "content")
"""Payload keys that have an index, but that no condition names."""


class StoreError(Exception):
    """An index that cannot be opened or written. The message says what to do next."""


@dataclass(frozen=True)
class Point:
    """id: a UUID. vector: float32 [dimension] of unit length; None of a recording, which only its clips find."""

    id: str
    vector: np.ndarray | None
    payload: Payload


@dataclass(frozen=True)
class Neighbour:
    """A point near a query. score: cosine with it, -1 to 1."""

    id: str
    score: float
    payload: Payload


def in_portions(points: Sequence[Point]) -> Iterator[Sequence[Point]]:
    """Points in portions that an engine takes without much memory, each recording after its clips.

    Raises:
        StoreError: names a recording whose embedding is not finite, which no engine refuses.
    """
    for point in points:
        if point.vector is not None and not np.isfinite(point.vector).all():
            raise StoreError(f"The embedding of {point.payload.get('recording')} holds values that are not numbers.")
    ordered = sorted(points, key=lambda point: point.payload[KIND] == RECORDING)
    for start in range(0, len(ordered), PORTION):
        yield ordered[start : start + PORTION]


class Store(Protocol):
    """The engine under an index. Payload keys are paths: 'attributes.gender', 'metadata."tape number"'.

    Every method raises StoreError where the engine fails.
    """

    space: str
    """The identity of the embeddings that the store holds."""

    model: str
    """The name or folder of the model that made them."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Adds points, none if one of them is wrong; one whose id is there replaces it."""

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        """Overwrites top-level payload keys of the points whose payload has these values at these keys."""

    def delete(self, where: Mapping[str, str]) -> None:
        """Drops the points whose payload has these values at these keys."""

    def declare(self, key: str, kind: str) -> None:
        """Makes a payload key a field that conditions may name; `kind` is "text" or "number"."""

    def schema(self) -> dict[str, str]:
        """The payload keys that were declared, with their kinds."""

    def fields(self) -> dict[str, list[str]]:
        """Names that conditions may use, each with its payload keys; the first key that a point has counts.

        What people wrote (metadata) comes before what was heard (attributes).
        """

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        """These top-level keys of the payload of every clip, or of every recording."""

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        """The points whose payload has these values at these keys, whole."""

    def query(self, vector: np.ndarray, limit: int, conditions: Sequence[Condition] = ()) -> list[Neighbour]:
        """The points nearest to a vector [dimension], best first, among those that meet all conditions."""

    def flush(self) -> None:
        """Brings everything to disk, so that not even a power cut loses it."""

    def remember(self, derived: Iterable[list]) -> None:
        """Keeps something that was derived from what is stored, until that changes; what is kept already stays."""

    def recall(self) -> Iterable[list] | None:
        """What was kept; None where nothing was, or something has changed since."""

    def count(self, kind: str = CLIP) -> int:
        """How many clips, or recordings, there are."""

    def take_over(self) -> None:
        """Becomes the index of its place, in one step, and drops the one that was; of a store that was made beside it."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Writes everything to disk and lets go of the index; a second call does nothing."""
