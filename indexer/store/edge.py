"""The embedded store: Qdrant Edge, Qdrant's own engine inside this process, in one folder.

The folder holds index.json (format, space, model), a lock and the engine's shard. Only one process may have the shard
open, and the engine is damaged by a second opener, so the lock is taken before it is touched.
"""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from fnmatch import fnmatch
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import qdrant_edge as edge
from filelock import FileLock

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
)
from indexer.store.disk import copy_file, locked, released_on_error, replace_file, see_to_room
from indexer.store.filters import EVERYTHING, Filter, count_field, render

ABOUT, SHARD, MEMO = "index.json", "shard", ".memo.json"
OPTIMISERS = edge.EdgeOptimizersConfig(indexing_threshold=20_000)
"""Vectors of more kilobytes than that, 20,000 clips of 256 dimensions, get a graph, and their fields lie on disk; fewer are
scanned as quickly, and their fields are held in memory, 6 KB a clip."""
AWAITED = "fields.json"
"""In the folder of the shard: the declared fields that are yet to be indexed, with their kinds."""
MOST_INDEXED = 20_000
"""Points that are written with their fields indexed at once, which takes memory; those of more wait for optimise(), where each
field takes another look at every point."""
FIELDS = {
    "text": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams(on_disk=True)),
    "number": (edge.PayloadSchemaType.Float, edge.FloatIndexParams(on_disk=True)),
    "date": (edge.PayloadSchemaType.Datetime, edge.DatetimeIndexParams(on_disk=True)),
}
"""By kind, what the engine calls it and how it is indexed: on disk, as dozens of fields would fill the memory."""


class EdgeStore:
    """An index in a folder. Use create() or open(), and close() it, or use it as a context manager."""

    def __init__(self, folder: Path, lock: FileLock, space: str, model: str, says: Says | None = None) -> None:
        self.folder, self.space, self.model, self.says = folder, space, model, says
        self._lock, self._indexing, self._written = lock, Lock(), 0

    @classmethod
    def create(cls, folder: Path, space: str, model: str, dimension: int) -> "EdgeStore":
        """Makes a new, empty index; what an interrupted creation left is cleared away.

        Raises:
            StoreError: there is an index already, another process has it open, or the folder cannot be written.
        """
        store = cls._begin(folder, space, model, dimension, beside=False)
        store.take_over()
        return store

    @classmethod
    def beside(cls, folder: Path, space: str, model: str, dimension: int) -> "EdgeStore":
        """What is to become the index of a folder (see take_over) while that keeps the one that it has; begun, it goes on.

        Raises:
            StoreError: another process has the index open, or the folder cannot be written.
        """
        return cls._begin(folder, space, model, dimension, beside=True)

    @classmethod
    def _begin(cls, folder: Path, space: str, model: str, dimension: int, beside: bool) -> "EdgeStore":
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"The index folder {folder} cannot be made ({error.strerror})."
            raise StoreError(f"{reason} Choose another with --index, or move all with VOXDEX_HOME.") from error
        with released_on_error(locked(folder)) as lock, _explained(folder):
            shard = folder / _shard_of(space)
            if beside:
                with suppress(Exception):  # the engine's; what cannot be opened was not begun
                    store = cls(folder, lock, space, model)
                    store._shard = edge.EdgeShard.load(str(shard))
                    return store
            elif cls.exists(folder):
                raise StoreError(f"There is an index at {folder} already.")
            shutil.rmtree(shard, ignore_errors=True)
            see_to_room(folder)
            shard.mkdir()
            store = cls(folder, lock, space, model)
            vectors = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine)
            config = edge.EdgeConfig(vectors=vectors, hnsw_config=edge.HnswIndexConfig(**GRAPH), optimizers=OPTIMISERS)
            store._shard = edge.EdgeShard.create(str(shard), config)
            for key in INTERNAL:
                store._index(key, "text")
            return store

    def add_says(self, says: Says) -> None:
        if self.says is not None:
            raise StoreError(f"The index at {self.folder} holds what is said as {self.says.space} hears it already.")
        shape = (says.dimension, edge.Distance.Cosine, None, edge.VectorStorageDatatype.Float16)
        self._update(edge.UpdateOperation.create_dense_vector(SAYS, *shape))
        self.says = says
        if self.exists(self.folder) and self.read_about(self.folder)["space"] == self.space:
            self._write_about()

    def _write_about(self) -> None:
        about = {"format": FORMAT, "space": self.space, "model": self.model}
        about |= {"says": asdict(self.says)} if self.says else {}
        new = self.folder / f"{ABOUT}.new"
        with _explained(self.folder):
            self._shard.flush()
            new.write_text(json.dumps(about) + "\n", encoding="utf-8")
            new.replace(self.folder / ABOUT)

    def take_over(self) -> None:
        """Becomes the folder's index, in one step, and drops the one it had."""
        self._write_about()
        with _explained(self.folder):
            for other in self.folder.glob(f"{SHARD}-*"):
                if not other.name.startswith(_shard_of(self.space)):
                    shutil.rmtree(other) if other.is_dir() else other.unlink()

    @classmethod
    def open(cls, folder: Path) -> "EdgeStore":
        """Opens an index that exists.

        Raises:
            StoreError: there is none, it is damaged or of another format, or another process has it open.
        """
        return cls(folder, locked(folder), *cls._described(folder))

    @classmethod
    def copied(cls, folder: Path, to: Path) -> "EdgeStore":
        """Opens a copy of an index, made in an empty folder; the index itself is only held while it is copied.

        Raises:
            StoreError: there is none, it is damaged or of another format, or another process has it open.
        """
        copy = cls(to, locked(to), *cls._described(folder))
        with released_on_error(copy._lock), _explained(folder):
            lock = locked(folder)
            try:
                shutil.copytree(folder / _shard_of(copy.space), to / _shard_of(copy.space), copy_function=copy_file)
            finally:
                lock.release()
        return copy

    @classmethod
    def _described(cls, folder: Path) -> tuple[str, str, Says | None]:
        about = cls.read_about(folder)
        return about["space"], about["model"], Says(**about["says"]) if about.get("says") else None

    @staticmethod
    def revision(folder: Path) -> tuple[int, ...]:
        """What changes when a run has changed the index of a folder; () where there is none."""
        with suppress(StoreError):
            space = EdgeStore.read_about(folder)["space"]
            files = (folder / ABOUT, *sorted(folder.glob(f"{_shard_of(space)}-*{MEMO}")))
            return tuple(file.stat().st_mtime_ns for file in files)
        return ()

    @cached_property
    def _shard(self) -> edge.EdgeShard:
        """The engine, started when it is first needed."""
        with _explained(self.folder):
            return edge.EdgeShard.load(str(self.folder / _shard_of(self.space)))

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether there is an index in a folder."""
        return (folder / ABOUT).exists()

    @staticmethod
    def read_about(folder: Path) -> dict[str, Any]:
        """The space and the model of an index, and perhaps those of what is said, without opening it.

        Raises:
            StoreError: there is none, or it is damaged or of another format.
        """
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            known = {name: about[name] for name in ("format", "space", "model")} | {"says": about.get("says")}
        except (FileNotFoundError, NotADirectoryError):
            raise StoreError(f"There is no index at {folder}. Make one: voxdex index FOLDER_OF_RECORDINGS.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{folder / ABOUT} cannot be read ({error}). Delete {folder} and index again.") from error
        if known["format"] != FORMAT:
            raise StoreError(f"The index at {folder} is of format {known['format']}, not {FORMAT}. Delete it and index again.")
        return known

    def __enter__(self) -> "EdgeStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        for portion in in_portions(points):
            built = [edge.Point(point.id, point.vectors, point.payload) for point in portion]
            self._update(edge.UpdateOperation.upsert_points(built))
        before, self._written = self._written, self._written + len(points)
        if before <= MOST_INDEXED < self._written:
            self._put_off_fields()

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        self._update(edge.UpdateOperation.set_payload_by_filter(_equals(where), changes))

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
        return self._awaited | self._indexed()

    def _indexed(self) -> dict[str, str]:
        found = self._shard.info().payload_schema
        kinds = {str(called): kind for kind, (called, _) in FIELDS.items()}
        return {key: kinds[str(about.data_type)] for key, about in found.items() if key not in INTERNAL}

    @cached_property
    def _awaited(self) -> dict[str, str]:
        """The declared fields that are yet to be indexed.

        optimise() indexes them, on disk; the engine holds the indexes of what is not optimised in memory, 6 KB a clip. Until
        then conditions are compared with each payload, and fields whose values are counted are indexed as they are.
        """
        try:
            return json.loads(self._awaited_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _await(self, fields: dict[str, str]) -> None:
        with _explained(self.folder):
            replace_file(self._awaited_file, json.dumps(fields))
        self._awaited = fields

    @property
    def _awaited_file(self) -> Path:
        return self.folder / _shard_of(self.space) / AWAITED

    def _put_off_fields(self) -> None:
        indexed = self._indexed()
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
            with_payload=True if says else edge.PayloadSelector.Exclude([HEARD]),
            with_vector=[VOICE] if vectors else False,
        )
        with _explained(self.folder):
            found = self._shard.query(request)
        return [as_neighbour(point) for point in found]

    def sample(self, count: int) -> np.ndarray:
        return as_matrix(self._scroll(CLIPS, with_vector=[VOICE]), count)

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        with _explained(self.folder):
            return [as_point(record) for record in self._shard.retrieve(list(ids), with_payload=True, with_vector=True)]

    def facet(self, field: str, where: Filter = EVERYTHING, exact: bool = True) -> Counter[str]:
        return count_field(field, where, self.schema(), partial(self._count_values, exact=exact))

    def _count_values(self, key: str, where: Filter = EVERYTHING, exact: bool = True) -> Counter[str]:
        self._index_awaited([key])
        clips = edge.Filter(must=[_equals(CLIPS), self._render(where)])
        with _explained(self.folder):
            found = self._shard.facet(edge.FacetRequest(key, limit=MOST_VALUES, exact=exact, filter=clips))
        return Counter({hit.value: hit.count for hit in found.hits})

    def _render(self, where: Filter) -> edge.Filter:
        return render(where, self.schema(), _Terms(self._count_values))

    def flush(self) -> None:
        with _explained(self.folder):
            self._shard.flush()

    def optimise(self) -> None:
        see_to_room(self.folder)
        with _explained(self.folder):
            self._shard.optimize()
        self._index_awaited(self._awaited)

    def remember(self, name: str, derive: Callable[[], Any]) -> None:
        memo = self._memo(name)
        if memo.exists():
            return
        self.flush()
        new = memo.with_suffix(".new")
        with _explained(self.folder):
            new.write_text(json.dumps(derive(), ensure_ascii=False), encoding="utf-8")
            new.replace(memo)

    def recall(self, name: str) -> Any:
        try:
            return json.loads(self._memo(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def count(self, kind: str = CLIP) -> int:
        return self._shard.count(edge.CountRequest(filter=_equals({KIND: kind}), exact=True))

    def close(self) -> None:
        if not self._lock.is_locked:
            return
        with released_on_error(self._lock), _explained(self.folder):
            if "_shard" in vars(self):
                self._shard.flush()
                self._shard.close()
        self._lock.release()

    def _scroll(self, where: Mapping[str, str], **wanted: Any) -> Iterator[edge.Record]:
        offset = None
        while True:
            request = edge.ScrollRequest(offset=offset, limit=1000, filter=_equals(where), **wanted)
            with _explained(self.folder):
                records, offset = self._shard.scroll(request)
            yield from records
            if offset is None:
                return

    def _update(self, operation: edge.UpdateOperation) -> None:
        see_to_room(self.folder)
        with _explained(self.folder):
            self._forget()
            self._shard.update(operation)

    def _forget(self) -> None:
        """Drops the memos for good, before what they were derived from changes."""
        pattern = self._memo("*").name
        memos = [file for file in self.folder.iterdir() if fnmatch(file.name, pattern)]
        for memo in memos:
            memo.unlink()
        if memos:
            folder = os.open(self.folder, os.O_RDONLY)
            with suppress(OSError):  # not every system lets a folder be synchronised
                os.fsync(folder)
            os.close(folder)

    def _memo(self, name: str) -> Path:
        return self.folder / f"{_shard_of(self.space)}-{name}{MEMO}"


def _asked(wish: np.ndarray | Discovery, using: str | None) -> edge.Query:
    if not isinstance(wish, Discovery):
        return edge.Query.Nearest(wish.tolist(), using)
    pairs = [edge.ContextPair(near.tolist(), far.tolist()) for near, far in wish.pairs]
    return edge.Query.Discover(edge.DiscoverQuery(wish.target.tolist(), pairs))


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """The engine raises bare Exception: its words, and what to do."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        reason = f"The engine failed on the index at {folder} ({error})."
        raise StoreError(f"{reason} See that there is free disk; if it stays so, delete the folder and index again.") from error


def _shard_of(space: str) -> str:
    """The folder of a space's shard."""
    return f"{SHARD}-{hashlib.sha256(space.encode()).hexdigest()[:12]}"


def _equals(where: Mapping[str, str]) -> edge.Filter:
    return edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchValue(value)) for key, value in where.items()])


class _Terms:
    """The engine's filters; see filters.Engine."""

    def __init__(self, values: Callable[[str], Iterable[str]]) -> None:
        self.values = values

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
