"""Conversion of the JSON of a Qdrant server's REST interface to the types of Qdrant Edge, the engine of that server."""

import uuid
from collections.abc import Collection
from typing import Any

import numpy as np
import qdrant_edge as edge

Json = dict[str, Any]

INDEXES: dict[str, tuple[Any, Any]] = {
    "keyword": (edge.PayloadSchemaType.Keyword, edge.KeywordIndexParams),
    "integer": (edge.PayloadSchemaType.Integer, edge.IntegerIndexParams),
    "float": (edge.PayloadSchemaType.Float, edge.FloatIndexParams),
    "bool": (edge.PayloadSchemaType.Bool, edge.BoolIndexParams),
    "datetime": (edge.PayloadSchemaType.Datetime, edge.DatetimeIndexParams),
    "uuid": (edge.PayloadSchemaType.Uuid, edge.UuidIndexParams),
    "text": (edge.PayloadSchemaType.Text, edge.TextIndexParams),
}
"""Types of payload indexes: the engine's name of each, and its parameters."""
MATCHES = {
    "value": edge.MatchValue,
    "any": edge.MatchAny,
    "except": edge.MatchExcept,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "prefix": edge.MatchPrefix,
}


class Refused(Exception):
    """A request that the server refuses. status: of HTTP. retry_after: seconds, where the server says so."""

    def __init__(self, status: int, reason: str, retry_after: int | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.retry_after = status, reason, retry_after


def filter_of(document: Json | None, texts: Collection[str] = ()) -> edge.Filter | None:
    """Convert a filter. texts: payload keys with a text index."""
    if not document:
        return None
    clauses = {
        name: [condition_of(each, texts) for each in listed(document[name])]
        for name in ("must", "should", "must_not")
        if document.get(name) is not None
    }
    if (few := document.get("min_should")) is not None:
        conditions = [condition_of(each, texts) for each in few["conditions"]]
        clauses["min_should"] = edge.MinShould(conditions, few["min_count"])
    return edge.Filter(**clauses)


def listed(one_or_more: Any) -> list[Any]:
    """Conditions as a list: a request has a list, or a single one."""
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def condition_of(document: Json, texts: Collection[str]) -> Any:
    """Convert a condition."""
    match {name: value for name, value in document.items() if value is not None}:
        case {"key": key, "match": match} if key not in texts and (parts := parts_of(match)) is not None:
            return edge.Filter(should=[edge.FieldCondition(key, match=edge.MatchSubstring(part)) for part in parts])
        case {"key": key, "match": match}:
            return edge.FieldCondition(key, match=match_of(match))
        case {"key": key, "range": bounds}:
            return edge.FieldCondition(key, range=range_of(bounds))
        case {"key": key, "values_count": counts}:
            return edge.FieldCondition(key, values_count=edge.ValuesCount(**counts))
        case {"key": key, **rest} if rest.keys() & {"is_empty", "is_null"}:
            return edge.FieldCondition(key, **rest)
        case {"is_empty": {"key": key}}:
            return edge.IsEmptyCondition(key)
        case {"is_null": {"key": key}}:
            return edge.IsNullCondition(key)
        case {"has_id": ids}:
            return edge.HasIdCondition({point_id(id) for id in listed(ids)})
        case {"has_vector": name}:
            return edge.HasVectorCondition(name)
        case {"nested": {"key": key, "filter": inner}}:
            return edge.NestedCondition(key, filter_of(inner, texts))
        case {**clauses} if clauses.keys() <= {"must", "should", "must_not", "min_should"}:
            return filter_of(clauses, texts) or edge.Filter()
    raise unreadable(document)


def parts_of(document: Json) -> list[str] | None:
    """Search text for fields without a text index: Qdrant 1.18 compares letters there, the engine words."""
    whole = document.get("text") if document.get("phrase") is None else document["phrase"]
    if whole is not None:
        return [whole]
    return None if document.get("text_any") is None else document["text_any"].split()


def match_of(document: Json) -> Any:
    for name, kind in MATCHES.items():
        if document.get(name) is not None:
            wanted = document[name]
            return kind(np.bool_(wanted) if isinstance(wanted, bool) else wanted)  # a bool of Python's is taken for a number
    raise unreadable(document)


def range_of(document: Json) -> Any:
    bounds = {name: bound for name, bound in document.items() if bound is not None}
    return (edge.RangeDateTime if any(isinstance(bound, str) for bound in bounds.values()) else edge.RangeFloat)(**bounds)


def unreadable(document: Any) -> Refused:
    return Refused(400, f"Format error in JSON body: data did not match any variant of untagged enum: {document!r}")


def point_id(id: Any) -> int | str:
    """A point's id, which is a number or a UUID."""
    if type(id) is int and id >= 0:
        return id
    try:
        return str(uuid.UUID(id))
    except (ValueError, TypeError, AttributeError):
        reason = f"value {id} is not a valid point ID, valid values are either an unsigned integer or a UUID"
        raise Refused(400, f"Format error in JSON body: {reason}") from None


def selector_of(wanted: Any, default: bool) -> Any:
    """Payload keys, or vectors, to include in an answer."""
    match wanted:
        case None:
            return default
        case {"include": keys}:
            return edge.PayloadSelector.Include(keys)
        case {"exclude": keys}:
            return edge.PayloadSelector.Exclude(keys)
    return wanted


def type_of(schema: str | Json) -> str:
    """The type of a payload index: a request has the type alone, or parameters."""
    return schema if isinstance(schema, str) else schema["type"]


def index_of(schema: str | Json) -> Any:
    """Convert the parameters of a payload index."""
    if isinstance(schema, str):
        return INDEXES[schema][0]
    given = {name: value for name, value in schema.items() if name != "type" and value is not None}
    if "tokenizer" in given:
        given["tokenizer"] = getattr(edge.TokenizerType, given["tokenizer"].capitalize())
    if "memory" in given:
        given["memory"] = getattr(edge.Memory, given["memory"].capitalize())
    return INDEXES[schema["type"]][1](**given)


def vectors_of(wish: Json | None) -> dict[str, Json]:
    """Parameters of vectors by name; a single vector may be unnamed."""
    return {"": wish} if wish and isinstance(wish.get("size"), int) else wish or {}


def vector_of(params: Json) -> edge.EdgeVectorParams:
    kept = edge.VectorStorageDatatype
    datatype = {"float16": kept.Float16, "uint8": kept.Uint8}.get(params.get("datatype"), kept.Float32)
    return edge.EdgeVectorParams(size=params["size"], distance=getattr(edge.Distance, params["distance"]), datatype=datatype)


def points_of(wish: Json) -> list[Json]:
    """Points of a write request, given as a list or as columns."""
    if (batch := wish.get("batch")) is None:
        return wish["points"]
    count, vectors = len(batch["ids"]), batch["vectors"]
    if isinstance(vectors, dict):
        vectors = [dict(zip(vectors, row, strict=True)) for row in zip(*vectors.values(), strict=True)]
    payloads = batch.get("payloads") or [None] * count
    rows = zip(batch["ids"], vectors, payloads, strict=True)
    return [{"id": id, "vector": vector, "payload": payload} for id, vector, payload in rows]


def point_of(document: Json) -> edge.Point:
    return edge.Point(point_id(document["id"]), document.get("vector") or {}, document.get("payload") or {})


def order_of(order: Any) -> edge.OrderBy:
    if isinstance(order, str):
        return edge.OrderBy(order)
    way = edge.Direction.Desc if order.get("direction") == "desc" else edge.Direction.Asc
    return edge.OrderBy(order["key"], way, order.get("start_from"))


def without_none(document: Json) -> Json:
    """Values of a request, recursively."""
    return {
        name: without_none(value) if isinstance(value, dict) else value for name, value in document.items() if value is not None
    }
