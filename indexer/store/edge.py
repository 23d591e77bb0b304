"""The embedded store: Qdrant Edge, Qdrant's own engine inside this process, in one folder.

The folder holds index.json (format, space, model), a lock and the engine's shard. Only one process may have the shard
open, and the engine is damaged by a second opener, so the lock is taken before it is touched.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import qdrant_edge as edge
from filelock import FileLock, Timeout

from indexer.store.base import Hit, Payload, Point, StoreError
from indexer.store.filters import Condition, as_number

FORMAT = 1
LOCK_SECONDS = 5.0
SCHEMA = {"text": edge.PayloadSchemaType.Keyword, "number": edge.PayloadSchemaType.Float}
INTERNAL = ("content", "files[].path")
LAYERS = ("metadata", "attributes")


class EdgeStore:
    """An index in a folder. Use create() or open(), and close() it, or use it as a context manager."""

    def __init__(self, folder: Path, lock: FileLock, shard: edge.EdgeShard, space: str, model: str) -> None:
        self.folder, self.space, self.model = folder, space, model
        self._lock, self._shard = lock, shard

    @classmethod
    def create(cls, folder: Path, space: str, model: str, dimension: int) -> "EdgeStore":
        """Makes a new, empty index.

        Raises:
            StoreError: another process has it open, or the folder cannot be written.
        """
        try:
            (folder / "shard").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The index folder {folder} cannot be made ({error.strerror}). Choose another with --index."
            ) from error
        lock = _locked(folder)
        config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine))
        store = cls(folder, lock, edge.EdgeShard.create(str(folder / "shard"), config), space, model)
        for key in INTERNAL:
            store.declare(key, "text")
        (folder / "index.json").write_text(json.dumps({"format": FORMAT, "space": space, "model": model}) + "\n")
        return store

    @classmethod
    def open(cls, folder: Path) -> "EdgeStore":
        """Opens an index that exists.

        Raises:
            StoreError: there is none, it is damaged or of another format, or another process has it open.
        """
        try:
            about = json.loads((folder / "index.json").read_text())
        except FileNotFoundError:
            raise StoreError(f"There is no index at {folder}. Make one: voxdex index FOLDER_OF_RECORDINGS.") from None
        except (OSError, json.JSONDecodeError) as error:
            raise StoreError(f"{folder / 'index.json'} cannot be read ({error}). Delete {folder} and index again.") from error
        if about.get("format") != FORMAT:
            raise StoreError(
                f"The index at {folder} is of format {about.get('format')}; this Voxdex reads {FORMAT}. Index again."
            )
        lock = _locked(folder)
        try:
            shard = edge.EdgeShard.load(str(folder / "shard"))
        except Exception as error:  # the engine raises bare Exception
            lock.release()
            raise StoreError(f"The index at {folder} cannot be opened ({error}). Delete the folder and index again.") from error
        return cls(folder, lock, shard, about["space"], about["model"])

    def __enter__(self) -> "EdgeStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def upsert(self, points: Sequence[Point]) -> None:
        for point in points:
            if not np.isfinite(point.vector).all():
                raise StoreError(f"The embedding of {point.payload.get('recording')} holds values that are not numbers.")
        batch = [edge.Point(point.id, point.vector.tolist(), point.payload) for point in points]
        self._shard.update(edge.UpdateOperation.upsert_points(batch))

    def set_payload(self, key: str, value: str, changes: Payload) -> None:
        self._shard.update(edge.UpdateOperation.set_payload_by_filter(_equals(key, value), changes))

    def delete(self, key: str, value: str) -> None:
        self._shard.update(edge.UpdateOperation.delete_points_by_filter(_equals(key, value)))

    def declare(self, key: str, kind: str) -> None:
        if key not in self._shard.info().payload_schema:
            self._shard.update(edge.UpdateOperation.create_field_index(key, SCHEMA[kind]))

    def fields(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        keys = [key for key in self._shard.info().payload_schema if key not in INTERNAL]
        for key in sorted(keys, key=lambda key: LAYERS.index(key.split(".")[0]) if key.split(".")[0] in LAYERS else -1):
            names.setdefault(key.split(".", 1)[-1], []).append(key)
        return names

    def payloads(self, keys: Sequence[str]) -> Iterator[Payload]:
        offset = None
        while True:
            request = edge.ScrollRequest(offset=offset, limit=1000, with_payload=edge.PayloadSelector.Include(list(keys)))
            records, offset = self._shard.scroll(request)
            yield from (record.payload or {} for record in records)
            if offset is None:
                return

    def query(self, vector: np.ndarray, limit: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        fields = self.fields() if conditions else {}
        where = edge.Filter(must=[_render(condition, fields[condition.field]) for condition in conditions])
        nearest = edge.Query.Nearest(vector.tolist())
        request = edge.QueryRequest(limit=limit, query=nearest, filter=where if conditions else None, with_payload=True)
        return [Hit(str(point.id), point.score, point.payload or {}) for point in self._shard.query(request)]

    def count(self) -> int:
        return self._shard.info().points_count

    def close(self) -> None:
        if not self._lock.is_locked:
            return
        self._shard.flush()
        self._shard.close()
        self._lock.release()


def _locked(folder: Path) -> FileLock:
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StoreError(f"The index at {folder} is in use by another Voxdex process. Wait until it is done.") from None
    except OSError as error:
        raise StoreError(f"The index at {folder} cannot be locked ({error.strerror}): it must be writable.") from error
    return lock


def _equals(key: str, value: str) -> edge.Filter:
    return edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchValue(value))])


def _render(condition: Condition, keys: Sequence[str]) -> edge.Filter:
    """A condition on the first of `keys` that a point has."""
    alternatives = []
    for place, key in enumerate(keys):
        absent = [edge.IsEmptyCondition(earlier) for earlier in keys[:place]]
        alternatives.append(edge.Filter(must=[*absent, _on_key(condition, key)]))
    return edge.Filter(should=alternatives)


def _on_key(condition: Condition, key: str) -> edge.Filter:
    if condition.operator in ("=", "!="):
        numbers = [number for value in condition.values if (number := as_number(value)) is not None]
        same = [edge.FieldCondition(key, match=edge.MatchAny(list(condition.values)))]
        same += [edge.FieldCondition(key, range=edge.RangeFloat(gte=number, lte=number)) for number in numbers]
        if condition.operator == "=":
            return edge.Filter(should=same)
        return edge.Filter(must_not=[*same, edge.IsEmptyCondition(key)])
    bound = {"<": "lt", ">": "gt", "<=": "lte", ">=": "gte"}[condition.operator]
    return edge.Filter(must=[edge.FieldCondition(key, range=edge.RangeFloat(**{bound: condition.number}))])
