"""The store on a Qdrant server or cluster, through qdrant-client: the same points and payloads as in an embedded index."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
import numpy as np
import tenacity
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from indexer.store.base import CLIP, KIND, RECORDING, Neighbour, Payload, Point, StoreError
from indexer.store.filters import Condition, as_number, group_fields

log = logging.getLogger("voxdex")

FORMAT = 2
ABOUT = "index"
"""The kind of the one point that says what a collection is: format, space, model and the fields of conditions."""
ABOUT_ID = "0b6f3c1e-7a55-5d0e-8d5c-3f3a7b1c9e42"
SCHEMA = {"text": models.PayloadSchemaType.KEYWORD, "number": models.PayloadSchemaType.FLOAT}
INTERNAL = (KIND, "content")
UPSERT, SCROLL = 256, 1000
"""Points in one request."""
OVERSAMPLING = 3.0
"""How many more candidates a quantised search takes, to be scored again with the full vectors."""
ATTEMPTS, LONGEST_PAUSE = 8, 60.0
"""A request that fails for want of a server is tried again, after pauses that grow to so many seconds."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Layout:
    """How a new collection is kept. quantise: int8 vectors in memory, full ones on disk. shards, replicas: in a cluster."""

    quantise: bool = True
    shards: int | None = None
    replicas: int | None = None


class ServerStore:
    """An index in a collection. Use create() or open(), and close() it, or use it as a context manager.

    Several processes may write into one collection. A recording's clips are there before its own point is, so one that was
    interrupted is written again, to the same ids.
    """

    def __init__(self, client: QdrantClient, collection: str, about: Payload) -> None:
        self._client, self.collection, self._about = client, collection, about
        self.space, self.model = about["space"], about["model"]

    @classmethod
    def create(
        cls, client: QdrantClient, collection: str, space: str, model: str, dimension: int, layout: Layout | None = None
    ) -> "ServerStore":
        """Makes a new collection.

        Raises:
            StoreError: there is one of that name, or the server refuses or does not answer.
        """
        layout = layout or Layout()
        quantised = models.ScalarQuantization(
            scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        )
        about = {KIND: ABOUT, "format": FORMAT, "space": space, "model": model, "fields": {}}
        if cls.exists(client, collection):
            raise StoreError(f"There is a collection {collection!r} already.")
        _ask(
            lambda: client.create_collection(
                collection,
                vectors_config=models.VectorParams(
                    size=dimension, distance=models.Distance.COSINE, on_disk=True if layout.quantise else None
                ),
                quantization_config=quantised if layout.quantise else None,
                shard_number=layout.shards,
                replication_factor=layout.replicas,
            )
        )
        store = cls(client, collection, about)
        store._write_about()
        for key in INTERNAL:
            store._index(key, "text")
        return store

    @classmethod
    def open(cls, client: QdrantClient, collection: str) -> "ServerStore":
        """Opens a collection that exists.

        Raises:
            StoreError: there is none, it is not one of ours, or the server does not answer.
        """
        if not cls.exists(client, collection):
            raise StoreError(f"There is no collection {collection!r} on the server. Make one: voxdex index FOLDER --url URL.")
        found = _ask(lambda: client.retrieve(collection, [ABOUT_ID], with_payload=True))
        if not found:
            raise StoreError(f"The collection {collection!r} is not an index of Voxdex. Choose another with --collection.")
        about = found[0].payload or {}
        if about.get("format") != FORMAT:
            raise StoreError(f"The collection {collection!r} is of format {about.get('format')}, not {FORMAT}: index again.")
        return cls(client, collection, about)

    @staticmethod
    def exists(client: QdrantClient, collection: str) -> bool:
        """Whether there is a collection of that name."""
        return _ask(lambda: client.collection_exists(collection))

    def __enter__(self) -> "ServerStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        for point in points:
            if point.vector is not None and not np.isfinite(point.vector).all():
                raise StoreError(f"The embedding of {point.payload.get('recording')} holds values that are not numbers.")
        ordered = sorted(points, key=lambda point: point.payload[KIND] == RECORDING)
        for start in range(0, len(ordered), UPSERT):
            part = [
                models.PointStruct(
                    id=point.id, vector={} if point.vector is None else point.vector.tolist(), payload=point.payload
                )
                for point in ordered[start : start + UPSERT]
            ]
            _ask(lambda part=part: self._client.upsert(self.collection, part, wait=True))

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        _ask(lambda: self._client.set_payload(self.collection, changes, points=_equals(where), wait=True))

    def delete(self, where: Mapping[str, str]) -> None:
        selector = models.FilterSelector(filter=_equals(where))
        _ask(lambda: self._client.delete(self.collection, selector, wait=True))

    def declare(self, key: str, kind: str) -> None:
        if key not in self._about["fields"]:
            self._index(key, kind)
            self._about["fields"][key] = kind
            self._write_about()

    def fields(self) -> dict[str, list[str]]:
        return group_fields(self._about["fields"])

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        for record in self._scroll(kind, with_payload=list(keys)):
            yield record.payload or {}

    def vectors(self) -> Iterator[tuple[Payload, np.ndarray]]:
        for record in self._scroll(CLIP, with_payload=True, with_vectors=True):
            yield record.payload or {}, np.asarray(record.vector, dtype=np.float32)

    def query(self, vector: np.ndarray, limit: int, conditions: Sequence[Condition] = ()) -> list[Neighbour]:
        fields = self.fields() if conditions else {}
        where = models.Filter(must=[_render(condition, fields[condition.field]) for condition in conditions])
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        found = _ask(
            lambda: self._client.query_points(
                self.collection,
                query=vector.tolist(),
                limit=limit,
                query_filter=where if conditions else None,
                search_params=models.SearchParams(quantization=rescored),
                with_payload=True,
            )
        )
        return [Neighbour(str(point.id), point.score, point.payload or {}) for point in found.points]

    def count(self, kind: str = CLIP) -> int:
        return _ask(lambda: self._client.count(self.collection, count_filter=_equals({KIND: kind}), exact=True)).count

    def close(self) -> None:
        self._client.close()

    def _scroll(self, kind: str, **wanted: Any) -> Iterator[models.Record]:
        offset = None
        while True:
            records, offset = _ask(
                lambda offset=offset: self._client.scroll(
                    self.collection, scroll_filter=_equals({KIND: kind}), limit=SCROLL, offset=offset, **wanted
                )
            )
            yield from records
            if offset is None:
                return

    def _index(self, key: str, kind: str) -> None:
        _ask(lambda: self._client.create_payload_index(self.collection, key, SCHEMA[kind], wait=True))

    def _write_about(self) -> None:
        about = models.PointStruct(id=ABOUT_ID, vector={}, payload=self._about)
        _ask(lambda: self._client.upsert(self.collection, [about], wait=True))


def connect(url: str, api_key: str | None = None, timeout: float = 60.0) -> QdrantClient:
    """A client of a server. url: http://HOST:6333. timeout: seconds for one request."""
    return QdrantClient(url=url, api_key=api_key, timeout=int(timeout), prefer_grpc=False, check_compatibility=False)


def _is_passing(error: BaseException) -> bool:
    """Whether a later request may succeed: the server did not answer, or said that it is overloaded or starting."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code in (408, 429, 500, 502, 503, 504)
    return isinstance(error, (ResponseHandlingException, httpx.TransportError))


def _say(attempt: tenacity.RetryCallState) -> None:
    error = attempt.outcome.exception() if attempt.outcome else None
    log.warning("The Qdrant server does not answer (%s); again in %.0f s.", error, attempt.upcoming_sleep)


def _ask(request: Callable[[], Answer]) -> Answer:
    """A request, tried again while the server is away."""
    patient = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_passing),
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=LONGEST_PAUSE),
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        before_sleep=_say,
        reraise=True,
    )
    try:
        return patient(request)
    except (ApiException, httpx.HTTPError, ValueError) as error:
        raise StoreError(f"The Qdrant server failed ({error}). What is stored is kept: run the command again.") from error


def _equals(where: Mapping[str, str]) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.items()]
    )


def _render(condition: Condition, keys: Sequence[str]) -> models.Filter:
    """A condition on the first of `keys` that a point has."""
    if condition.operator == "!=":
        return models.Filter(must_not=[_render(replace(condition, operator="="), keys)])
    alternatives = []
    for place, key in enumerate(keys):
        absent = [models.IsEmptyCondition(is_empty=models.PayloadField(key=earlier)) for earlier in keys[:place]]
        alternatives.append(models.Filter(must=[*absent, _on_key(condition, key)]))
    return models.Filter(should=alternatives)


def _on_key(condition: Condition, key: str) -> models.Filter:
    if condition.operator == "=":
        numbers = [number for value in condition.values if (number := as_number(value)) is not None]
        same = [models.FieldCondition(key=key, match=models.MatchAny(any=list(condition.values)))]
        same += [models.FieldCondition(key=key, range=models.Range(gte=number, lte=number)) for number in numbers]
        return models.Filter(should=same)
    bound = {"<": "lt", ">": "gt", "<=": "lte", ">=": "gte"}[condition.operator]
    return models.Filter(must=[models.FieldCondition(key=key, range=models.Range(**{bound: condition.number}))])
