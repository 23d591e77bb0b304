"""The embedded store: Qdrant Edge, Qdrant's own engine inside this process, in one folder.

The folder holds a description, a lock and the engine's shard; see shards. Only one process may have the shard open, and
the engine is damaged by a second opener, so the lock is taken before it is touched.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import cached_property
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import qdrant_edge as edge
from filelock import FileLock

from encoders.files import NEW, make_folder, move, read_json, replace_file
from indexer.store.base import (
    BREADTH,
    CLIP,
    CLIPS,
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
    with_path_text,
)
from indexer.store.disk import copy_file, locked, released_on_error, see_to_room
from indexer.store.filters import EVERYTHING, Filter, count_field, render
from indexer.store.patterns import PATH, PATH_TEXT, path_text
from indexer.store.shards import (
    INDEX,
    SHARD_ABOUT,
    Description,
    copy_shard,
    described,
    expect_index,
    explained,
    forget,
    next_turn,
    of_shard,
    remove_leftovers,
    remove_others,
    remove_shard,
    repairs,
    tell,
    untold,
)

MEMO = ".memo.json"
CONFIG = "edge_config.json"
"""In the folder of the shard: the engine's settings."""
OPTIMISERS = edge.EdgeOptimizersConfig(indexing_threshold=20_000)
"""Vectors of more kilobytes than that, 20,000 clips of 256 dimensions, get a graph, and their fields lie on disk; fewer are
scanned as quickly, and their fields are held in memory, 6 KB a clip."""
AWAITED = "fields.json"
"""In the folder of the shard: the declared fields that are yet to be indexed, with their kinds."""
MOST_INDEXED = 20_000
"""Points that are written with their fields indexed at once, which takes memory; those of more wait for optimise(), where each
field takes another look at every point."""
FEW = 1000
"""Clips that a filter leaves, of which values of several fields are counted by their ids; more take longer to list than that
saves."""
FIELDS = {
    "text": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams(on_disk=True)),
    "number": (edge.PayloadSchemaType.Float, edge.FloatIndexParams(on_disk=True)),
    "date": (edge.PayloadSchemaType.Datetime, edge.DatetimeIndexParams(on_disk=True)),
}
"""By kind, what the engine calls it and how it is indexed: on disk, as dozens of fields would fill the memory."""


class EdgeStore:
    """An index in a folder. Use create() or open(), and close() it, or use it as a context manager."""

    adds_says = True
    versions: Mapping[str, str] = {"qdrant-edge": version("qdrant-edge-py")}

    def __init__(self, folder: Path, lock: FileLock, description: Description) -> None:
        self.folder, self.space, self.model, self.says = folder, description.space, description.model, description.says
        self._description, self._lock, self._indexing, self._written = description, lock, Lock(), 0

    @classmethod
    def create(cls, folder: Path, space: str, model: str, dimension: int, says: Says | None = None) -> "EdgeStore":
        """Makes a new, empty index; what an interrupted creation left is cleared away.

        Raises:
            StoreError: there is an index already, another process has it open, or the folder cannot be written.
        """
        with _begun(folder) as lock:
            if cls.exists(folder):
                raise StoreError(f"There is an index at {folder} already.")
            store = cls(folder, lock, Description(space, model, dimension, says))
            store._make()
            store._take_place()
        return store

    @classmethod
    def beside(cls, folder: Path, space: str, model: str, dimension: int, says: Says | None = None) -> "EdgeStore":
        """What is to become the index of a folder (see take_over) while that keeps the one that it has; begun, it goes on.

        Raises:
            StoreError: the index is of that space, another process has it open, or the folder cannot be written.
        """
        with _begun(folder) as lock:
            index = described(folder) or (tell(folder) if untold(folder) else None)
            if index and index.space == space:
                raise StoreError(f"The index at {folder} holds embeddings of {space} already.")
            store = cls(folder, lock, Description(space, model, dimension, says, turn=0))
            if not store._resume():
                store._make()
        return store

    def _resume(self) -> bool:
        """Goes on with a shard that was begun; False where there is none, or another one, or one that was once the index."""
        about = of_shard(self._folder)
        if about is None or about.turn or about.says != self.says:
            return False
        try:
            self.count()
        except StoreError:
            vars(self).pop("_shard", None)
            return False
        self._description.note(self._folder)
        return True

    def _make(self) -> None:
        """Makes the shard, in the place of what has its name: under another one, until all of it is on disk."""
        see_to_room(self.folder)
        new = self._folder.with_name(self._folder.name + NEW)
        new.mkdir()
        shard = edge.EdgeShard.create(str(new), _config(self._description))
        for key in INTERNAL:
            shard.update(edge.UpdateOperation.create_field_index(key, FIELDS["text"][1]))
        shard.flush()
        shard.close()
        self._description.note(new)
        remove_shard(self._folder)
        move(new, self._folder)

    def add_says(self, says: Says) -> None:
        if self.says is not None:
            raise StoreError(f"The index at {self.folder} holds what is said as {self.says.space} hears it already.")
        shape = (says.dimension, edge.Distance.Cosine, None, edge.VectorStorageDatatype.Float16)
        self._update(edge.UpdateOperation.create_dense_vector(SAYS, *shape))
        self.flush()
        with explained(self.folder):
            self._describe(replace(self._description, says=says))

    def take_over(self) -> None:
        """Becomes the folder's index, in one step, and drops the one it had.

        A kill before that step leaves what take_over() can be asked of again; one after it, what the next open() drops.
        """
        self.flush()
        with explained(self.folder):
            self._description = replace(self._description, turn=next_turn(self.folder))
            self._take_place()

    def _take_place(self) -> None:
        self._describe(self._description)
        remove_others(self.folder, self._description)

    def _describe(self, description: Description) -> None:
        description.note(self._folder)
        if description.turn:
            description.note_index(self.folder)
        self._description, self.says = description, description.says

    @classmethod
    def open(cls, folder: Path) -> "EdgeStore":
        """Opens an index that exists, and puts right what a kill or a power cut left of it; where none exists, makes nothing.

        Raises:
            StoreError: there is none, it is damaged or of another format, or another process has it open.
        """
        expect_index(folder)
        with released_on_error(locked(folder)) as lock:
            store = cls(folder, lock, described(folder) or tell(folder))
            if todo := repairs(folder, store._description):
                store.count()  # what does not open is left as it is
                for repair in todo:
                    with suppress(OSError):  # a folder that cannot be written serves all the same
                        repair()
        return store

    @classmethod
    def copied(cls, folder: Path, to: Path) -> "EdgeStore":
        """Opens a copy of an index, made in an empty folder; the index itself is only held while it is copied.

        Raises:
            StoreError: there is none, it is damaged or of another format, or another process has it open.
        """
        expect_index(folder)
        with released_on_error(locked(to)) as own, explained(folder):
            lock = locked(folder)
            try:
                copy = cls(to, own, described(folder) or tell(folder))
                copy_shard(folder / copy._folder.name, copy._folder)
                for memo in folder.glob(copy._memo("*").name):
                    copy_file(memo, to / memo.name)
            finally:
                lock.release()
        return copy

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether there is an index in a folder, whole or not; nothing is written to find that out.

        Raises:
            StoreError: what is there is of another format, or no index and not to be overwritten.
        """
        return described(folder) is not None or bool(untold(folder))

    @staticmethod
    def revision(folder: Path) -> tuple[int, ...]:
        """What changes when a run has changed the index of a folder; () where there is none."""
        with suppress(StoreError, OSError):
            if index := described(folder):
                shard = folder / index.shard
                files = (folder / INDEX, shard / SHARD_ABOUT, *sorted(folder.glob(f"{shard.name}-*{MEMO}")))
                return tuple(file.stat().st_mtime_ns for file in files if file.exists())
        return ()

    @property
    def _folder(self) -> Path:
        """Of the shard."""
        return self.folder / self._description.shard

    @cached_property
    def _shard(self) -> edge.EdgeShard:
        """The engine, started when it is first needed."""
        with explained(self.folder):
            config = self._folder / CONFIG
            if self._description.dimension and self._folder.exists() and read_json(config) is None:
                config.unlink(missing_ok=True)
                return edge.EdgeShard.load(str(self._folder), _config(self._description))
            return edge.EdgeShard.load(str(self._folder))

    def __enter__(self) -> "EdgeStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        for portion in in_portions(points):
            built = [edge.Point(point.id, point.vectors, with_path_text(point.payload, path_text)) for point in portion]
            self._update(edge.UpdateOperation.upsert_points(built))
        before, self._written = self._written, self._written + len(points)
        if before <= MOST_INDEXED < self._written:
            self._put_off_fields()

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        self._update(edge.UpdateOperation.set_payload_by_filter(_equals(where), with_path_text(changes, path_text)))

    def delete(self, where: Mapping[str, str]) -> None:
        self._update(edge.UpdateOperation.delete_points_by_filter(_equals(where)))

    def declare(self, fields: Mapping[str, str]) -> None:
        known = self.schema() if fields else {}
        new = {key: kind for key, kind in fields.items() if key not in known}
        if new and self._written <= MOST_INDEXED:
            for key, kind in new.items():
                self._index(key, kind)
        elif new:
            self._forget()
            self._await(self._awaited | new)

    def schema(self) -> dict[str, str]:
        return {key: kind for key, kind in self._fields().items() if key not in INTERNAL}

    def _fields(self) -> dict[str, str]:
        """All payload keys that have an index or wait for one, with their kinds."""
        return self._awaited | self._indexed()

    def _indexed(self) -> dict[str, str]:
        with explained(self.folder):
            found = self._shard.info().payload_schema
        kinds = {str(called): kind for kind, (called, _) in FIELDS.items()}
        return {key: kinds[str(about.data_type)] for key, about in found.items()}

    @cached_property
    def _awaited(self) -> dict[str, str]:
        """The declared fields that are yet to be indexed.

        optimise() indexes them, on disk; the engine holds the indexes of what is not optimised in memory, 6 KB a clip. Until
        then conditions are compared with each payload, and fields whose values are counted are indexed as they are.
        """
        found = read_json(self._folder / AWAITED)
        return {key: kind for key, kind in found.items() if kind in tuple(FIELDS)} if isinstance(found, dict) else {}

    def _await(self, fields: dict[str, str]) -> None:
        with explained(self.folder):
            replace_file(self._folder / AWAITED, json.dumps(fields))
        self._awaited = fields

    def _put_off_fields(self) -> None:
        indexed = {key: kind for key, kind in self._indexed().items() if key not in (KIND, "content")}
        self._await(self._awaited | indexed)
        for key in indexed:
            self._update(edge.UpdateOperation.delete_field_index(key))

    def _index_awaited(self, keys: Iterable[str]) -> None:
        with self._indexing:
            due = [key for key in keys if key in self._awaited]
            for key in due:
                self._index(key, self._awaited[key])
            if due:
                self.flush()
                self._await({key: kind for key, kind in self._awaited.items() if key not in due})

    def _add_path_texts(self) -> None:
        """Adds to the clips of an index of an earlier version what patterns of paths ask for."""
        if self.count() > MOST_INDEXED:
            self._put_off_fields()
        for record in self._scroll(CLIPS, with_payload=edge.PayloadSelector.Include([PATH])):
            if added := with_path_text(record.payload or {}, path_text):
                self._update(edge.UpdateOperation.set_payload([record.id], added))
        self._forget()
        self._await(self._awaited | {PATH_TEXT: "text"})

    def _index(self, key: str, kind: str) -> None:
        self._update(edge.UpdateOperation.create_field_index(key, FIELDS[kind][1]))

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        for record in self._scroll({KIND: kind}, with_payload=edge.PayloadSelector.Include(list(keys))):
            yield record.payload or {}

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        return map(as_point, self._scroll(where, with_payload=True, with_vector=True))

    def query(
        self,
        wish: np.ndarray | Discovery,
        limit: int,
        where: Filter = EVERYTHING,
        vectors: bool = False,
        says: bool = False,
    ) -> list[Neighbour]:
        request = edge.QueryRequest(
            limit=limit,
            query=_asked(wish, SAYS if says else None),
            filter=self._render(where),
            params=edge.SearchParams(hnsw_ef=max(BREADTH, limit)),
            with_payload=edge.PayloadSelector.Exclude([PATH_TEXT] if says else [PATH_TEXT, HEARD]),
            with_vector=[VOICE] if vectors else False,
        )
        with explained(self.folder):
            found = self._shard.query(request)
        return [as_neighbour(point) for point in found]

    def sample(self, count: int) -> np.ndarray:
        return as_matrix(self._scroll(CLIPS, with_vector=[VOICE]), count)

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        with explained(self.folder):
            return [as_point(record) for record in self._shard.retrieve(list(ids), with_payload=True, with_vector=True)]

    def facet(self, field: str, where: Filter = EVERYTHING, exact: bool = True) -> Counter[str]:
        return self.facets([field], where, exact)[field]

    def facets(self, fields: Sequence[str], where: Filter = EVERYTHING, exact: bool = True) -> dict[str, Counter[str]]:
        schema, clips = self.schema(), self._render(where)
        if len(fields) > 1:
            clips = self._as_ids(clips)

        def count(key: str, without: Sequence[str]) -> Counter[str]:
            return self._count(key, edge.Filter(must=[clips, *map(edge.IsEmptyCondition, without)]))

        return {field: count_field(field, schema, count) for field in fields}

    def _as_ids(self, among: edge.Filter) -> edge.Filter:
        """A filter as the ids of the clips that meet it, where they are few, so that it is looked at but once."""
        asked = edge.ScrollRequest(limit=FEW + 1, filter=edge.Filter(must=[_equals(CLIPS), among]), with_payload=False)
        with explained(self.folder):
            records, _ = self._shard.scroll(asked)
        return among if len(records) > FEW else edge.Filter(must=[edge.HasIdCondition({record.id for record in records})])

    def _count(self, key: str, among: edge.Filter) -> Counter[str]:
        """How many clips that meet a filter have each value at a key.

        The engine counts them in one go, which is exact as long as no optimiser works beside it;
        what it calls exact counts each value by itself: 100,000 of them in 5 s instead of 0.5 s.
        """
        self._index_awaited([key])
        clips = edge.Filter(must=[_equals(CLIPS), among])
        with explained(self.folder):
            found = self._shard.facet(edge.FacetRequest(key, limit=MOST_VALUES, exact=False, filter=clips))
        return Counter({hit.value: hit.count for hit in found.hits})

    def _render(self, where: Filter) -> edge.Filter:
        fields = self._fields()
        known = {key: kind for key, kind in fields.items() if key not in INTERNAL}
        return render(where, known, _Terms(self._count, PATH_TEXT in fields))

    def flush(self) -> None:
        with explained(self.folder):
            self._shard.flush()

    def optimise(self) -> None:
        see_to_room(self.folder)
        if PATH_TEXT not in self._fields():
            self._add_path_texts()
        with explained(self.folder):
            self._shard.optimize()
        self._index_awaited(self._awaited)

    def remember(self, name: str, derive: Callable[[], Any], is_small: bool = False) -> None:
        if self.recall(name) is not None:
            return
        self.flush()
        text = json.dumps(derive(), ensure_ascii=False).encode()
        with explained(self.folder):
            replace_file(self._memo(name), _digest(text) + b"\n" + text)

    def recall(self, name: str) -> Any:
        try:
            digest, _, text = self._memo(name).read_bytes().partition(b"\n")
        except OSError:
            return None
        return json.loads(text) if digest == _digest(text) else None

    def count(self, kind: str = CLIP) -> int:
        with explained(self.folder):
            return self._shard.count(edge.CountRequest(filter=_equals({KIND: kind}), exact=True))

    def close(self) -> None:
        if not self._lock.is_locked:
            return
        with released_on_error(self._lock), explained(self.folder):
            if "_shard" in vars(self):
                self._shard.flush()
                self._shard.close()
        self._lock.release()

    def _scroll(self, where: Mapping[str, str], **wanted: Any) -> Iterator[edge.Record]:
        offset = None
        while True:
            request = edge.ScrollRequest(offset=offset, limit=1000, filter=_equals(where), **wanted)
            with explained(self.folder):
                records, offset = self._shard.scroll(request)
            yield from records
            if offset is None:
                return

    def _update(self, operation: edge.UpdateOperation) -> None:
        see_to_room(self.folder)
        with explained(self.folder):
            self._forget()
            self._shard.update(operation)

    def _forget(self) -> None:
        """Drops the memos for good, before what they were derived from changes."""
        forget(self.folder, self._memo("*").name)

    def _memo(self, name: str) -> Path:
        return self.folder / f"{self._folder.name}-{name}{MEMO}"


def _asked(wish: np.ndarray | Discovery, using: str | None) -> edge.Query:
    if not isinstance(wish, Discovery):
        return edge.Query.Nearest(wish.tolist(), using)
    pairs = [edge.ContextPair(near.tolist(), far.tolist()) for near, far in wish.pairs]
    return edge.Query.Discover(edge.DiscoverQuery(wish.target.tolist(), pairs))


@contextmanager
def _begun(folder: Path) -> Iterator[FileLock]:
    """The lock of a folder in which something is made; what was half-made there before is removed."""
    try:
        make_folder(folder)
    except OSError as error:
        reason = f"The index folder {folder} cannot be made ({error.strerror})."
        raise StoreError(f"{reason} Choose another with --index, or move all with VOXDEX_HOME.") from error
    with released_on_error(locked(folder)) as lock, explained(folder):
        remove_leftovers(folder)
        yield lock


def _config(description: Description) -> edge.EdgeConfig:
    """The engine's settings for a shard."""
    vectors = {VOICE: edge.EdgeVectorParams(size=description.dimension, distance=edge.Distance.Cosine)}
    if description.says:
        kept = {"distance": edge.Distance.Cosine, "datatype": edge.VectorStorageDatatype.Float16}
        vectors[SAYS] = edge.EdgeVectorParams(size=description.says.dimension, **kept)
    return edge.EdgeConfig(vectors=vectors, hnsw_config=edge.HnswIndexConfig(**GRAPH), optimizers=OPTIMISERS)


def _digest(text: bytes) -> bytes:
    """What tells that a memo is whole."""
    return sha256(text).hexdigest().encode()


def _equals(where: Mapping[str, str]) -> edge.Filter:
    return edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchValue(value)) for key, value in where.items()])


class _Terms:
    """The engine's filters; see filters.Engine."""

    def __init__(self, values: Callable[[str, edge.Filter], Iterable[str]], has_path_text: bool) -> None:
        self.values, self._has_path_text = values, has_path_text

    def containing(self, key: str, text: str) -> edge.Filter | None:
        if key != PATH or not self._has_path_text:
            return None
        return edge.Filter(must=[edge.FieldCondition(PATH_TEXT, match=edge.MatchSubstring(text))])

    def one_of(self, key: str, values: Sequence[str]) -> edge.Filter:
        return edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchAny(list(values)))])

    def within(self, key: str, bounds: Mapping[str, float]) -> edge.Filter:
        return edge.Filter(must=[edge.FieldCondition(key, range=edge.RangeFloat(**bounds))])

    def dated(self, key: str, bounds: Mapping[str, datetime]) -> edge.Filter:
        times = {name: time.isoformat() for name, time in bounds.items()}
        return edge.Filter(must=[edge.FieldCondition(key, range=edge.RangeDateTime(**times))])

    def among(self, ids: Sequence[str]) -> edge.Filter:
        return edge.Filter(must=[edge.HasIdCondition(set(ids))])

    def absent(self, key: str) -> edge.Filter:
        return edge.Filter(must=[edge.IsEmptyCondition(key)])

    def join(self, **parts: Sequence[edge.Filter]) -> edge.Filter:
        return edge.Filter(**{name: list(terms) for name, terms in parts.items()})
