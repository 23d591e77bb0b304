"""Collections in Qdrant Edge, the engine of a Qdrant server, with requests and answers in the JSON of its REST interface.

Nothing is optimised, so that all searches are exact: graphs and quantisation are accepted and shown, and never built.
"""

import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from tests.fakes.qdrant.terms import (
    Json,
    Refused,
    filter_of,
    index_of,
    listed,
    order_of,
    point_id,
    point_of,
    points_of,
    selector_of,
    type_of,
    unreadable,
    vector_of,
    vectors_of,
    without_none,
)

Update = edge.UpdateOperation

COLLECTION = {
    "params": {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True},
    "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000, "max_indexing_threads": 0, "on_disk": False},
    "optimizer_config": {
        "deleted_threshold": 0.2,
        "vacuum_min_vector_number": 1000,
        "default_segment_number": 0,
        "max_segment_size": None,
        "memmap_threshold": None,
        "indexing_threshold": 10_000,
        "flush_interval_sec": 5,
        "max_optimization_threads": None,
        "prevent_unoptimized": None,
    },
    "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
    "quantization_config": None,
    "strict_mode_config": {"enabled": False},
}
"""Default settings of a collection, as in the configuration of the server."""


@dataclass
class Collection:
    """A collection with one shard in a folder. indexes: the request that created each, by payload key."""

    folder: Path
    config: Json
    shard: edge.EdgeShard
    indexes: Json = field(default_factory=dict)
    operations: int = 0

    @classmethod
    def create(cls, folder: Path, wish: Json) -> "Collection":
        """Create a collection. wish: the body of the request."""
        named = vectors_of(wish.get("vectors"))
        kept = edge.EdgeConfig(vectors={name: vector_of(params) for name, params in named.items()}, wal_enabled=False)
        config = {name: dict(value) if value else value for name, value in COLLECTION.items()}
        config["params"]["vectors"] = without_none(wish.get("vectors") or {})
        collection = cls(folder, config, edge.EdgeShard.create(str(folder), kept))
        collection.change({**wish, "params": {name: wish.get(name) for name in config["params"] if name != "vectors"}})
        return collection

    def change(self, wish: Json) -> bool:
        """Apply the settings of a request."""
        for name, given in (
            ("params", wish.get("params")),
            ("hnsw_config", wish.get("hnsw_config")),
            ("optimizer_config", wish.get("optimizers_config")),
            ("wal_config", wish.get("wal_config")),
            ("strict_mode_config", wish.get("strict_mode_config")),
        ):
            self.config[name] |= without_none(given or {})
        if wish.get("quantization_config"):
            self.config["quantization_config"] = without_none(wish["quantization_config"])
        return True

    def info(self) -> Json:
        known = self.shard.info()
        schema = {}
        for key, wish in self.indexes.items():
            told = {"data_type": type_of(wish), "points": known.payload_schema[key].points}
            schema[key] = told if isinstance(wish, str) else told | {"params": without_none(wish)}
        return {
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": known.indexed_vectors_count,
            "points_count": known.points_count,
            "segments_count": known.segments_count,
            "config": self.config,
            "payload_schema": schema,
            "update_queue": {"length": 0},
        }

    def update(self, *changes: Any) -> Json:
        for change in changes:
            self.shard.update(change)
        self.operations += 1
        return {"operation_id": self.operations, "status": "completed"}

    def create_index(self, wish: Json) -> Json:
        key, schema = wish["field_name"], wish.get("field_schema") or wish.get("field_type")
        done = self.update(Update.create_field_index(key, index_of(schema)))
        self.indexes[key] = schema
        return done

    def drop_index(self, key: str) -> Json:
        if self.indexes.pop(key, None) is None:
            return self.update()
        return self.update(Update.delete_field_index(key))

    def upsert(self, wish: Json) -> Json:
        return self.update(
            Update.upsert_points([point_of(point) for point in points_of(wish)], self._filter(wish.get("update_filter")))
        )

    def update_vectors(self, wish: Json) -> Json:
        changed = [edge.PointVectors(point_id(point["id"]), point["vector"]) for point in wish["points"]]
        return self.update(Update.update_vectors(changed, self._filter(wish.get("update_filter"))))

    def delete_vectors(self, wish: Json) -> Json:
        return self.update(self._on(wish, Update.delete_vectors, Update.delete_vectors_by_filter, wish["vector"]))

    def delete(self, wish: Json) -> Json:
        return self.update(self._on(wish, Update.delete_points, Update.delete_points_by_filter))

    def set_payload(self, wish: Json) -> Json:
        way = Update.set_payload, Update.set_payload_by_filter
        return self.update(self._on(wish, *way, wish["payload"], wish.get("key")))

    def overwrite_payload(self, wish: Json) -> Json:
        way = Update.overwrite_payload, Update.overwrite_payload_by_filter
        return self.update(self._on(wish, *way, wish["payload"], wish.get("key")))

    def delete_payload(self, wish: Json) -> Json:
        return self.update(self._on(wish, Update.delete_payload, Update.delete_payload_by_filter, wish["keys"]))

    def clear_payload(self, wish: Json) -> Json:
        return self.update(self._on(wish, Update.clear_payload, Update.clear_payload_by_filter))

    def _filter(self, document: Json | None) -> edge.Filter | None:
        return filter_of(document, [key for key, schema in self.indexes.items() if type_of(schema) == "text"])

    def _on(self, wish: Json, by_ids: Any, by_filter: Any, *rest: Any) -> Any:
        """Change the points of a request, given by ids or by a filter."""
        if wish.get("points") is not None:
            return by_ids([point_id(id) for id in wish["points"]], *rest)
        if wish.get("filter") is None:
            raise unreadable(wish)
        return by_filter(self._filter(wish["filter"]) or edge.Filter(), *rest)

    def retrieve(self, wish: Json) -> list[Json]:
        ids = [point_id(id) for id in wish["ids"]]
        found = self.shard.retrieve(
            ids, selector_of(wish.get("with_payload"), True), selector_of(wish.get("with_vector"), False)
        )
        return [record_of(record) for record in found]

    def point(self, id: int | str) -> Json:
        if not (found := self.retrieve({"ids": [id], "with_vector": True})):
            raise Refused(404, f"Not found: Point with id {id} does not exists!")
        return found[0]

    def scroll(self, wish: Json) -> Json:
        order = wish.get("order_by")
        found, following = self.shard.scroll(
            edge.ScrollRequest(
                offset=None if wish.get("offset") is None else point_id(wish["offset"]),
                limit=wish.get("limit") or 10,
                filter=self._filter(wish.get("filter")),
                with_payload=selector_of(wish.get("with_payload"), True),
                with_vector=selector_of(wish.get("with_vector"), False),
                order_by=order_of(order) if order else None,
            )
        )
        following = str(following) if isinstance(following, uuid.UUID) else following
        return {"points": [record_of(record) for record in found], "next_page_offset": following}

    def count(self, wish: Json) -> Json:
        exact = wish.get("exact") is not False
        return {"count": self.shard.count(edge.CountRequest(exact=exact, filter=self._filter(wish.get("filter"))))}

    def facet(self, wish: Json) -> Json:
        asked = edge.FacetRequest(
            wish["key"], limit=wish.get("limit") or 10, exact=bool(wish.get("exact")), filter=self._filter(wish.get("filter"))
        )
        return {"hits": [{"value": hit.value, "count": hit.count} for hit in self.shard.facet(asked).hits]}

    def query(self, wish: Json) -> Json:
        params, using = wish.get("params") or {}, wish.get("using") or ""
        mentioned: list[int | str] = []
        query = self._query_of(wish.get("query"), using, mentioned)
        filter = self._filter(wish.get("filter"))
        if mentioned:
            filter = edge.Filter(must=[filter] if filter else None, must_not=[edge.HasIdCondition(set(mentioned))])
        request = edge.QueryRequest(
            limit=wish["limit"] if wish.get("limit") is not None else 10,
            offset=wish.get("offset") or 0,
            query=query,
            filter=filter,
            score_threshold=wish.get("score_threshold"),
            params=edge.SearchParams(hnsw_ef=params.get("hnsw_ef"), exact=bool(params.get("exact"))),
            with_payload=selector_of(wish.get("with_payload"), False),
            with_vector=selector_of(wish.get("with_vector"), False),
        )
        return {"points": [record_of(point) for point in self.shard.query(request)]}

    def query_batch(self, wish: Json) -> list[Json]:
        return [self.query(each) for each in wish["searches"]]

    def _query_of(self, wish: Any, using: str, mentioned: list[int | str]) -> Any:
        """Convert a query. mentioned: receives the ids of points whose vectors it uses."""

        def vector(given: Any) -> list[float]:
            if isinstance(given, list):
                return given
            mentioned.append(point_id(given))
            found = self.shard.retrieve(mentioned[-1:], False, [using])
            if not found:
                raise Refused(404, f"Not found: No point with id {given} found")
            vector = found[0].vector
            if not (known := vector.get(using) if isinstance(vector, dict) else vector):
                raise Refused(400, f"Wrong input: Vector with name {using} not found")  # in words of our own
            return known

        def pairs_of(pairs: Any) -> list[edge.ContextPair]:
            return [edge.ContextPair(vector(pair["positive"]), vector(pair["negative"])) for pair in listed(pairs or [])]

        match wish:
            case None:
                return None
            case {"nearest": near}:
                return edge.Query.Nearest(vector(near), using)
            case {"discover": {"target": target, "context": pairs}}:
                return edge.Query.Discover(edge.DiscoverQuery(vector(target), pairs_of(pairs)), using)
            case {"context": pairs}:
                return edge.Query.Context(edge.ContextQuery(pairs_of(pairs)), using)
            case {"order_by": order}:
                return order_of(order)
            case {"sample": "random"}:
                return edge.Sample.Random
            case dict():
                raise Refused(501, f"The double of a server does not answer queries of {', '.join(wish)}.")
        return edge.Query.Nearest(vector(wish), using)

    def drop(self) -> None:
        self.shard.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def record_of(record: Any) -> Json:
    """A point in the form of the server's answers."""
    told = {"id": record.id if isinstance(record.id, int) else str(record.id)}
    if hasattr(record, "score"):
        told |= {"version": record.version, "score": record.score}
    told |= {"payload": record.payload, "vector": record.vector}
    return {name: value for name, value in told.items() if value is not None}
