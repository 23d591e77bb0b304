"""What a store is: points with a unit vector and a payload, found by vector and by conditions on the payload."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from indexer.store.filters import Condition

Payload = dict[str, Any]


class StoreError(Exception):
    """An index that cannot be opened or written. The message says what to do next."""


@dataclass(frozen=True)
class Point:
    """id: a UUID. vector: float32 [dimension] of unit length."""

    id: str
    vector: np.ndarray
    payload: Payload


@dataclass(frozen=True)
class Neighbour:
    """A point near a query. score: cosine with it, -1 to 1."""

    id: str
    score: float
    payload: Payload


class Store(Protocol):
    """The engine under an index. Payload keys are paths: 'attributes.gender', 'metadata."tape number"'.

    Every method raises StoreError where the engine fails.
    """

    space: str
    """The identity of the embeddings that the store holds."""

    model: str
    """The name or folder of the model that made them."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Adds points; one whose id is there replaces it."""

    def set_payload(self, key: str, value: str, changes: Payload) -> None:
        """Overwrites top-level payload keys of the points whose payload has `value` at `key`."""

    def delete(self, key: str, value: str) -> None:
        """Drops the points whose payload has `value` at `key`."""

    def declare(self, key: str, kind: str) -> None:
        """Makes a payload key a field that conditions may name; `kind` is "text" or "number"."""

    def fields(self) -> dict[str, list[str]]:
        """Names that conditions may use, each with its payload keys; the first key that a point has counts.

        What people wrote (metadata) comes before what was heard (attributes).
        """

    def payloads(self, keys: Sequence[str]) -> Iterator[Payload]:
        """These top-level keys of every point's payload."""

    def query(self, vector: np.ndarray, limit: int, conditions: Sequence[Condition] = ()) -> list[Neighbour]:
        """The points nearest to a vector [dimension], best first, among those that meet all conditions."""

    def count(self) -> int:
        """How many points there are."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Writes everything to disk and lets go of the index; a second call does nothing."""
