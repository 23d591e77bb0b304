"""The engine of an embedded index: one shard of Qdrant Edge, its filter terms and its field indexes."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from threading import Lock, RLock
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as edge

from voxdex.encoders.paths import read_json, replace_file
from voxdex.indexer.store.base import GRAPH, KIND, PHONETIC, VOICE, DiscoveryQuery, rare_tags
from voxdex.indexer.store.files import check_free_space
from voxdex.indexer.store.patterns import PATH, PATH_TEXT
from voxdex.indexer.store.shards import Description, engine_errors

CONFIG = "edge_config.json"
"""The engine's settings, in the folder of the shard."""
OPTIMISERS = edge.EdgeOptimizersConfig(indexing_threshold=20_000)
"""Size in kilobytes above which vectors get a graph and their fields go to disk (20,000 clips of 256 dimensions). Below it a
scan is as fast, and the fields are in memory, 6 KB per clip."""
DEFERRED = "fields.json"
"""Fields whose index is deferred, with their kinds; in the folder of the shard."""
MOST_INDEXED = 20_000
"""Points written with immediate field indexing, which takes memory. For more, indexing is deferred to optimise(), where each
field takes one more pass over all points."""
FIELD_INDEXES: "dict[str, tuple[edge.PayloadSchemaType, edge.PayloadSchemaParams]]" = {
    "text": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams(on_disk=True)),
    "number": (edge.PayloadSchemaType.Float, edge.FloatIndexParams(on_disk=True)),
    "date": (edge.PayloadSchemaType.Datetime, edge.DatetimeIndexParams(on_disk=True)),
    "words": (
        edge.PayloadSchemaType.Text,
        edge.TextIndexParams(
            tokenizer=edge.TokenizerType.Multilingual, lowercase=True, ascii_folding=True, phrase_matching=True, on_disk=True
        ),
    ),
}
"""The engine's type and index of each kind of field. On disk: dozens of fields would fill the memory."""

Answer = TypeVar("Answer")


class EdgeEngine:
    """A shard of Qdrant Edge, started on first use.

    Args:
        folder: folder of the index, for messages and free space.
        shard: folder of the shard.
        config: settings of the shard, for one that has lost its own; None where they are unknown.
        on_start: called before the shard is opened; may set `shard`.
        on_change: called before every change.
    """

    def __init__(
        self,
        folder: Path,
        shard: Path,
        config: edge.EdgeConfig | None,
        on_start: Callable[[], object],
        on_change: Callable[[], object],
    ) -> None:
        self.folder, self.shard, self.exclusive = folder, shard, RLock()
        self._config, self._on_start, self._on_change = config, on_start, on_change
        self._is_flushed = False

    @cached_property
    def _loaded(self) -> edge.EdgeShard:
        self._on_start()
        with engine_errors(self.folder):
            file = self.shard / CONFIG
            if self._config and self.shard.exists() and read_json(file) is None:
                file.unlink(missing_ok=True)
                return edge.EdgeShard.load(str(self.shard), self._config)
            return edge.EdgeShard.load(str(self.shard))

    @property
    def is_loaded(self) -> bool:
        """Whether the engine was started."""
        return "_loaded" in vars(self)

    def unload(self) -> None:
        """Forget a shard that could not be loaded or read."""
        vars(self).pop("_loaded", None)

    def call(self, method: Callable[[edge.EdgeShard], Answer]) -> Answer:
        """Return what a method of the shard returns; raises StoreError where the engine fails."""
        with engine_errors(self.folder):
            return method(self._loaded)

    def update(self, operation: edge.UpdateOperation) -> None:
        """Change points or indexes; raises StoreError where the disk is nearly full."""
        check_free_space(self.shard)
        with self.exclusive, engine_errors(self.folder):
            self._on_change()
            self._is_flushed = False
            self._loaded.update(operation)

    def scroll(self, where: Mapping[str, str], **wanted: Any) -> Iterator[edge.Record]:
        """Yield the records whose payload equals `where` at its keys."""
        offset: edge.PointId | None = None
        while True:
            records, offset = self._page(edge.ScrollRequest(offset=offset, limit=1000, filter=equals(where), **wanted))
            yield from records
            if offset is None:
                return

    def _page(self, request: edge.ScrollRequest) -> "tuple[list[edge.Record], edge.PointId | None]":
        return self.call(lambda shard: shard.scroll(request))

    def flush(self) -> None:
        """Write everything to disk that was not written yet."""
        with self.exclusive:
            if not self._is_flushed:
                self.call(lambda shard: shard.flush())
                self._is_flushed = True

    def optimise(self) -> None:
        """Build the search indexes."""
        with self.exclusive:
            self._is_flushed = False
            self.call(lambda shard: shard.optimize())

    def close(self) -> None:
        """Write everything to disk and end the engine, if it was started."""
        if self.is_loaded:
            with engine_errors(self.folder):
                self._loaded.flush()
                self._loaded.close()


class FieldIndexes:
    """The field indexes of a shard.

    After MOST_INDEXED points, new indexes are deferred to index_deferred(): the engine keeps the indexes of points that are not
    optimised in memory, 6 KB per clip. Until then filters compare payloads, and a field whose values are counted is indexed.
    """

    def __init__(self, engine: EdgeEngine, on_change: Callable[[], object]) -> None:
        self._engine, self._on_change, self._lock, self._written = engine, on_change, Lock(), 0

    def kinds(self) -> dict[str, str]:
        """Return all payload keys with an index, deferred ones too, with their kinds."""
        return self._deferred | self._indexed()

    def ensure(self, fields: Mapping[str, str]) -> None:
        """Index the fields that have no index, now or later."""
        known = self.kinds() if fields else {}
        new = {key: kind for key, kind in fields.items() if key not in known}
        late = rare_tags(new, known) if self._written <= MOST_INDEXED else list(new)
        for key in (key for key in new if key not in late):
            self._index(key, new[key])
        if late:
            self._on_change()
            self._defer(self._deferred | {key: new[key] for key in late})

    def remove(self, keys: Iterable[str]) -> None:
        """Remove fields and their indexes."""
        indexed = self._indexed()
        for key in keys:
            if key in indexed:
                self._engine.update(edge.UpdateOperation.delete_field_index(key))
        if left := self._deferred.keys() & set(keys):
            self._on_change()
            self._defer({key: kind for key, kind in self._deferred.items() if key not in left})

    def count_written(self, points: int) -> None:
        """Add to the number of points written; beyond MOST_INDEXED existing indexes are dropped and deferred."""
        before, self._written = self._written, self._written + points
        if before <= MOST_INDEXED < self._written:
            indexed = {key: kind for key, kind in self._indexed().items() if key not in (KIND, "content")}
            self._defer(self._deferred | indexed)
            for key in indexed:
                self._engine.update(edge.UpdateOperation.delete_field_index(key))

    def index_deferred(self, keys: Iterable[str] | None = None) -> None:
        """Index deferred fields: those of `keys`, or all but rare tags."""
        with self._lock:
            rare = rare_tags(self._deferred, self._indexed()) if keys is None else []
            due = [key for key in (self._deferred if keys is None else keys) if key in self._deferred and key not in rare]
            for key in due:
                self._index(key, self._deferred[key])
            if due:
                self._engine.flush()
                self._defer({key: kind for key, kind in self._deferred.items() if key not in due})

    def _indexed(self) -> dict[str, str]:
        found = self._engine.call(lambda shard: shard.info()).payload_schema
        kinds = {str(type_): kind for kind, (type_, _) in FIELD_INDEXES.items()}
        return {key: kinds[str(info.data_type)] for key, info in found.items()}

    @cached_property
    def _deferred(self) -> dict[str, str]:
        found = read_json(self._engine.shard / DEFERRED)
        return {key: kind for key, kind in found.items() if kind in tuple(FIELD_INDEXES)} if isinstance(found, dict) else {}

    def _defer(self, fields: dict[str, str]) -> None:
        with engine_errors(self._engine.folder):
            replace_file(self._engine.shard / DEFERRED, json.dumps(fields))
        self._deferred = fields

    def _index(self, key: str, kind: str) -> None:
        self._engine.update(edge.UpdateOperation.create_field_index(key, FIELD_INDEXES[kind][1]))


class EdgeTerms:
    """The terms of the engine's filters; see filters.FilterBackend.

    Args:
        values: returns the values of a payload key among the clips that meet a filter.
    """

    def __init__(self, values: Callable[[str, edge.Filter], Iterable[str]]) -> None:
        self.values = values

    def containing(self, key: str, text: str) -> edge.Filter | None:
        if key != PATH:
            return None
        return edge.Filter(must=[edge.FieldCondition(PATH_TEXT, match=edge.MatchSubstring(text))])

    def saying(self, key: str, text: str, *, is_phrase: bool) -> edge.Filter:
        match = edge.MatchPhrase(text) if is_phrase else edge.MatchText(text)
        return edge.Filter(must=[edge.FieldCondition(key, match=match)])

    def one_of(self, key: str, values: Sequence[str]) -> edge.Filter:
        return edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchAny(list(values)))])

    def within(self, key: str, bounds: Mapping[str, float]) -> edge.Filter:
        return edge.Filter(must=[edge.FieldCondition(key, range=edge.RangeFloat(**bounds))])

    def dated(self, key: str, bounds: Mapping[str, datetime]) -> edge.Filter:
        times = {name: time.isoformat() for name, time in bounds.items()}
        return edge.Filter(must=[edge.FieldCondition(key, range=edge.RangeDateTime(**times))])

    def with_ids(self, ids: Sequence[str]) -> edge.Filter:
        return edge.Filter(must=[edge.HasIdCondition(set(ids))])

    def is_empty(self, key: str) -> edge.Filter:
        return edge.Filter(must=[edge.IsEmptyCondition(key)])

    def join(
        self,
        *,
        must: Sequence[edge.Filter] | None = None,
        should: Sequence[edge.Filter] | None = None,
        must_not: Sequence[edge.Filter] | None = None,
    ) -> edge.Filter:
        return edge.Filter(must=_conditions(must), should=_conditions(should), must_not=_conditions(must_not))


def _conditions(terms: Sequence[edge.Filter] | None) -> "list[edge.ConditionType] | None":
    return None if terms is None else list(terms)


def equals(where: Mapping[str, str]) -> edge.Filter:
    """Return the filter for payloads with these values at these keys."""
    return edge.Filter(must=[edge.FieldCondition(key, match=edge.MatchValue(value)) for key, value in where.items()])


def tested(among: edge.Filter) -> edge.Filter:
    """Negate a filter twice: the engine then tests it on every clip instead of collecting the points that match it first.

    Counting a field's values among 40,000 of 100,000 clips, those of a range of dates, takes 11 ms instead of 68.
    """
    return edge.Filter(must_not=[edge.Filter(must_not=[among])])


def query_of(target: np.ndarray | DiscoveryQuery, using: str | None) -> edge.Query:
    """Return a query of the named vector, None for the voice's, as the engine takes it."""
    if not isinstance(target, DiscoveryQuery):
        return edge.Query.Nearest(target.tolist(), using)
    pairs = [edge.ContextPair(near.tolist(), far.tolist()) for near, far in target.pairs]
    return edge.Query.Discover(edge.DiscoverQuery(target.target.tolist(), pairs))


def shard_config(description: Description) -> edge.EdgeConfig:
    """Return the engine's settings for a shard: phonetic vectors are float16."""
    vectors = {VOICE: edge.EdgeVectorParams(size=description.dimension, distance=edge.Distance.Cosine)}
    if description.phonetic:
        half, dimension = edge.VectorStorageDatatype.Float16, description.phonetic.dimension
        vectors[PHONETIC] = edge.EdgeVectorParams(size=dimension, distance=edge.Distance.Cosine, datatype=half)
    return edge.EdgeConfig(vectors=vectors, hnsw_config=edge.HnswIndexConfig(**GRAPH), optimizers=OPTIMISERS)
