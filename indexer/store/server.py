"""The store on a Qdrant server or cluster, through qdrant-client: the same points and payloads as in an embedded index."""

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import numpy as np
import tenacity
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from indexer.store.base import (
    BREADTH,
    CLIP,
    CLIPS,
    FORMAT,
    GRAPH,
    HEARD,
    INTERNAL,
    KIND,
    MOST_VALUES,
    SAYS,
    VOICE,
    Discovery,
    Neighbour,
    Payload,
    Point,
    Says,
    StoreError,
    as_matrix,
    as_neighbour,
    as_point,
    in_portions,
    other_format,
    with_path_text,
)
from indexer.store.filters import EVERYTHING, Filter, count_field, render
from indexer.store.patterns import GRAM, PATH, PATH_TEXT, grams, path_text

log = logging.getLogger("voxdex")

ABOUT = "index"
"""The kind of the one point that says what a collection is: format, space, model and the fields of conditions."""
ABOUT_ID = "0b6f3c1e-7a55-5d0e-8d5c-3f3a7b1c9e42"
SCHEMA = {
    "text": models.PayloadSchemaType.KEYWORD,
    "number": models.PayloadSchemaType.FLOAT,
    "date": models.PayloadSchemaType.DATETIME,
    PATH_TEXT: models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WHITESPACE, phrase_matching=True, on_disk=True
    ),
}
SCROLL = 1000
"""Points in one answer."""
OVERSAMPLING = 3.0
"""How many more candidates a quantised search takes, to be scored again with the full vectors."""
ATTEMPTS, LONGEST_PAUSE = 8, 60.0
"""A request that fails for want of a server is tried again, after pauses that grow to so many seconds."""

Answer = TypeVar("Answer")


class ServerStore:
    """An index in a collection, by the name of an alias. Use create() or open(), and close() it, or use a `with` block.

    Several processes may write into one collection. A recording's clips are there before its own point is, so one that was
    interrupted is written again, to the same ids.
    """

    def __init__(self, client: QdrantClient, name: str, about: Payload) -> None:
        self._client, self.name, self._about = client, name, about
        self.space, self.model = about["space"], about["model"]
        self.says = Says(**about["says"]) if about.get("says") else None
        self._collection = _collection_of(name, self.space)

    @classmethod
    def create(
        cls,
        client: QdrantClient,
        name: str,
        space: str,
        model: str,
        dimension: int,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> "ServerStore":
        """Makes a new index: int8 vectors in memory, full ones on disk, from which candidates are scored again.

        Raises:
            StoreError: there is one of that name, or the server refuses or does not answer.
        """
        if cls.exists(client, name):
            raise StoreError(f"There is an index {name!r} on the server already.")
        store = cls.beside(client, name, space, model, dimension, shards, replicas)
        store.take_over()
        return store

    @classmethod
    def beside(
        cls,
        client: QdrantClient,
        name: str,
        space: str,
        model: str,
        dimension: int,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> "ServerStore":
        """What is to become the index of that name (see take_over) while that stays as it is; begun, it goes on.

        Raises:
            StoreError: the server refuses or does not answer.
        """
        collection = _collection_of(name, space)
        if _ask(lambda: client.collection_exists(collection)):
            return cls(client, name, _about(client, collection))
        about = {KIND: ABOUT, "format": FORMAT, "space": space, "model": model, "fields": {}, PATH_TEXT: True}
        store = cls(client, name, about)
        store._make({VOICE: _voice(dimension)}, shards, replicas)
        return store

    def add_says(self, says: Says) -> None:
        if self.says is not None:
            raise StoreError(f"The index {self.name!r} holds what is said as {self.says.space} hears it already.")
        if self.count():
            raise StoreError(
                f"The index {self.name!r} was made for voices alone, and a server adds nothing to the clips that it has. "
                "Index into another collection with --says."
            )
        made = _ask(lambda: self._client.get_collection(self._collection)).config.params
        _ask(lambda: self._client.delete_collection(self._collection))
        self.says, self._about["says"], self._about["fields"] = says, asdict(says), {}
        vectors = {VOICE: made.vectors[VOICE] if isinstance(made.vectors, dict) else made.vectors, SAYS: _said(says.dimension)}
        self._make(vectors, made.shard_number, made.replication_factor)
        self.take_over()

    def _make(self, vectors: dict[str, models.VectorParams], shards: int | None, replicas: int | None) -> None:
        small = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
        _ask(
            lambda: self._client.create_collection(
                self._collection,
                vectors_config=vectors,
                hnsw_config=models.HnswConfigDiff(**GRAPH),
                quantization_config=models.ScalarQuantization(scalar=small),
                shard_number=shards,
                replication_factor=replicas,
            )
        )
        self._write_about()
        for key in INTERNAL:
            self._index(key, key if key in SCHEMA else "text")

    def take_over(self) -> None:
        """Becomes the index of its name, in one step, and drops the one that was."""
        former = _aliases(self._client).get(self.name)
        change: list[models.AliasOperations] = []
        if former:
            change.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.name)))
        new = models.CreateAlias(collection_name=self._collection, alias_name=self.name)
        change.append(models.CreateAliasOperation(create_alias=new))
        _ask(lambda: self._client.update_collection_aliases(change))
        if former and former != self._collection:
            _ask(lambda: self._client.delete_collection(former))

    @classmethod
    def open(cls, client: QdrantClient, name: str) -> "ServerStore":
        """Opens an index that exists.

        Raises:
            StoreError: there is none, it is not one of ours, or the server does not answer.
        """
        collection = _aliases(client).get(name)
        if collection is None:
            raise StoreError(f"There is no index {name!r} on the server. Make one: voxdex index FOLDER --url URL.")
        return cls(client, name, _about(client, collection))

    @staticmethod
    def exists(client: QdrantClient, name: str) -> bool:
        """Whether there is an index of that name."""
        return name in _aliases(client)

    def __enter__(self) -> "ServerStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        for portion in in_portions(points):
            built = [
                models.PointStruct(id=point.id, vector=point.vectors, payload=with_path_text(point.payload, _path_grams))
                for point in portion
            ]
            _ask(lambda built=built: self._client.upsert(self._collection, built, wait=True))

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        changes = with_path_text(changes, _path_grams)
        _ask(lambda: self._client.set_payload(self._collection, changes, points=_equals(where), wait=True))

    def delete(self, where: Mapping[str, str]) -> None:
        selector = models.FilterSelector(filter=_equals(where))
        _ask(lambda: self._client.delete(self._collection, selector, wait=True))

    def declare(self, fields: Mapping[str, str]) -> None:
        if new := {key: kind for key, kind in fields.items() if key not in self._about["fields"]}:
            for key, kind in new.items():
                self._index(key, kind)
            self._about["fields"] |= new
            self._write_about()

    def schema(self) -> dict[str, str]:
        return dict(self._about["fields"])

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        for record in self._scroll({KIND: kind}, with_payload=list(keys)):
            yield record.payload or {}

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        return map(as_point, self._scroll(where, with_payload=True, with_vectors=True))

    def query(
        self,
        wish: np.ndarray | Discovery,
        limit: int,
        where: Filter = EVERYTHING,
        vectors: bool = False,
        says: bool = False,
    ) -> list[Neighbour]:
        rescored = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
        clips = models.Filter(must=[_equals(CLIPS), self._render(where)])
        found = _ask(
            lambda: self._client.query_points(
                self._collection,
                query=_asked(wish),
                using=SAYS if says else None,
                limit=limit,
                query_filter=clips,
                search_params=models.SearchParams(hnsw_ef=max(BREADTH, limit), quantization=rescored),
                with_payload=models.PayloadSelectorExclude(exclude=[PATH_TEXT] if says else [PATH_TEXT, HEARD]),
                with_vectors=[VOICE] if vectors else False,
            )
        )
        return [as_neighbour(point) for point in found.points]

    def sample(self, count: int) -> np.ndarray:
        return as_matrix(self._scroll(CLIPS, with_payload=False, with_vectors=[VOICE]), count)

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        found = _ask(lambda: self._client.retrieve(self._collection, list(ids), with_payload=True, with_vectors=True))
        return [as_point(record) for record in found]

    def facet(self, field: str, where: Filter = EVERYTHING, exact: bool = True) -> Counter[str]:
        return self.facets([field], where, exact)[field]

    def facets(self, fields: Sequence[str], where: Filter = EVERYTHING, exact: bool = True) -> dict[str, Counter[str]]:
        schema, terms = self.schema(), _Terms(self._count, False)
        clips = self._render(where)

        def count(key: str, without: Sequence[str]) -> Counter[str]:
            return self._count(key, models.Filter(must=[clips, *map(terms.absent, without)]), exact)

        return {field: count_field(field, schema, count) for field in fields}

    def _count(self, key: str, among: models.Condition, exact: bool = False) -> Counter[str]:
        clips = models.Filter(must=[_equals(CLIPS), among])
        found = _ask(lambda: self._client.facet(self._collection, key, clips, limit=MOST_VALUES, exact=exact))
        return Counter({hit.value: hit.count for hit in found.hits})

    def _render(self, where: Filter) -> models.Filter:
        return render(where, self.schema(), _Terms(self._count, bool(self._about.get(PATH_TEXT))))

    def flush(self) -> None:
        """The server sees to that."""

    def optimise(self) -> None:
        """The server sees to that."""

    def remember(self, name: str, derive: Callable[[], Any]) -> None:
        """Others may change what is stored: nothing is kept."""

    def recall(self, name: str) -> None:
        """Nothing is kept."""

    def count(self, kind: str = CLIP) -> int:
        return _ask(lambda: self._client.count(self._collection, count_filter=_equals({KIND: kind}), exact=True)).count

    def close(self) -> None:
        self._client.close()

    def _scroll(self, where: Mapping[str, str], **wanted: Any) -> Iterator[models.Record]:
        offset = None
        while True:
            records, offset = _ask(
                lambda offset=offset: self._client.scroll(
                    self._collection, scroll_filter=_equals(where), limit=SCROLL, offset=offset, **wanted
                )
            )
            yield from records
            if offset is None:
                return

    def _index(self, key: str, kind: str) -> None:
        _ask(lambda: self._client.create_payload_index(self._collection, key, SCHEMA[kind], wait=True))

    def _write_about(self) -> None:
        about = models.PointStruct(id=ABOUT_ID, vector={}, payload=self._about)
        _ask(lambda: self._client.upsert(self._collection, [about], wait=True))


def _voice(dimension: int) -> models.VectorParams:
    return models.VectorParams(size=dimension, distance=models.Distance.COSINE, on_disk=True)


def _said(dimension: int) -> models.VectorParams:
    half = models.Datatype.FLOAT16
    return models.VectorParams(size=dimension, distance=models.Distance.COSINE, on_disk=True, datatype=half)


def _asked(wish: np.ndarray | Discovery) -> list[float] | models.DiscoverQuery:
    if not isinstance(wish, Discovery):
        return wish.tolist()
    pairs = [models.ContextPair(positive=near.tolist(), negative=far.tolist()) for near, far in wish.pairs]
    return models.DiscoverQuery(discover=models.DiscoverInput(target=wish.target.tolist(), context=pairs))


def connect(url: str, api_key: str | None = None, timeout: float = 60.0) -> QdrantClient:
    """A client of a server. url: http://HOST:6333. timeout: seconds for one request.

    Raises:
        StoreError: the URL is none.
    """
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise StoreError(f"{url!r} is no address of a Qdrant server: write it as http://HOST:6333.")
    return QdrantClient(url=url, api_key=api_key, timeout=int(timeout), prefer_grpc=False, check_compatibility=False)


def _collection_of(name: str, space: str) -> str:
    """The collection behind the name, which is an alias of it."""
    return f"{name}-{hashlib.sha256(space.encode()).hexdigest()[:12]}"


def _aliases(client: QdrantClient) -> dict[str, str]:
    """Alias -> collection."""
    return {alias.alias_name: alias.collection_name for alias in _ask(client.get_aliases).aliases}


def _about(client: QdrantClient, collection: str) -> Payload:
    """What a collection says of itself."""
    found = _ask(lambda: client.retrieve(collection, [ABOUT_ID], with_payload=True))
    about = (found[0].payload or {}) if found else {}
    if type(about.get("format")) is int and about["format"] != FORMAT:
        raise StoreError(other_format(f"collection {collection!r}", about["format"]))
    if about.get("format") != FORMAT:
        raise StoreError(f"The collection {collection!r} is not an index of this Voxdex. Delete it and index again.")
    return about


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


def _path_grams(path: str) -> str:
    return grams(path_text(path))


def _equals(where: Mapping[str, str]) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.items()]
    )


class _Terms:
    """The engine's filters; see filters.Engine."""

    def __init__(self, values: Callable[[str, models.Condition], Iterable[str]], has_path_text: bool) -> None:
        self.values, self._has_path_text = values, has_path_text

    def containing(self, key: str, text: str) -> models.Condition | None:
        if key != PATH or not self._has_path_text or len(text) < GRAM:
            return None
        return models.FieldCondition(key=PATH_TEXT, match=models.MatchPhrase(phrase=grams(text)))

    def one_of(self, key: str, values: Sequence[str]) -> models.Condition:
        return models.FieldCondition(key=key, match=models.MatchAny(any=list(values)))

    def within(self, key: str, bounds: Mapping[str, float]) -> models.Condition:
        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def dated(self, key: str, bounds: Mapping[str, datetime]) -> models.Condition:
        return models.FieldCondition(key=key, range=models.DatetimeRange(**bounds))

    def among(self, ids: Sequence[str]) -> models.Condition:
        return models.HasIdCondition(has_id=list(ids))

    def absent(self, key: str) -> models.Condition:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))

    def join(self, **parts: Sequence[models.Condition]) -> models.Condition:
        return models.Filter(**{name: list(terms) for name, terms in parts.items()})
