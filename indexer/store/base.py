"""What a store is: a point for each clip, found by its vector and by conditions on its payload, and one for each recording."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from indexer.store.filters import EVERYTHING, Filter
from indexer.store.patterns import PATH, PATH_TEXT

FORMAT = 2
"""Of what an index holds."""
Payload = dict[str, Any]
KIND, CLIP, RECORDING = "kind", "clip", "recording"
"""The payload key that tells a clip from a recording, and its values."""
CLIPS = {KIND: CLIP}
"""What clips have in common."""
MOST_VALUES = 1_000_000
"""Of a field, that are counted or compared with a pattern."""
PORTION = 256
"""Points that are written at a time."""
GRAPH = {"m": 16, "ef_construct": 200, "full_scan_threshold": 50_000, "payload_m": 0}
"""Of the vectors (HNSW). Conditions that at most 50,000 clips meet are answered by a scan of those; there are no graphs for
single values of fields (payload_m), as dozens of fields would make the graph of an archive take ten times as long."""
BREADTH = 512
"""How many candidates a walk through the graph keeps: of a million clips, captions get 99.6 % of the exact first ten."""
INTERNAL = (KIND, "content", PATH_TEXT)
"""Payload keys that have an index, but that no condition names."""


VOICE, SAYS = "", "says"
"""The names of a clip's vectors: of its voice, and of what is said in it."""
HEARD = "heard"
"""The payload key of the phonemes that were heard in a clip, frame by frame; told only where what is said is asked."""


class StoreError(Exception):
    """An index that cannot be opened or written. The message says what to do next."""


class PointError(StoreError):
    """A point that no engine takes; nothing of what it came with is written. The message is a clause about its recording."""


@dataclass(frozen=True)
class Says:
    """The embeddings of what is said that an index holds beside those of voices: their space, model and dimension."""

    space: str
    model: str
    dimension: int


@dataclass(frozen=True)
class Point:
    """id: a UUID. vector: float32 [dimension] of unit length; None of a recording, which only its clips find.

    says: float32 [dimension] of unit length, of what is said in a clip; None where that is not indexed.
    """

    id: str
    vector: np.ndarray | None
    payload: Payload
    says: np.ndarray | None = None

    @property
    def vectors(self) -> dict[str, list]:
        """As engines take them, by name."""
        named = {VOICE: self.vector, SAYS: self.says}
        return {name: vector.tolist() for name, vector in named.items() if vector is not None}


@dataclass(frozen=True)
class Neighbour:
    """A point near a query. score: cosine with it, -1 to 1, or as Discovery says. vector: None where it was not asked for."""

    id: str
    score: float
    payload: Payload
    vector: np.ndarray | None = None


@dataclass(frozen=True)
class Discovery:
    """What is nearest to a target [dimension] among the points that lie nearer to the first of each pair than to its second.

    Scores: for how many pairs more that is so than not, and a little more the nearer a point is (Qdrant's discovery search).
    """

    target: np.ndarray
    pairs: Sequence[tuple[np.ndarray, np.ndarray]]


def in_portions(points: Sequence[Point], most: int = PORTION) -> Iterator[Sequence[Point]]:
    """Points in portions of at most so many, which an engine takes without much memory, each recording after its clips.

    Raises:
        PointError: one of them holds what an engine refuses, or what nothing could be found by. All are checked first.
    """
    for point in points:
        _check(point)
    ordered = sorted(points, key=lambda point: point.payload[KIND] == RECORDING)
    for start in range(0, len(ordered), most):
        yield ordered[start : start + most]


def _check(point: Point) -> None:
    if any(vector is not None and not np.isfinite(vector).all() for vector in (point.vector, point.says)):
        raise PointError("its embedding holds values that are not numbers; please report it")
    try:
        json.dumps(point.payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PointError(f"what is to be stored of it cannot be ({error}); please report it") from error


class Record(Protocol):
    """A point as an engine gives it."""

    id: Any
    vector: Any
    payload: Payload | None


def as_point(record: Record) -> Point:
    """What an engine gives, as a point."""
    return Point(str(record.id), as_vector(record.vector), _shown(record), as_vector(record.vector, SAYS))


def as_neighbour(record: Any) -> Neighbour:
    """A scored record, as a neighbour."""
    return Neighbour(str(record.id), record.score, _shown(record), as_vector(record.vector))


def with_path_text(payload: Payload, spell: Callable[[str], str]) -> Payload:
    """A payload, or changes to one, as an engine holds it: with what patterns of its path ask for, as `spell` writes that."""
    path = payload.get(PATH) if payload.get(KIND, CLIP) == CLIP else None
    return payload if path is None else payload | {PATH_TEXT: spell(path)}


def _shown(record: Record) -> Payload:
    return {key: value for key, value in (record.payload or {}).items() if key != PATH_TEXT}


def as_vector(vector: Any, name: str = VOICE) -> np.ndarray | None:
    """The vector of a name as an engine gives it, which leaves out the name of a single one; None where there is none."""
    named = vector if isinstance(vector, dict) else {VOICE: vector}
    return np.asarray(named[name], dtype=np.float32) if named.get(name) else None


def as_matrix(records: Iterable[Record], count: int) -> np.ndarray:
    """The vectors of the first `count` records, float32 [records, dimension]."""
    return np.array([as_vector(record.vector) for record in islice(records, count)], dtype=np.float32)


def other_format(index: str, format: int) -> str:
    """Why an index of another format cannot be opened, and what to do."""
    if format > FORMAT:
        return (
            f"The {index} was written by a newer Voxdex, in format {format}; this one knows format {FORMAT}. "
            "Update Voxdex, or index into a new one (--index NAME)."
        )
    return (
        f"The {index} is of format {format}, which this Voxdex no longer reads; it writes format {FORMAT}. "
        "Index into a new one (--index NAME)."
    )


class Store(Protocol):
    """The engine under an index. Payload keys are paths: 'attributes.gender', 'metadata."tape number"'.

    Every method raises StoreError where the engine fails.
    """

    space: str
    """The identity of the embeddings that the store holds."""

    model: str
    """The name or folder of the model that made them."""

    says: Says | None
    """Of the embeddings of what is said, where it holds those too."""

    adds_says: bool
    """Whether clips that there are can be given embeddings of what is said."""

    versions: Mapping[str, str]
    """Of the engine, and of what speaks with it, by their names."""

    def add_says(self, says: Says) -> None:
        """Makes room for embeddings of what is said.

        Raises:
            StoreError: it holds such embeddings of another model, or clips to which this engine cannot add any.
        """

    def upsert(self, points: Sequence[Point]) -> None:
        """Adds points, none if one of them is wrong; one whose id is there replaces it."""

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        """Overwrites top-level payload keys of the points whose payload has these values at these keys."""

    def delete(self, where: Mapping[str, str]) -> None:
        """Drops the points whose payload has these values at these keys."""

    def declare(self, fields: Mapping[str, str]) -> None:
        """Makes payload keys fields that conditions may name, each of a kind: "text", "number" or "date" (RFC 3339)."""

    def schema(self) -> dict[str, str]:
        """The payload keys that were declared, with their kinds."""

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        """These top-level keys of the payload of every clip, or of every recording."""

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        """The points whose payload has these values at these keys, whole."""

    def query(
        self,
        wish: np.ndarray | Discovery,
        limit: int,
        where: Filter = EVERYTHING,
        vectors: bool = False,
        says: bool = False,
    ) -> list[Neighbour]:
        """The clips nearest to a vector [dimension], or found by discovery, best first, among those that meet a filter.

        With `says`, those whose vectors of what is said are nearest to it, with what was heard of them (HEARD).

        Raises:
            FilterError: the filter names an unknown field, or compares what has no order.
        """

    def sample(self, count: int) -> np.ndarray:
        """Vectors [at most count, dimension] of clips, the same ones each time: ids are hashes, so the first are random."""

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        """The points of these ids that there are, whole."""

    def facet(self, field: str, where: Filter = EVERYTHING, exact: bool = True) -> dict[str, int]:
        """How many clips that meet a filter have each value of a field of text, the commonest first; about, if not exact.

        Raises:
            FilterError: there is no such field, or it is not text.
        """

    def flush(self) -> None:
        """Brings everything to disk, so that not even a power cut loses it."""

    def optimise(self) -> None:
        """Makes what was written quick to search; a minute or more where there are many new clips."""

    def remember(self, name: str, derive: Callable[[], Any], is_small: bool = False) -> None:
        """Keeps something that is derived from what is stored, as JSON, until that changes; what is kept already stays.

        A server keeps only what is said to be small, and is.
        """

    def recall(self, name: str) -> Any:
        """What was kept; None where nothing was, or something has changed since."""

    def count(self, kind: str = CLIP) -> int:
        """How many clips, or recordings, there are."""

    def take_over(self) -> None:
        """Becomes the index of its place, in one step, and drops the one that was; of a store that was made beside it."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Writes everything to disk and lets go of the index; a second call does nothing."""
