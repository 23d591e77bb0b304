"""The store on a Qdrant server or cluster, through qdrant-client; points and payloads are those of an embedded index.

An index is a collection behind an alias, so that another collection can take its place in one step. One point describes the
collection; its filterable fields are its payload indexes, so that concurrent writers do not overwrite each other's fields.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import numpy as np
from qdrant_client import models

from voxdex.indexer.store.base import (
    BREADTH,
    CLIP,
    CLIPS,
    KIND,
    MOST_VALUES,
    PHONETIC,
    PORTION,
    POSTERIORGRAM,
    VOICE,
    DiscoveryQuery,
    Payload,
    PhoneticSpace,
    Point,
    ScoredPoint,
    StoreError,
    as_matrix,
    as_point,
    as_scored_point,
    in_portions,
    with_path_text,
)
from voxdex.indexer.store.filters import MATCH_ALL, Filter, count_field, is_collected_fast, render, value_at
from voxdex.indexer.store.patterns import PATH_TEXT
from voxdex.indexer.store.qdrant_collections import (
    DEFAULT_LAYOUT,
    ClusterLayout,
    check_name,
    collection_name,
    describe,
    drop_alias,
    list_aliases,
    list_collections,
    make_collection,
    set_description,
    staged_collections,
    take_alias,
)
from voxdex.indexer.store.qdrant_connection import QdrantConnection
from voxdex.indexer.store.qdrant_fields import FIELDS, CollectionFields
from voxdex.indexer.store.qdrant_terms import (
    QdrantTerms,
    equals,
    path_grams,
    query_of,
    tested,
    vector_params,
)

WRITTEN, CACHED = "written", "cached"
"""Keys of the description: a mark that changes before and after each stretch of writing, and cached data with the mark under
which they were derived."""
MOST_CACHED = 50_000
"""Maximum length of cached data, in characters."""
FEW = 1000
"""Maximum number of matching clips that the engine collects before it counts their values; more are tested one by one."""
SCROLL = 1000
"""Points in one answer of a scroll."""
OVERSAMPLING = 3.0
"""Candidates per hit of a quantised search, which are scored again with the full vectors."""


class ServerStore:
    """An index in a collection, by its alias. Use create() or open(), and close() it, or use a `with` block.

    Several processes may write into one collection. A recording's clips are stored before its own point, so an interrupted
    recording is written again, under the same ids.
    """

    adds_phonetic = False
    """Whether phonetic vectors can be added to existing clips; on a server they are fixed when a collection is created."""
    is_shared = True

    def __init__(self, server: QdrantConnection, name: str, collection: str, description: Payload) -> None:
        self._server, self.name, self._collection = server, name, collection
        self._fields = CollectionFields(server, collection, description)
        self.space, self.model = description["space"], description["model"]
        self.phonetic = PhoneticSpace(**description[PHONETIC]) if description.get(PHONETIC) else None
        self._mark, self._is_writing = "", False

    @classmethod
    def create(
        cls,
        server: QdrantConnection,
        name: str,
        space: str,
        model: str,
        dimension: int,
        phonetic: PhoneticSpace | None = None,
        layout: ClusterLayout = DEFAULT_LAYOUT,
    ) -> "ServerStore":
        """Create an empty index: int8 vectors in memory, full vectors on disk to score candidates again.

        Concurrent calls yield the same index; an interrupted creation is repeated.

        Raises:
            StoreError: the name is invalid, or belongs to another index or program; or the server refuses.
        """
        if not cls.exists(server, name):
            store = cls.create_staging(server, name, space, model, dimension, phonetic, layout)
            if not cls.exists(server, name):
                take_alias(server, name, store._collection)
        found = cls.open(server, name)
        if found.space != space or (phonetic and not found.phonetic):
            raise StoreError(f"There is an index {name!r} on {server.url or 'the server'} already, of {found.space}.")
        return found

    @classmethod
    def create_staging(
        cls,
        server: QdrantConnection,
        name: str,
        space: str,
        model: str,
        dimension: int,
        phonetic: PhoneticSpace | None = None,
        layout: ClusterLayout = DEFAULT_LAYOUT,
    ) -> "ServerStore":
        """Create or resume the collection that is to replace an index (see promote), which stays unchanged meanwhile.

        Raises:
            StoreError: the name is invalid, or belongs to another program; or the server refuses.
        """
        check_name(name)
        if name in list_collections(server):
            raise StoreError(
                f"There is a collection {name!r} on {server.url or 'the server'} that is not Voxdex's. "
                "It is left alone: choose another name with --collection."
            )
        identity = {"space": space, "model": model, PHONETIC: asdict(phonetic) if phonetic else None}
        collection = collection_name(name, space, phonetic)
        description = identity | {FIELDS: {}, CACHED: {}}
        description = make_collection(server, collection, vector_params(dimension, phonetic), layout, description)
        store = cls(server, name, collection, description)
        store._fields.index_internal()
        return store

    def add_phonetic(self, phonetic: PhoneticSpace) -> None:
        held = f"phonetic embeddings of {self.phonetic.space}" if self.phonetic else "no phonetic embeddings"
        raise StoreError(
            f"The index {self.name!r} has {held}, and a server adds none of {phonetic.space} to existing clips. "
            "Build it again with them: voxdex reindex --phonetic."
        )

    def promote(self) -> None:
        """Move the alias to this collection, in one step; delete the former collection and other staged ones."""
        former = take_alias(self._server, self.name, self._collection)
        for collection in {former or "", *staged_collections(self._server, self.name)} - {"", self._collection}:
            self._delete_collection(collection)

    def _delete_collection(self, collection: str) -> None:
        self._server.ask(lambda client: client.delete_collection(collection))

    @classmethod
    def open(cls, server: QdrantConnection, name: str) -> "ServerStore":
        """Open an existing index.

        Raises:
            StoreError: there is none, it is not Voxdex's or of another format, or the server does not answer.
        """
        check_name(name)
        collection = list_aliases(server).get(name)
        if collection is None:
            raise StoreError(
                f"There is no index {name!r} on {server.url or 'the server'}. Make one: voxdex index FOLDER --url URL "
                f"--collection {name}."
            )
        description = describe(server, collection)
        if description is None:
            raise StoreError(
                f"The collection {collection!r}, which has the alias {name!r}, is not Voxdex's. "
                "It is left alone: choose another name with --collection."
            )
        return cls(server, name, collection, description)

    def delete_index(self) -> None:
        """Delete the index, and close it."""
        drop_alias(self._server, self.name)
        self._delete_collection(self._collection)
        self.close()

    @staticmethod
    def exists(server: QdrantConnection, name: str) -> bool:
        """Return whether there is an index of that name."""
        return check_name(name) in list_aliases(server)

    @property
    def versions(self) -> dict[str, str]:
        told = {"Qdrant": self._server.version} if self._server.version else {}
        return told | {"qdrant-client": version("qdrant-client")}

    def revision(self) -> tuple[Any, ...]:
        """Return a value that changes when a run changes the index, or another index takes its place."""
        collection = list_aliases(self._server).get(self.name, "")
        description = (describe(self._server, collection) or {}) if collection else {}
        return collection, description.get(WRITTEN), self.count() if collection == self._collection else 0

    def __enter__(self) -> "ServerStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        self._begin_writing()
        for portion in in_portions(points, min(PORTION, self._fields.limits.portion or PORTION)):
            self._write(
                [
                    models.PointStruct(id=point.id, vector={**point.vectors}, payload=with_path_text(point.payload, path_grams))
                    for point in portion
                ]
            )

    def _write(self, points: list[models.PointStruct]) -> None:
        self._server.ask(lambda client: client.upsert(self._collection, points, wait=True))

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        self._begin_writing()
        changes = with_path_text(changes, path_grams)
        self._server.ask(lambda client: client.set_payload(self._collection, changes, points=equals(where), wait=True))

    def update_payload(self, ids: Sequence[str], key: str, changes: Payload) -> None:
        self._begin_writing()
        most = self._fields.limits.portion or PORTION
        for start in range(0, len(ids), most):
            self._update_payload(list(ids[start : start + most]), key, changes)

    def _update_payload(self, ids: list[models.ExtendedPointId], key: str, changes: Payload) -> None:
        self._server.ask(lambda client: client.set_payload(self._collection, changes, ids, key, wait=True))

    def delete_values(self, key: str) -> None:
        self._begin_writing()
        every = models.FilterSelector(filter=models.Filter())
        self._server.ask(lambda client: client.delete_payload(self._collection, [key], every, wait=True))

    def delete(self, where: Mapping[str, str]) -> None:
        self._begin_writing()
        selector = models.FilterSelector(filter=equals(where))
        self._server.ask(lambda client: client.delete(self._collection, selector, wait=True))

    def ensure_fields(self, fields: Mapping[str, str]) -> None:
        self._fields.ensure(fields)

    def remove_fields(self, keys: Sequence[str]) -> None:
        self._fields.remove(keys)

    def schema(self) -> dict[str, str]:
        return self._fields.schema()

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        for record in self._scroll(equals({KIND: kind}), with_payload=list(keys)):
            yield record.payload or {}

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        return map(as_point, self._scroll(equals(where), with_payload=True, with_vectors=True))

    def query(
        self,
        target: np.ndarray | DiscoveryQuery,
        limit: int,
        where: Filter = MATCH_ALL,
        *,
        vectors: bool = False,
        phonetic: bool = False,
    ) -> list[ScoredPoint]:
        limits, most = self._fields.limits, self._fields.limits.hits or limit
        oversampling = min(OVERSAMPLING, limits.oversampling or OVERSAMPLING)
        breadth = min(max(BREADTH, limit), limits.breadth or max(BREADTH, limit))
        quantised = models.QuantizationSearchParams(rescore=True, oversampling=oversampling)
        request, clips = query_of(target), models.Filter(must=[equals(CLIPS), self._render(where)])

        def page(size: int, offset: int) -> list[models.ScoredPoint]:
            answer = self._server.ask(
                lambda client: client.query_points(
                    self._collection,
                    request,
                    using=PHONETIC if phonetic else None,
                    query_filter=clips,
                    search_params=models.SearchParams(hnsw_ef=breadth, quantization=quantised),
                    limit=size,
                    offset=offset or None,
                    with_payload=models.PayloadSelectorExclude(exclude=[PATH_TEXT] if phonetic else [PATH_TEXT, POSTERIORGRAM]),
                    with_vectors=[VOICE] if vectors else False,
                )
            )
            return answer.points

        found: list[ScoredPoint] = []
        while len(found) < limit:  # as many at a time as the server allows
            size = min(most, limit - len(found))
            points = page(size, len(found))
            found += map(as_scored_point, points)
            if len(points) < size:
                break
        return found

    def sample_vectors(self, count: int) -> np.ndarray:
        return as_matrix(self._scroll(equals(CLIPS), with_payload=False, with_vectors=[VOICE]), count)

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        found = self._server.ask(
            lambda client: client.retrieve(self._collection, list(ids), with_payload=True, with_vectors=True)
        )
        return [as_point(record) for record in found]

    def facet(self, field: str, where: Filter = MATCH_ALL, *, exact: bool = True) -> dict[str, int]:
        return self.facets([field], where, exact=exact)[field]

    def facets(self, fields: Sequence[str], where: Filter = MATCH_ALL, *, exact: bool = True) -> dict[str, dict[str, int]]:
        schema, terms = self.schema(), self._terms
        clips = self._for_counting(where, schema)

        def count(key: str, without: Sequence[str]) -> Counter[str]:
            return self._count(key, models.Filter(must=[clips, *map(terms.is_empty, without)]), exact=exact)

        return {field: count_field(field, schema, count) for field in fields}

    def _for_counting(self, where: Filter, schema: Mapping[str, str]) -> models.Condition:
        """Render a filter in the fastest form for counting values: a test of every clip, unless few clips match it."""
        among = self._render(where)
        if is_collected_fast(where, schema):
            return among
        clips = models.Filter(must=[equals(CLIPS), among])
        matching = self._server.ask(lambda client: client.count(self._collection, count_filter=clips, exact=False)).count
        return among if matching <= FEW else tested(among)

    def _count(self, key: str, among: models.Condition, *, exact: bool = False) -> Counter[str]:
        """Count clips by the value of a payload key, from their payloads where the server's limit cuts the list of values."""
        clips, most = models.Filter(must=[equals(CLIPS), among]), min(MOST_VALUES, self._fields.limits.hits or MOST_VALUES)
        exact = exact and self._fields.limits.is_exact
        found = self._server.ask(lambda client: client.facet(self._collection, key, clips, limit=most, exact=exact)).hits
        if len(found) < most or most == MOST_VALUES:
            return Counter({str(hit.value): hit.count for hit in found})
        values = (value_at(record.payload or {}, [key]) for record in self._scroll(clips, with_payload=[key]))
        return Counter(sorted(value for value in values if value is not None))

    @property
    def _terms(self) -> QdrantTerms:
        return QdrantTerms(self._count, self._fields.limits.values)

    def _render(self, where: Filter) -> models.Condition:
        return render(where, self.schema(), self._terms)

    def flush(self) -> None:
        """Change the mark, so that readers see that something was written; the server flushes its disk itself."""
        self._mark, self._is_writing = uuid4().hex, False
        set_description(self._server, self._collection, {WRITTEN: self._mark})

    def optimise(self) -> None:
        self.flush()

    def _begin_writing(self) -> None:
        """Invalidate cached data before the first write."""
        if not self._is_writing:
            self.flush()
            self._is_writing = True

    def cache_put(self, name: str, derive: Callable[[], Any], *, is_small: bool = False) -> None:
        if is_small and not self._is_writing and len(text := json.dumps(derive())) <= MOST_CACHED:
            set_description(self._server, self._collection, {name: [self._mark, text]}, CACHED)

    def cache_get(self, name: str) -> Any:
        description = describe(self._server, self._collection) or {}
        mark, text = (description.get(CACHED) or {}).get(name, (None, ""))
        return json.loads(text) if mark and mark == description.get(WRITTEN) else None

    def count(self, kind: str = CLIP, where: Filter = MATCH_ALL) -> int:
        among, exact = equals({KIND: kind}), self._fields.limits.is_exact
        if where != MATCH_ALL:
            among = models.Filter(must=[among, self._render(where)])
        return self._server.ask(lambda client: client.count(self._collection, count_filter=among, exact=exact)).count

    def close(self) -> None:
        self._server.close()

    def _scroll(self, where: models.Filter, **wanted: Any) -> Iterator[models.Record]:
        most = min(SCROLL, self._fields.limits.hits or SCROLL)

        def page(offset: models.ExtendedPointId | None) -> tuple[list[models.Record], models.ExtendedPointId | None]:
            return self._server.ask(
                lambda client: client.scroll(self._collection, scroll_filter=where, limit=most, offset=offset, **wanted)
            )

        offset = None
        while True:
            records, offset = page(offset)
            yield from records
            if offset is None:
                return
