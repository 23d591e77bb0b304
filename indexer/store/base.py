"""The store of an index: one point per clip, found by vector and payload filter, and one point per recording."""

import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, TypedDict

import numpy as np

from voxdex.encoders.errors import VoxdexError
from voxdex.indexer.store.filters import MATCH_ALL, Filter
from voxdex.indexer.store.patterns import COPIES, PATH, PATH_TEXT

FORMAT = 3
"""Version of the payload and folder layout. An index of another version is refused."""
Payload = dict[str, Any]
KIND, CLIP, RECORDING = "kind", "clip", "recording"
"""The payload key that separates clips from recordings, and its two values."""
IDENTITY = uuid.UUID("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c11")
"""Namespace of point ids, which derive from content, span and space, so that repeated runs converge."""
CLIPS = {KIND: CLIP}
"""The payload condition that every clip meets."""
MOST_VALUES = 1_000_000
"""Maximum number of distinct values of a field that are counted or compared with a pattern."""
PORTION = 256
"""Maximum number of points in one write."""


class GraphParameters(TypedDict):
    """HNSW parameters, by the engine's names."""

    m: int
    ef_construct: int
    full_scan_threshold: int
    payload_m: int


GRAPH: GraphParameters = {"m": 16, "ef_construct": 200, "full_scan_threshold": 50_000, "payload_m": 0}
"""HNSW parameters of the vectors. A filter that matches at most 50,000 clips is answered by a scan of those clips. There are no
graphs for single values of fields (payload_m): with dozens of fields building an archive's graph takes ten times longer."""
BREADTH = 512
"""Candidates kept during graph search (ef). Captions reach 99.6 % recall@10 on a million clips."""
MOST_TAGS = 32
"""Names of tags with a payload index of their own; music libraries have thousands. Filters on the others compare payloads."""
INTERNAL = (KIND, "content", PATH_TEXT)
"""Payload keys with an index that filters cannot name."""

VOICE, PHONETIC = "", "phonetic"
"""Names of the two vectors of a clip. PHONETIC is also the payload key of a recording's phonetic space."""
POSTERIORGRAM = "posteriorgram"
"""Payload key of a clip's phoneme probabilities by frame. Only phonetic queries return it."""


class StoreError(VoxdexError):
    """An index that cannot be opened or written. The message says what to do next."""

    http_status = 503


class PointError(StoreError):
    """A point that an engine would refuse. The message is a clause about its recording; nothing of its batch is written."""


@dataclass(frozen=True)
class PhoneticSpace:
    """The phonetic embeddings of an index: their space, model (name or folder) and dimension."""

    space: str
    model: str
    dimension: int


@dataclass(frozen=True)
class Point:
    """A stored clip or recording.

    id: a UUID. vector: float32 [dimension] of unit length; None for a recording. phonetic_vector: float32 [dimension] of unit
    length; None where the index has no phonetic space.
    """

    id: str
    vector: np.ndarray | None
    payload: Payload
    phonetic_vector: np.ndarray | None = None

    @property
    def vectors(self) -> dict[str, list[float]]:
        """The vectors by name, as the engines take them."""
        named = {VOICE: self.vector, PHONETIC: self.phonetic_vector}
        return {name: vector.tolist() for name, vector in named.items() if vector is not None}


@dataclass(frozen=True)
class ScoredPoint:
    """A point and its score: the cosine with the query (-1 to 1), or see DiscoveryQuery. vector: None unless requested."""

    id: str
    score: float
    payload: Payload
    vector: np.ndarray | None = None


@dataclass(frozen=True)
class DiscoveryQuery:
    """A query for the points nearest to a target [dimension], closer to the first vector of each pair than to the second.

    The score is the number of pairs that hold minus those that do not, plus a fraction that grows with the similarity to the
    target (Qdrant's discovery search).
    """

    target: np.ndarray
    pairs: Sequence[tuple[np.ndarray, np.ndarray]]


def in_portions(points: Sequence[Point], most: int = PORTION) -> Iterator[Sequence[Point]]:
    """Yield points in portions of at most `most`, every recording after its clips. All points are checked first.

    Raises:
        PointError: a vector or a payload holds values that no engine stores.
    """
    for point in points:
        _check(point)
    ordered = sorted(points, key=lambda point: point.payload[KIND] == RECORDING)
    for start in range(0, len(ordered), most):
        yield ordered[start : start + most]


def _check(point: Point) -> None:
    if any(vector is not None and not np.isfinite(vector).all() for vector in (point.vector, point.phonetic_vector)):
        raise PointError("its embedding holds values that are not numbers; please report it")
    try:
        json.dumps(point.payload, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise PointError(f"its payload cannot be stored ({error}); please report it") from error


class Record(Protocol):
    """A point as an engine returns it."""

    @property
    def id(self) -> Any: ...
    @property
    def vector(self) -> Any: ...
    @property
    def payload(self) -> Payload | None: ...


class ScoredRecord(Record, Protocol):
    """A point and its score as an engine returns them."""

    @property
    def score(self) -> float: ...


def as_point(record: Record) -> Point:
    """Convert an engine's record to a Point."""
    return Point(str(record.id), as_vector(record.vector), _public(record), as_vector(record.vector, PHONETIC))


def as_scored_point(record: ScoredRecord) -> ScoredPoint:
    """Convert an engine's scored record to a ScoredPoint."""
    return ScoredPoint(str(record.id), record.score, _public(record), as_vector(record.vector))


def rare_tags(new: Iterable[str], indexed: Iterable[str]) -> list[str]:
    """Return those of some new fields that get no payload index, as MOST_TAGS others have one."""
    room = MOST_TAGS - sum(key.startswith("tags.") for key in indexed)
    return [key for key in new if key.startswith("tags.")][max(0, room) :]


def with_path_text(payload: Payload, encode: Callable[[str], str]) -> Payload:
    """Add PATH_TEXT, the searchable form of the paths, to the payload (or the payload changes) of clips."""
    path = payload.get(PATH) if payload.get(KIND, CLIP) == CLIP else None
    if path is None:
        return payload
    copies = payload.get(COPIES)
    return payload | {PATH_TEXT: [*map(encode, (path, *copies))] if copies else encode(path)}


def _public(record: Record) -> Payload:
    return {key: value for key, value in (record.payload or {}).items() if key != PATH_TEXT}


def as_vector(vector: Any, name: str = VOICE) -> np.ndarray | None:
    """Return the named vector of a record, float32 [dimension], or None. Engines return a single vector without a name."""
    named = vector if isinstance(vector, dict) else {VOICE: vector}
    return np.asarray(named[name], dtype=np.float32) if named.get(name) else None


def as_matrix(records: Iterable[Record], count: int) -> np.ndarray:
    """Stack the vectors of the first `count` records, float32 [records, dimension]."""
    return np.array([as_vector(record.vector) for record in islice(records, count)], dtype=np.float32)


def format_error(index: str, version: int) -> StoreError:
    """Return the error for an index of another format, with the way out."""
    if version > FORMAT:
        return StoreError(
            f"The {index} was written by a newer Voxdex, in format {version}; this one knows format {FORMAT}. "
            "Update Voxdex, or index into a new one (--index NAME)."
        )
    return StoreError(
        f"The {index} has format {version}, which this Voxdex no longer reads (it reads format {FORMAT}): index its recordings "
        "again, into a new one (voxdex index PATH --index NAME, or --collection NAME on a server)."
    )


def identity(name: str) -> str:
    """Return the id of the point of that name."""
    return str(uuid.uuid5(IDENTITY, name))


def id_in(space: str, payload: Mapping[str, Any]) -> str:
    """Return the id in a space of the clip with a payload."""
    places = ((name, payload.get(name)) for name in ("track", "channel"))
    suffix = "".join(f"/{name}{number}" for name, number in places if number is not None)
    return identity(f"{payload['content']}#{payload['start']}-{payload['end']}{suffix}@{space}")


class Store(Protocol):
    """The engine under an index. Payload keys are paths: 'attributes.gender', 'metadata."tape number"'.

    Every method raises StoreError where the engine fails.
    """

    space: str
    """Embedding space of the clips' vectors."""

    model: str
    """Name or folder of the model of that space."""

    phonetic: PhoneticSpace | None
    """Phonetic embeddings of the index; None where it has none."""

    adds_phonetic: bool
    """Whether phonetic vectors can be added to the clips of an existing index."""

    is_shared: bool
    """Whether several runs may write the index at the same time."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of the engine and its client, by name."""

    def add_phonetic(self, phonetic: PhoneticSpace) -> None:
        """Add an empty phonetic vector field.

        Raises:
            StoreError: the index has phonetic embeddings already, or the engine cannot add any.
        """

    def upsert(self, points: Sequence[Point]) -> None:
        """Insert or replace points by id; none of them if one is invalid."""

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        """Overwrite top-level payload keys of the points whose payload equals `where` at its keys."""

    def update_payload(self, ids: Sequence[str], key: str, changes: Payload) -> None:
        """Overwrite values of the object at a payload key of points, such as those of "attributes"; other values are kept."""

    def delete_values(self, key: str) -> None:
        """Delete the values at a payload key, as "attributes.speaker", from all points."""

    def delete(self, where: Mapping[str, str]) -> None:
        """Delete the points whose payload equals `where` at its keys."""

    def ensure_fields(self, fields: Mapping[str, str]) -> None:
        """Make payload keys available to filters. fields: key -> "text", "number", "date" (RFC 3339) or "words"."""

    def remove_fields(self, keys: Sequence[str]) -> None:
        """Take payload keys from filters; the payloads keep their values."""

    def schema(self) -> dict[str, str]:
        """Return the payload keys that filters can name, with their kinds."""

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        """Yield these top-level payload keys of every clip or of every recording."""

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        """Yield the complete points whose payload equals `where` at its keys."""

    def query(
        self,
        target: np.ndarray | DiscoveryQuery,
        limit: int,
        where: Filter = MATCH_ALL,
        *,
        vectors: bool = False,
        phonetic: bool = False,
    ) -> list[ScoredPoint]:
        """Return the clips nearest to a vector [dimension], or those of a discovery query, best first.

        Args:
            target: the query.
            limit: maximum number of clips.
            where: filter that the clips meet.
            vectors: return the clips' voice vectors as well.
            phonetic: compare phonetic vectors, and return POSTERIORGRAM in the payload.

        Raises:
            FilterError: the filter names an unknown field, or orders a field that has no order.
        """

    def sample_vectors(self, count: int) -> np.ndarray:
        """Return the vectors [at most count, dimension] of random clips, the same ones each time (ids are hashes)."""

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        """Return the complete points of these ids, as far as they exist."""

    def facets(self, fields: Sequence[str], where: Filter = MATCH_ALL, *, exact: bool = True) -> dict[str, dict[str, int]]:
        """Count the clips that meet a filter by the values of text fields: field -> value -> count; estimated if not exact.

        Raises:
            FilterError: a field is unknown, or is not text.
        """

    def facet(self, field: str, where: Filter = MATCH_ALL, *, exact: bool = True) -> dict[str, int]:
        """Count the clips that meet a filter by the values of one text field; see facets."""

    def flush(self) -> None:
        """Write everything to disk, so that it survives a power cut."""

    def optimise(self) -> None:
        """Build search indexes for what was written; takes minutes after many new clips."""

    def cache_put(self, name: str, derive: Callable[[], Any], *, is_small: bool = False) -> None:
        """Keep JSON data that is derived from the index until the index changes; a cached value is not derived again.

        A server only keeps data that is declared small, and is.
        """

    def cache_get(self, name: str) -> Any:
        """Return cached data; None where there is none, or the index has changed."""

    def count(self, kind: str = CLIP, where: Filter = MATCH_ALL) -> int:
        """Return the number of clips, or of recordings, that meet a filter.

        Raises:
            FilterError: the filter names an unknown field, or orders a field that has no order.
        """

    def promote(self) -> None:
        """Replace the index that this store was staged beside, in one step, and delete the former one."""

    def __enter__(self) -> "Store": ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Write everything to disk and release the index; a second call does nothing."""
