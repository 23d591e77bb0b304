"""The store on a Qdrant server or cluster, through qdrant-client: the same points and payloads as in an embedded index.

An index is a collection, named by an alias, so that another collection takes its place in one step. What the collection is
stands in a point of its own; the fields of conditions are its payload indexes, so that writers do not lose each other's.
"""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

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
    PORTION,
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
from indexer.store.connection import Connection
from indexer.store.filters import EVERYTHING, Filter, count_field, render, value_at
from indexer.store.patterns import GRAM, PATH, PATH_TEXT, grams, path_text

log = logging.getLogger("voxdex")

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
ABOUT = "index"
"""The kind of the one point that says what a collection is: format, space, model, and fields that have no payload index."""
ABOUT_ID = "0b6f3c1e-7a55-5d0e-8d5c-3f3a7b1c9e42"
FIELDS = "fields"
"""The key of that point's payload under which those fields stand, with their kinds."""
WRITTEN, REMEMBERED = "written", "remembered"
"""Keys of that point's payload: a mark, which is another one before and after each stretch of writing, and what is remembered,
each with the mark of when it was so."""
MOST_REMEMBERED = 50_000
"""Characters of what is small enough to be remembered."""
SCHEMA = {
    "text": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True),
    "number": models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=True),
    "date": models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, on_disk=True),
    PATH_TEXT: models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WHITESPACE, phrase_matching=True, on_disk=True
    ),
}
"""How fields are indexed, by kind: on disk, as in memory they would take half of all that a server needs."""
KINDS = {"keyword": "text", "float": "number", "datetime": "date"}
"""The kind of a field, by what the engine calls its index."""
SELDOM = re.compile(r"(probabilities|tags)\.|(start|end)$")
"""Fields that get no payload index where a server allows but few: conditions name them seldom."""
SCROLL = 1000
"""Points in one answer."""
OVERSAMPLING = 3.0
"""How many more candidates a quantised search takes, to be scored again with the full vectors."""


@dataclass(frozen=True)
class Limits:
    """What a server allows (its strict mode); None where it sets no limit.

    hits: points in one answer. breadth: candidates of a walk through the graph. oversampling: candidates of a quantised
    search for each hit. portion: points written at a time. indexes: fields with a payload index. values: of one condition.
    is_exact: whether points may be counted exactly.
    """

    hits: int | None = None
    breadth: int | None = None
    oversampling: float | None = None
    portion: int | None = None
    indexes: int | None = None
    values: int | None = None
    is_exact: bool = True

    @classmethod
    def of(cls, strict: models.StrictModeConfigOutput | None) -> "Limits":
        """The limits of a collection's configuration."""
        if strict is None or not strict.enabled:
            return cls()
        written = [most for most in (strict.upsert_max_batchsize, strict.write_rate_limit) if most]
        return cls(
            hits=strict.max_query_limit,
            breadth=strict.search_max_hnsw_ef,
            oversampling=strict.search_max_oversampling,
            portion=min(written, default=None),
            indexes=strict.max_payload_index_count,
            values=strict.condition_max_size,
            is_exact=strict.search_allow_exact is not False,
        )


class ServerStore:
    """An index in a collection, by the name of an alias. Use create() or open(), and close() it, or use a `with` block.

    Several processes may write into one collection. A recording's clips are there before its own point is, so one that was
    interrupted is written again, to the same ids.
    """

    adds_says = False
    """Whether clips that there are can be given embeddings of what is said; a server's collection is made for them or not."""

    def __init__(self, server: Connection, name: str, collection: str, about: Payload) -> None:
        self._server, self.name, self._collection, self._about = server, name, collection, about
        self.space, self.model = about["space"], about["model"]
        self.says = Says(**about["says"]) if about.get("says") else None
        self._mark, self._is_writing = "", False

    @classmethod
    def create(
        cls,
        server: Connection,
        name: str,
        space: str,
        model: str,
        dimension: int,
        says: Says | None = None,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> "ServerStore":
        """Makes a new index: int8 vectors in memory, full ones on disk, from which candidates are scored again.

        Any number of processes may do so at once: they get the same one. What was cut short is begun anew.

        Raises:
            StoreError: the name is none, or another index has it, or another program; or the server refuses.
        """
        if not cls.exists(server, name):
            store = cls.beside(server, name, space, model, dimension, says, shards, replicas)
            if not cls.exists(server, name):
                store._take_name()
        found = cls.open(server, name)
        if found.space != space or (says and not found.says):
            raise StoreError(f"There is an index {name!r} on {server.url or 'the server'} already, of {found.space}.")
        return found

    @classmethod
    def beside(
        cls,
        server: Connection,
        name: str,
        space: str,
        model: str,
        dimension: int,
        says: Says | None = None,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> "ServerStore":
        """What is to become the index of that name (see take_over) while that stays as it is; begun, it goes on.

        Raises:
            StoreError: the name is none, or is another program's; or the server refuses.
        """
        check_name(name)
        if name in _collections(server):
            raise StoreError(
                f"There is a collection {name!r} on {server.url or 'the server'} that is not Voxdex's. "
                "It is left alone: choose another name with --collection."
            )
        held = {"space": space, "model": model, "says": asdict(says) if says else None}
        about = {KIND: ABOUT, "format": FORMAT, **held, FIELDS: {}, REMEMBERED: {}, PATH_TEXT: True}
        store = cls(server, name, _collection_of(name, space, says), about)
        vectors = {VOICE: _voice(dimension)} | ({SAYS: _said(says.dimension)} if says else {})
        store._make(vectors, shards, replicas)
        return store

    def _make(self, vectors: dict[str, models.VectorParams], shards: int | None, replicas: int | None) -> None:
        """Makes the collection, or what is not there of it yet: every step may be taken twice, and by two processes."""
        if self._collection not in _collections(self._server):
            self._server.ask(lambda client: _create(client, self._collection, vectors, shards, replicas))
        found = _about(self._server, self._collection)
        if found is None and self._server.ask(lambda client: client.scroll(self._collection, limit=1, with_payload=False))[0]:
            found = _about(self._server, self._collection)  # another process may have just written it
            if found is None:
                raise StoreError(
                    f"The collection {self._collection!r} holds what is not Voxdex's; choose another --collection."
                )
        if found is None:
            about = models.PointStruct(id=ABOUT_ID, vector={}, payload=self._about)
            self._server.ask(lambda client: client.upsert(self._collection, [about], wait=True))
        self._about = found or self._about
        for key in INTERNAL:
            if key not in self._info.payload_schema:
                self._index(key, key if key in SCHEMA else "text")

    def add_says(self, says: Says) -> None:
        held = "spoken text of another model" if self.says else "no spoken text, and a server adds none to the clips it has"
        raise StoreError(f"The index {self.name!r} holds {held}. Make it again with that, beside it: voxdex reindex --says.")

    def take_over(self) -> None:
        """Becomes the index of its name, in one step, and drops the one that was, and what else was begun beside it."""
        former = self._take_name()
        for collection in {former, *self._begun()} - {None, self._collection}:
            self._server.ask(lambda client, collection=collection: client.delete_collection(collection))

    def _begun(self) -> list[str]:
        """Collections that were to become the index of this name, and are of no other use."""
        ours = re.compile(rf"{re.escape(self.name)}-[0-9a-f]{{12}}")
        used = set(_aliases(self._server).values())
        return [
            each
            for each in _collections(self._server)
            if ours.fullmatch(each) and each not in used and _about(self._server, each) is not None
        ]

    def _take_name(self) -> str | None:
        """Lets the name stand for this collection; the one that it stood for."""
        former = _aliases(self._server).get(self.name)
        change: list[models.AliasOperations] = []
        if former:
            change.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self.name)))
        new = models.CreateAlias(collection_name=self._collection, alias_name=self.name)
        change.append(models.CreateAliasOperation(create_alias=new))
        if former != self._collection:
            self._server.ask(lambda client: client.update_collection_aliases(change))
        return former

    @classmethod
    def open(cls, server: Connection, name: str) -> "ServerStore":
        """Opens an index that exists.

        Raises:
            StoreError: there is none, it is not one of ours, or the server does not answer.
        """
        check_name(name)
        collection = _aliases(server).get(name)
        if collection is None:
            raise StoreError(
                f"There is no index {name!r} on {server.url or 'the server'}. Make one: voxdex index FOLDER --url URL "
                f"--collection {name}."
            )
        about = _about(server, collection)
        if about is None:
            raise StoreError(
                f"The collection {collection!r}, which the name {name!r} stands for, is not Voxdex's. "
                "It is left alone: choose another name with --collection."
            )
        return cls(server, name, collection, about)

    @staticmethod
    def exists(server: Connection, name: str) -> bool:
        """Whether there is an index of that name."""
        return check_name(name) in _aliases(server)

    @property
    def versions(self) -> dict[str, str]:
        told = {"Qdrant": self._server.version} if self._server.version else {}
        return told | {"qdrant-client": version("qdrant-client")}

    def revision(self) -> tuple[Any, ...]:
        """What changes when a run has changed the index, or another one has taken its place."""
        collection = _aliases(self._server).get(self.name, "")
        about = (_about(self._server, collection) or {}) if collection else {}
        return collection, about.get(WRITTEN), self.count() if collection == self._collection else 0

    def __enter__(self) -> "ServerStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        self._begin()
        for portion in in_portions(points, min(PORTION, self._limits.portion or PORTION)):
            built = [
                models.PointStruct(id=point.id, vector=point.vectors, payload=with_path_text(point.payload, _path_grams))
                for point in portion
            ]
            self._server.ask(lambda client, built=built: client.upsert(self._collection, built, wait=True))

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        self._begin()
        changes = with_path_text(changes, _path_grams)
        self._server.ask(lambda client: client.set_payload(self._collection, changes, points=_equals(where), wait=True))

    def delete(self, where: Mapping[str, str]) -> None:
        self._begin()
        selector = models.FilterSelector(filter=_equals(where))
        self._server.ask(lambda client: client.delete(self._collection, selector, wait=True))

    def declare(self, fields: Mapping[str, str]) -> None:
        if all(key in self.schema() for key in fields):
            return
        self._look_again()  # another process may have declared some
        new = {key: kind for key, kind in fields.items() if key not in self.schema()}
        if self._limits.indexes is not None:
            room = self._limits.indexes - len(self._info.payload_schema)
            without = dict(list({key: kind for key, kind in new.items() if not SELDOM.match(key)}.items())[max(0, room) :])
            without |= {key: kind for key, kind in new.items() if SELDOM.match(key)}
            self._declare_unindexed(without)
            new = {key: kind for key, kind in new.items() if key not in without}
        for key, kind in new.items():
            self._index(key, kind)
        self._look_again()

    def _declare_unindexed(self, fields: Mapping[str, str]) -> None:
        if fields:
            self._note(fields, FIELDS)
            log.warning(
                "The server allows an index of %d fields; those without one, of which conditions are slow or refused: %s.",
                self._limits.indexes, ", ".join(sorted(fields)),
            )  # fmt: skip

    def schema(self) -> dict[str, str]:
        indexed = {
            key: KINDS[about.data_type.value]
            for key, about in self._info.payload_schema.items()
            if key not in INTERNAL and about.data_type.value in KINDS
        }
        return (self._about.get(FIELDS) or {}) | indexed

    @cached_property
    def _info(self) -> models.CollectionInfo:
        return self._server.ask(lambda client: client.get_collection(self._collection))

    @property
    def _limits(self) -> Limits:
        return Limits.of(self._info.config.strict_mode_config)

    def _look_again(self) -> None:
        """What others have declared meanwhile is known from now on."""
        vars(self).pop("_info", None)
        self._about = _about(self._server, self._collection) or self._about

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        for record in self._scroll(_equals({KIND: kind}), with_payload=list(keys)):
            yield record.payload or {}

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        return map(as_point, self._scroll(_equals(where), with_payload=True, with_vectors=True))

    def query(
        self,
        wish: np.ndarray | Discovery,
        limit: int,
        where: Filter = EVERYTHING,
        vectors: bool = False,
        says: bool = False,
    ) -> list[Neighbour]:
        limits, most = self._limits, self._limits.hits or limit
        rescored = models.QuantizationSearchParams(
            rescore=True, oversampling=min(OVERSAMPLING, limits.oversampling or OVERSAMPLING)
        )
        breadth = min(max(BREADTH, limit), limits.breadth or max(BREADTH, limit))
        clips, found = self._clips(where), []
        while len(found) < limit:  # as many at a time as the server allows
            asked, skipped = min(most, limit - len(found)), len(found)
            page = self._server.ask(
                lambda client, asked=asked, skipped=skipped: client.query_points(
                    self._collection,
                    query=_asked(wish),
                    using=SAYS if says else None,
                    limit=asked,
                    offset=skipped or None,
                    query_filter=clips,
                    search_params=models.SearchParams(hnsw_ef=breadth, quantization=rescored),
                    with_payload=models.PayloadSelectorExclude(exclude=[PATH_TEXT] if says else [PATH_TEXT, HEARD]),
                    with_vectors=[VOICE] if vectors else False,
                )
            ).points
            found += map(as_neighbour, page)
            if len(page) < asked:
                break
        return found

    def sample(self, count: int) -> np.ndarray:
        return as_matrix(self._scroll(_equals(CLIPS), with_payload=False, with_vectors=[VOICE]), count)

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        found = self._server.ask(
            lambda client: client.retrieve(self._collection, list(ids), with_payload=True, with_vectors=True)
        )
        return [as_point(record) for record in found]

    def facet(self, field: str, where: Filter = EVERYTHING, exact: bool = True) -> Counter[str]:
        return self.facets([field], where, exact)[field]

    def facets(self, fields: Sequence[str], where: Filter = EVERYTHING, exact: bool = True) -> dict[str, Counter[str]]:
        schema, terms, clips = self.schema(), self._terms, self._rendered(where)

        def count(key: str, without: Sequence[str]) -> Counter[str]:
            return self._count(key, models.Filter(must=[clips, *map(terms.absent, without)]), exact)

        return {field: count_field(field, schema, count) for field in fields}

    def _count(self, key: str, among: models.Condition, exact: bool = False) -> Counter[str]:
        """How many clips have each value of a payload key; where the server tells but the commonest, they are looked at."""
        clips, most = models.Filter(must=[_equals(CLIPS), among]), min(MOST_VALUES, self._limits.hits or MOST_VALUES)
        exact = exact and self._limits.is_exact
        found = self._server.ask(lambda client: client.facet(self._collection, key, clips, limit=most, exact=exact)).hits
        if len(found) < most or most == MOST_VALUES:
            return Counter({hit.value: hit.count for hit in found})
        values = (value_at(record.payload or {}, [key]) for record in self._scroll(clips, with_payload=[key]))
        return Counter(sorted(value for value in values if value is not None))

    @property
    def _terms(self) -> "_Terms":
        return _Terms(self._count, bool(self._about.get(PATH_TEXT)), self._limits.values)

    def _rendered(self, where: Filter) -> models.Condition:
        return render(where, self.schema(), self._terms)

    def _clips(self, where: Filter) -> models.Filter:
        return models.Filter(must=[_equals(CLIPS), self._rendered(where)])

    def flush(self) -> None:
        """Lets readers know that something was written; the server sees to its disk itself."""
        self._mark, self._is_writing = uuid4().hex, False
        self._note({WRITTEN: self._mark})

    def optimise(self) -> None:
        self.flush()

    def _begin(self) -> None:
        """Lets others know that what they remember no longer holds, before something is written."""
        if not self._is_writing:
            self.flush()
            self._is_writing = True

    def remember(self, name: str, derive: Callable[[], Any], is_small: bool = False) -> None:
        if is_small and not self._is_writing and len(text := json.dumps(derive())) <= MOST_REMEMBERED:
            self._note({name: [self._mark, text]}, REMEMBERED)

    def recall(self, name: str) -> Any:
        about = _about(self._server, self._collection) or {}
        mark, text = (about.get(REMEMBERED) or {}).get(name, (None, ""))
        return json.loads(text) if mark and mark == about.get(WRITTEN) else None

    def count(self, kind: str = CLIP) -> int:
        of_kind, exact = _equals({KIND: kind}), self._limits.is_exact
        return self._server.ask(lambda client: client.count(self._collection, count_filter=of_kind, exact=exact)).count

    def close(self) -> None:
        self._server.close()

    def _scroll(self, where: models.Filter, **wanted: Any) -> Iterator[models.Record]:
        offset, most = None, min(SCROLL, self._limits.hits or SCROLL)
        while True:
            records, offset = self._server.ask(
                lambda client, offset=offset: client.scroll(
                    self._collection, scroll_filter=where, limit=most, offset=offset, **wanted
                )
            )
            yield from records
            if offset is None:
                return

    def _index(self, key: str, kind: str) -> None:
        self._server.ask(lambda client: client.create_payload_index(self._collection, key, SCHEMA[kind], wait=True))

    def _note(self, changes: Mapping[str, Any], key: str | None = None) -> None:
        """Changes what the collection says of itself, at a key of it; what others say at the same time stays."""
        self._server.ask(
            lambda client: client.set_payload(self._collection, dict(changes), points=[ABOUT_ID], key=key, wait=True)
        )


def check_name(name: str) -> str:
    """The name of an index, as it is.

    Raises:
        StoreError: no server takes it for one.
    """
    if not NAME.fullmatch(name):
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        raise StoreError(
            f"{shown!r} is no name for an index on a server: it may have letters from a to z, digits, and between them "
            "'-', '_' and '.', 100 in all."
        )
    return name


def _create(
    client: QdrantClient, collection: str, vectors: dict[str, models.VectorParams], shards: int | None, replicas: int | None
) -> None:
    """Makes a collection; that another process has just done so is as good."""
    small = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    try:
        client.create_collection(
            collection,
            vectors_config=vectors,
            hnsw_config=models.HnswConfigDiff(**GRAPH),
            quantization_config=models.ScalarQuantization(scalar=small),
            shard_number=shards,
            replication_factor=replicas,
        )
    except UnexpectedResponse as error:
        if error.status_code != 409:
            raise


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


def _collection_of(name: str, space: str, says: Says | None) -> str:
    """The collection behind the name, which is an alias of it."""
    held = f"{space}\n{says.space}" if says else space
    return f"{name}-{hashlib.sha256(held.encode()).hexdigest()[:12]}"


def _collections(server: Connection) -> set[str]:
    """The names of all collections, without aliases of them."""
    return {each.name for each in server.ask(lambda client: client.get_collections()).collections}


def _aliases(server: Connection) -> dict[str, str]:
    """Alias -> collection."""
    return {alias.alias_name: alias.collection_name for alias in server.ask(lambda client: client.get_aliases()).aliases}


def _about(server: Connection, collection: str) -> Payload | None:
    """What a collection says of itself; None where it does not."""
    found = server.ask(lambda client: client.retrieve(collection, [ABOUT_ID], with_payload=True))
    about = (found[0].payload or {}) if found else {}
    if type(about.get("format")) is int and about["format"] != FORMAT:
        raise StoreError(other_format(f"collection {collection!r}", about["format"]))
    return about if about.get("format") == FORMAT else None


def _path_grams(path: str) -> str:
    return grams(path_text(path))


def _equals(where: Mapping[str, str]) -> models.Filter:
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.items()]
    )


class _Terms:
    """The engine's filters; see filters.Engine. most: values that one condition may have."""

    def __init__(self, values: Callable[[str, models.Condition], Iterable[str]], has_path_text: bool, most: int | None) -> None:
        self.values, self._has_path_text, self._most = values, has_path_text, most

    def containing(self, key: str, text: str) -> models.Condition | None:
        if key != PATH or not self._has_path_text or len(text) < GRAM:
            return None
        return models.FieldCondition(key=PATH_TEXT, match=models.MatchPhrase(phrase=grams(text)))

    def one_of(self, key: str, values: Sequence[str]) -> models.Condition:
        parts = [models.FieldCondition(key=key, match=models.MatchAny(any=part)) for part in self._parts(values)]
        return parts[0] if len(parts) == 1 else models.Filter(should=parts)

    def within(self, key: str, bounds: Mapping[str, float]) -> models.Condition:
        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def dated(self, key: str, bounds: Mapping[str, datetime]) -> models.Condition:
        return models.FieldCondition(key=key, range=models.DatetimeRange(**bounds))

    def among(self, ids: Sequence[str]) -> models.Condition:
        parts = [models.HasIdCondition(has_id=part) for part in self._parts(ids)]
        return parts[0] if len(parts) == 1 else models.Filter(should=parts)

    def absent(self, key: str) -> models.Condition:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))

    def join(self, **parts: Sequence[models.Condition]) -> models.Condition:
        return models.Filter(**{name: list(terms) for name, terms in parts.items()})

    def _parts(self, values: Sequence[str]) -> list[list[str]]:
        """Values in parts that one condition may have; one part where there are none."""
        most = self._most or max(1, len(values))
        return [list(values[start : start + most]) for start in range(0, len(values), most)] or [[]]
