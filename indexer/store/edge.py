"""The embedded store: Qdrant Edge, Qdrant's own engine inside this process, in one folder.

The folder holds a description, a lock and the engine's shard; see shards. Only one process may open the shard, and a second
opener damages the engine, so the lock is taken first; see sharing for those who read meanwhile.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from filelock import FileLock

from voxdex.encoders.paths import NEW, make_folder, move, replace_file
from voxdex.indexer.store.base import (
    BREADTH,
    CLIP,
    CLIPS,
    INTERNAL,
    KIND,
    MOST_VALUES,
    PHONETIC,
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
from voxdex.indexer.store.edge_engine import (
    FIELD_INDEXES,
    EdgeEngine,
    EdgeTerms,
    FieldIndexes,
    equals,
    query_of,
    shard_config,
    tested,
)
from voxdex.indexer.store.files import LowSpaceError, check_free_space, released_on_error, take_lock
from voxdex.indexer.store.filters import MATCH_ALL, Filter, count_field, is_collected_fast, render
from voxdex.indexer.store.patterns import PATH_TEXT, path_text
from voxdex.indexer.store.shards import (
    INDEX,
    SHARD_DESCRIPTION,
    Description,
    engine_errors,
    expect_index,
    next_turn,
    read_description,
    read_shard,
    recover_description,
    remove_files,
    remove_leftovers,
    remove_others,
    remove_shard,
    repairs,
    undescribed_shards,
)
from voxdex.indexer.store.sharing import CACHE, Publisher, lock_for_reading, private_copy, remove_copy

FEW = 1000
"""Maximum number of clips whose ids stand for a filter while values are counted. Longer lists take more time than they save."""


SOON_OPTIMISED = 5_000
"""Clips up to which readers rather wait while an index is optimised, than that it is copied for them."""


class EdgeStore:
    """An index in a folder. Use create(), open() or read(), and close() it, or use it as a context manager.

    Args:
        folder: of the index.
        description: of the index.
        lock: of the folder, held; None for a store that is only read, which takes a lock when its engine starts.
    """

    adds_phonetic = True
    is_shared = False
    versions: Mapping[str, str] = {"qdrant-edge": version("qdrant-edge-py")}

    def __init__(self, folder: Path, description: Description, lock: FileLock | None) -> None:
        self.folder, self.space, self.model, self.phonetic = folder, description.space, description.model, description.phonetic
        self._description, self._lock, self._place, self._is_private = description, lock, folder, False
        config = shard_config(description) if description.dimension else None
        self._engine = EdgeEngine(folder, folder / description.shard, config, self._begin_reading, self._drop_cache)
        self._fields = FieldIndexes(self._engine, self._drop_cache)
        self._publisher: Publisher | None = None

    @classmethod
    def create(cls, folder: Path, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> "EdgeStore":
        """Create an empty index; what an interrupted creation left is removed.

        Raises:
            StoreError: there is an index already, another process has it open, or the folder cannot be written.
        """
        with _locked_folder(folder) as lock:
            if cls.exists(folder):
                raise StoreError(f"There is an index at {folder} already.")
            store = cls(folder, Description(space, model, dimension, phonetic), lock)
            store._make()
            store._become_index()
            store._share()
        return store

    @classmethod
    def create_staging(
        cls, folder: Path, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None
    ) -> "EdgeStore":
        """Create or resume the store that is to replace a folder's index (see promote), which stays unchanged meanwhile.

        Raises:
            StoreError: the index is of that space, another process has it open, or the folder cannot be written.
        """
        with _locked_folder(folder) as lock:
            index = read_description(folder) or (recover_description(folder) if undescribed_shards(folder) else None)
            if index and index.space == space:
                raise StoreError(f"The index at {folder} holds embeddings of {space} already.")
            store = cls(folder, Description(space, model, dimension, phonetic, turn=0), lock)
            if not store._resume():
                store._make()
            store._share()
        return store

    def _resume(self) -> bool:
        """Continue with a staged shard; False where there is none, a different one, or one that was once the index."""
        description = read_shard(self._engine.shard)
        if description is None or description.turn or description.phonetic != self.phonetic:
            return False
        try:
            self.count()
        except StoreError:
            self._engine.unload()
            return False
        self._description.write_shard(self._engine.shard)
        return True

    def _make(self) -> None:
        """Create the shard in place of an existing one, under another name until all of it is on disk."""
        check_free_space(self.folder)
        new = self._engine.shard.with_name(self._engine.shard.name + NEW)
        new.mkdir()
        shard = edge.EdgeShard.create(str(new), shard_config(self._description))
        for key in INTERNAL:
            shard.update(edge.UpdateOperation.create_field_index(key, FIELD_INDEXES["text"][1]))
        shard.flush()
        shard.close()
        self._description.write_shard(new)
        remove_shard(self._engine.shard)
        move(new, self._engine.shard)

    def add_phonetic(self, phonetic: PhoneticSpace) -> None:
        if self.phonetic is not None:
            raise StoreError(f"The index at {self.folder} holds phonetic embeddings of {self.phonetic.space} already.")
        parameters = (phonetic.dimension, edge.Distance.Cosine, None, edge.VectorStorageDatatype.Float16)
        self._engine.update(edge.UpdateOperation.create_dense_vector(PHONETIC, *parameters))
        self.flush()
        with engine_errors(self.folder):
            self._describe(replace(self._description, phonetic=phonetic))

    def promote(self) -> None:
        """Become the folder's index, in one step, and delete the former one.

        After a kill before that step promote() can be called again; after a kill behind it the next open() deletes the former.
        """
        self.flush()
        with engine_errors(self.folder):
            self._description = replace(self._description, turn=next_turn(self.folder))
            self._become_index()

    def _become_index(self) -> None:
        self._describe(self._description)
        remove_others(self.folder, self._description)

    def _describe(self, description: Description) -> None:
        description.write_shard(self._engine.shard)
        if description.turn:
            description.write_index(self.folder)
        self._description, self.phonetic = description, description.phonetic

    @classmethod
    def open(cls, folder: Path) -> "EdgeStore":
        """Open an existing index for writing, and repair what a kill or a power cut left; nothing is created.

        Raises:
            StoreError: there is none, it is damaged or of another format, or another process has it open.
        """
        expect_index(folder)
        with released_on_error(take_lock(folder)) as lock:
            store = cls(folder, read_description(folder) or recover_description(folder), lock)
            if todo := repairs(folder, store._description):
                store.count()  # a shard that does not open is left unchanged
                for repair in todo:
                    repair()
            store._share()
        return store

    @classmethod
    def read(cls, folder: Path, *, for_long: bool = False) -> "EdgeStore":
        """Open an existing index for reading, as it was flushed last, also beside a run that writes it.

        Args:
            folder: of the index. It may be unwritable, and its disk full.
            for_long: read a private copy, which keeps no other process waiting.

        Raises:
            StoreError: there is none, or it is damaged or of another format.
        """
        expect_index(folder)
        description = read_description(folder)
        if description is None:
            with cls.open(folder) as recovered:
                description = recovered._description
        store = cls(folder, description, None)
        if for_long:
            store._read_private_copy()
        return store

    def _share(self) -> None:
        """Let others read the index while this store writes it."""
        self._publisher = Publisher(self.folder, self._engine.exclusive, self._flush_loaded)

    def _begin_reading(self) -> None:
        """Take the lock of the index, or of a copy that is read in its place."""
        if self._lock:
            return
        try:
            check_free_space(self.folder)
            place, lock = lock_for_reading(self.folder)
        except (LowSpaceError, OSError):  # the engine writes into the folders that it reads
            return self._read_private_copy()
        with released_on_error(lock):
            self._read_at(place)
        self._lock = lock

    def _read_private_copy(self) -> None:
        place, self._lock = private_copy(self.folder)
        self._is_private = True
        try:
            self._read_at(place)
        except BaseException:
            self.close()
            raise

    def _read_at(self, place: Path) -> None:
        found = read_description(place)
        if found is None or found.space != self.space:
            raise StoreError(f"The index at {self.folder} has just been made anew. Run the same command again.")
        self._place, self._engine.shard = place, place / found.shard

    @staticmethod
    def exists(folder: Path) -> bool:
        """Return whether there is an index in a folder, intact or not; nothing is written.

        Raises:
            StoreError: there is an index of another format, or something else that must not be overwritten.
        """
        return read_description(folder) is not None or bool(undescribed_shards(folder))

    @staticmethod
    def revision(folder: Path) -> tuple[int, ...]:
        """Return a value that changes when a run changes the index of a folder; () where there is none."""
        with suppress(StoreError, OSError):
            if index := read_description(folder):
                shard = folder / index.shard
                files = (folder / INDEX, shard / SHARD_DESCRIPTION, *sorted(folder.glob(f"{shard.name}-*{CACHE}")))
                return tuple(file.stat().st_mtime_ns for file in files if file.exists())
        return ()

    def __enter__(self) -> "EdgeStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        with self._engine.exclusive:  # readers see all points or none
            for portion in in_portions(points):
                built = [edge.Point(point.id, {**point.vectors}, with_path_text(point.payload, path_text)) for point in portion]
                self._engine.update(edge.UpdateOperation.upsert_points(built))
        self._fields.count_written(len(points))

    def set_payload(self, where: Mapping[str, str], changes: Payload) -> None:
        changes = with_path_text(changes, path_text)
        self._engine.update(edge.UpdateOperation.set_payload_by_filter(equals(where), changes))

    def update_payload(self, ids: Sequence[str], key: str, changes: Payload) -> None:
        self._engine.update(edge.UpdateOperation.set_payload(list(ids), changes, key))

    def delete_values(self, key: str) -> None:
        self._engine.update(edge.UpdateOperation.delete_payload_by_filter(edge.Filter(), [key]))

    def delete(self, where: Mapping[str, str]) -> None:
        self._engine.update(edge.UpdateOperation.delete_points_by_filter(equals(where)))

    def ensure_fields(self, fields: Mapping[str, str]) -> None:
        self._fields.ensure(fields)

    def remove_fields(self, keys: Sequence[str]) -> None:
        self._fields.remove(keys)

    def schema(self) -> dict[str, str]:
        return {key: kind for key, kind in self._fields.kinds().items() if key not in INTERNAL}

    def payloads(self, kind: str, keys: Sequence[str]) -> Iterator[Payload]:
        for record in self._engine.scroll({KIND: kind}, with_payload=edge.PayloadSelector.Include(list(keys))):
            yield record.payload or {}

    def points(self, where: Mapping[str, str]) -> Iterator[Point]:
        return map(as_point, self._engine.scroll(where, with_payload=True, with_vector=True))

    def query(
        self,
        target: np.ndarray | DiscoveryQuery,
        limit: int,
        where: Filter = MATCH_ALL,
        *,
        vectors: bool = False,
        phonetic: bool = False,
    ) -> list[ScoredPoint]:
        request = edge.QueryRequest(
            limit=limit,
            query=query_of(target, PHONETIC if phonetic else None),
            filter=self._render(where),
            params=edge.SearchParams(hnsw_ef=max(BREADTH, limit)),
            with_payload=edge.PayloadSelector.Exclude([PATH_TEXT] if phonetic else [PATH_TEXT, POSTERIORGRAM]),
            with_vector=[VOICE] if vectors else False,
        )
        return [as_scored_point(point) for point in self._engine.call(lambda shard: shard.query(request))]

    def sample_vectors(self, count: int) -> np.ndarray:
        return as_matrix(self._engine.scroll(CLIPS, with_vector=[VOICE]), count)

    def retrieve(self, ids: Sequence[str]) -> list[Point]:
        found = self._engine.call(lambda shard: shard.retrieve(list(ids), with_payload=True, with_vector=True))
        return [as_point(record) for record in found]

    def facet(self, field: str, where: Filter = MATCH_ALL, *, exact: bool = True) -> dict[str, int]:
        return self.facets([field], where, exact=exact)[field]

    def facets(
        self,
        fields: Sequence[str],
        where: Filter = MATCH_ALL,
        *,
        exact: bool = True,
    ) -> dict[str, dict[str, int]]:
        del exact  # estimates are exact, see _count
        schema = self.schema()
        clips = self._for_counting(where, schema)

        def count(key: str, without: Sequence[str]) -> Counter[str]:
            return self._count(key, edge.Filter(must=[clips, *map(edge.IsEmptyCondition, without)]))

        return {field: count_field(field, schema, count) for field in fields}

    def _for_counting(self, where: Filter, schema: Mapping[str, str]) -> edge.Filter:
        """Render a filter in the fastest form for counting values: the ids of few clips, or a test of every clip."""
        among = self._render(where)
        if is_collected_fast(where, schema):
            return among
        request = edge.ScrollRequest(limit=FEW + 1, filter=edge.Filter(must=[equals(CLIPS), among]), with_payload=False)
        records, _ = self._engine.call(lambda shard: shard.scroll(request))
        if len(records) <= FEW:
            return edge.Filter(must=[edge.HasIdCondition({record.id for record in records})])
        return tested(among)

    def _count(self, key: str, among: edge.Filter) -> Counter[str]:
        """Count the clips that meet a filter by the value of a payload key.

        The engine's estimate takes one pass, and is exact while no optimiser runs beside it. Its exact mode counts each value
        separately: 100,000 values take 5 s instead of 0.5 s.
        """
        self._fields.index_deferred([key])
        clips = edge.Filter(must=[equals(CLIPS), among])
        request = edge.FacetRequest(key, limit=MOST_VALUES, exact=False, filter=clips)
        return Counter({str(hit.value): hit.count for hit in self._engine.call(lambda shard: shard.facet(request)).hits})

    def _render(self, where: Filter) -> edge.Filter:
        return render(where, self.schema(), EdgeTerms(self._count))

    def flush(self) -> None:
        self._engine.flush()

    def optimise(self) -> None:
        check_free_space(self.folder)
        if self._publisher and self.count() > SOON_OPTIMISED:
            self._publisher.publish()  # for those who read meanwhile
        with self._engine.exclusive:
            self._engine.optimise()
            self._fields.index_deferred()

    def cache_put(self, name: str, derive: Callable[[], Any], *, is_small: bool = False) -> None:
        del is_small  # data of any size is kept
        if self.cache_get(name) is not None:
            return
        self.flush()
        text = json.dumps(derive(), ensure_ascii=False).encode()
        with engine_errors(self.folder):
            replace_file(self._cache(name), _digest(text) + b"\n" + text)

    def cache_get(self, name: str) -> Any:
        try:
            digest, _, text = self._cache(name).read_bytes().partition(b"\n")
        except OSError:
            return None
        return json.loads(text) if digest == _digest(text) else None

    def count(self, kind: str = CLIP, where: Filter = MATCH_ALL) -> int:
        among = equals({KIND: kind}) if where == MATCH_ALL else edge.Filter(must=[equals({KIND: kind}), self._render(where)])
        return self._engine.call(lambda shard: shard.count(edge.CountRequest(filter=among, exact=True)))

    def close(self) -> None:
        lock, self._lock = self._lock, None
        if lock is None:
            return
        with released_on_error(lock):
            if self._publisher:
                self._publisher.close()
            self._engine.close()
        if self._is_private:
            remove_copy(self._place, lock)
        lock.release()

    def _flush_loaded(self) -> None:
        """Write to disk what this process has changed."""
        if self._engine.is_loaded:
            self.flush()

    def _drop_cache(self) -> None:
        """Remove cached data, durably, before the index changes."""
        remove_files(self._place, self._cache("*").name)

    def _cache(self, name: str) -> Path:
        return self._place / f"{self._description.shard}-{name}{CACHE}"


@contextmanager
def _locked_folder(folder: Path) -> Iterator[FileLock]:
    """Create a folder if needed and lock it; what an interrupted creation left there is removed."""
    try:
        make_folder(folder)
    except OSError as error:
        reason = f"The index folder {folder} cannot be made ({error.strerror})."
        raise StoreError(f"{reason} Choose another with --index, or move all with VOXDEX_HOME.") from error
    with released_on_error(take_lock(folder)) as lock, engine_errors(folder):
        remove_leftovers(folder)
        yield lock


def _digest(text: bytes) -> bytes:
    """Return the checksum of cached data."""
    return sha256(text).hexdigest().encode()
