"""Refusals of a Qdrant server in strict mode, worded as in Qdrant 1.18 (lib/collection/src/operations/verification there).

A real server estimates the sizes of collections every few requests; here they are exact.
"""

import math
import time
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np

from tests.fakes.qdrant.engine import Collection
from tests.fakes.qdrant.terms import Json, Refused, listed, points_of, vectors_of

ANY_INDEX = {
    "keyword",
    "keyword prefix",
    "integer",
    "integer range",
    "float",
    "bool",
    "uuid",
    "datetime",
    "geo",
    "text",
    "text phrase",
}
"""Operations of a payload index: a match of its type, or the operation after the type."""
UPDATES = {"/points/delete", "/points/payload", "/points/payload/delete", "/points/payload/clear", "/points/vectors/delete"}
"""Requests that change the points of a filter."""
SECONDS = 60.0
"""Rate limits of requests."""


def refuse(reason: str, help: str) -> Refused:
    return Refused(400, f"Bad request: {reason}. Help: {help}")


class Limits:
    """Strict mode of a collection, with counters of its rate limits."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[float, float, float]] = {}

    def check(self, collection: Collection, operation: str, wish: Json, writes: bool, timeout: int | None = None) -> None:
        """Check a request in the order of the real server.

        Args:
            operation: what of the collection is asked, as "/points/scroll".
            wish: the request's body.
            writes: whether it changes what is stored.
            timeout: seconds, where the request names them.
        """
        strict = collection.config["strict_mode_config"]
        if not strict.get("enabled"):
            return
        check_limit(timeout, strict.get("max_timeout"), "timeout")
        for asked in wish["searches"] if operation == "/points/query/batch" else [wish]:
            check_body(collection, strict, operation, asked, writes)
        if operation == "/points/query/batch":
            check_limit(len(wish["searches"]), strict.get("search_max_batchsize"), "search batch size")
        if operation != "/index":
            self._consume(collection, "Write" if writes else "Read", cost_of(collection, operation, wish, writes))

    def _consume(self, collection: Collection, what: str, cost: int) -> None:
        """Take tokens from a bucket that refills within a minute."""
        limit = collection.config["strict_mode_config"].get(f"{what.lower()}_rate_limit")
        if limit is None:
            return
        if cost > limit:
            reason = "request larger than rate limiter capacity, please try to split your request"
            raise Refused(429, f"Rate limiting exceeded: {what} rate limit exceeded, {reason}")
        now = time.monotonic()
        capacity, tokens, then = self._tokens.get(what, (limit, limit, now))
        if capacity != limit:
            capacity, tokens, then = limit, limit, now
        tokens = min(limit, tokens + (now - then) * limit / SECONDS)
        enough = tokens >= cost
        self._tokens[what] = limit, tokens - cost * enough, now
        if not enough:
            seconds = math.ceil((cost - tokens) * SECONDS / limit)
            reason = f"Operation requires {cost} tokens but only {tokens:.1f} were available. Retry after {seconds}s"
            raise Refused(429, f"Rate limiting exceeded: {what} rate limit exceeded: {reason}", seconds)


def check_body(collection: Collection, strict: Json, operation: str, wish: Json, writes: bool) -> None:
    most = strict.get("max_payload_index_count")
    if operation == "/index" and most is not None and len(collection.indexes) >= most:
        reason = f"Collection already has the maximum number of payload indices ({most})"
        raise refuse(reason, "Please delete an existing index before creating a new one.")
    if operation == "/points" and writes:
        check_limit(len(points_of(wish)), strict.get("upsert_max_batchsize"), "upsert limit")
        check_size(collection, strict)
    if operation == "/points/vectors" and writes:
        check_limit(len(wish["points"]), strict.get("upsert_max_batchsize"), "update limit")
        check_size(collection, strict)
    if operation in ("/points/scroll", "/points/query", "/points/query/batch", "/facet"):
        check_limit(wish.get("limit") or 10, strict.get("max_query_limit"), "limit")
    if filter := wish.get("filter"):
        allowed = strict.get("unindexed_filtering_update" if operation in UPDATES else "unindexed_filtering_retrieve")
        check_filter(collection, strict, filter, allowed)
    params = wish.get("params") or {}
    exact = params.get("exact") or (operation == "/points/count" and wish.get("exact") is not False)
    if strict.get("search_allow_exact") is False and (exact or (operation == "/facet" and wish.get("exact"))):
        raise refuse("Exact search disabled!", "Set exact=false.")
    oversampling = (params.get("quantization") or {}).get("oversampling")
    check_limit(oversampling, strict.get("search_max_oversampling"), "oversampling")
    check_limit(params.get("hnsw_ef"), strict.get("search_max_hnsw_ef"), "hnsw_ef")


def check_limit(value: float | None, limit: float | None, name: str) -> None:
    if value is not None and limit is not None and value > limit:
        reason = f'Limit exceeded {value:.15g} > {limit:.15g} for "{name}"'
        raise refuse(reason, f'Reduce the "{name}" parameter to or below {limit:.15g}.')


def check_size(collection: Collection, strict: Json) -> None:
    """Refuse writes to a collection at its maximum size."""
    known = collection.info()
    if (limit := strict.get("max_collection_vector_size_bytes")) is not None:
        widths = {"float16": 2, "uint8": 1}
        vectors = vectors_of(known["config"]["params"]["vectors"]).values()
        point = sum(params["size"] * widths.get(params.get("datatype"), 4) for params in vectors)
        if known["points_count"] * point >= limit:
            size = str(np.float32(limit / (1 << 20))).removesuffix(".0")
            raise Refused(400, f"Bad request: Max vector storage size limit of {size}MB reached!")
    if (limit := strict.get("max_points_count")) is not None and known["points_count"] >= limit:
        raise Refused(400, f"Bad request: Max points count limit of {limit} reached!")


def check_filter(collection: Collection, strict: Json, filter: Json, allow_unindexed: bool | None) -> None:
    conditions = list(leaves(filter))
    if (limit := strict.get("filter_max_conditions")) is not None and len(conditions) > limit:
        reason = f"Filter condition limit reached ({len(conditions)} > {limit})"
        raise refuse(reason, "Reduce the amount of conditions of your filter.")
    size = max((size_of(condition) for _, condition in conditions), default=0)
    if (limit := strict.get("condition_max_size")) is not None and size > limit:
        raise refuse(f"Condition size limit reached ({size} > {limit})", "Reduce the size of your condition.")
    if allow_unindexed is not False:
        return
    for key, condition in conditions:
        needed = needs(condition)
        if needed and not needed & can(collection.indexes.get(key)):
            kinds = ", ".join(sorted({need.partition(" ")[0] for need in needed}))
            reason = f'Index required but not found for "{key}" of one of the following types: [{kinds}]'
            raise refuse(reason, "Create an index for this key or use a different filter.")


def leaves(filter: Json, within: str = "") -> Iterator[tuple[str, Json]]:
    """Conditions of a filter and of nested filters, each with its payload key."""
    clauses = [filter.get(name) or [] for name in ("must", "should", "must_not")]
    for condition in [each for clause in clauses for each in listed(clause)] + (filter.get("min_should") or {}).get(
        "conditions", []
    ):
        if nested := condition.get("nested"):
            yield from leaves(nested["filter"], f"{within}{nested['key'].removesuffix('[]')}[].")
        elif any(condition.get(name) is not None for name in ("must", "should", "must_not", "min_should")):
            yield from leaves(condition, within)
        else:
            about = condition.get("is_empty") if isinstance(condition.get("is_empty"), dict) else condition.get("is_null")
            key = about["key"] if isinstance(about, dict) else condition.get("key", "")
            yield within + key, condition


def size_of(condition: Json) -> int:
    """Number of values in a condition."""
    match = condition.get("match") or {}
    return len(listed(condition.get("has_id") or match.get("any") or match.get("except") or [None]))


def needs(condition: Json) -> set[str]:
    """Index operations of which a condition needs one; empty where it needs no index."""
    match = condition.get("match") or {}
    for name, needed in (("text", "text"), ("text_any", "text"), ("phrase", "text phrase"), ("prefix", "keyword prefix")):
        if match.get(name) is not None:
            return {needed}
    for name in ("value", "any", "except"):
        if match.get(name) is not None:
            values = listed(match[name])
            if not values:
                return set()
            if isinstance(values[0], bool):
                return {"bool"}
            return (
                {"integer"} if isinstance(values[0], int) else {"keyword"} | ({"uuid"} if all(map(is_uuid, values)) else set())
            )
    if bounds := condition.get("range"):
        return {"datetime"} if any(isinstance(bound, str) for bound in bounds.values()) else {"float", "integer range"}
    asks = ("values_count", "is_empty", "is_null")
    return ANY_INDEX if any(condition.get(name) is not None for name in asks) else set()


def is_uuid(value: Any) -> bool:
    try:
        return bool(uuid.UUID(value))
    except (ValueError, AttributeError, TypeError):
        return False


def can(schema: Any) -> set[str]:
    """Operations of a payload index."""
    if schema is None:
        return set()
    params = {"type": schema} if isinstance(schema, str) else schema
    match params["type"]:
        case "keyword":
            return {"keyword"} | ({"keyword prefix"} if params.get("prefix") else set())
        case "integer":
            match, range = (params.get(name) is not False for name in ("lookup", "range"))
            return {name for name, has in (("integer", match), ("integer range", range)) if has}
        case "text":
            return {"text"} | ({"text phrase"} if params.get("phrase_matching") else set())
    return {params["type"]}


def cost_of(collection: Collection, operation: str, wish: Json, writes: bool) -> int:
    """Cost of a request under a rate limit: the points that it writes, or 1 + its conditions."""
    if writes and operation == "/points":
        return len(points_of(wish))
    if writes and wish.get("filter") is not None:
        return max(1, collection.count({"filter": wish["filter"]})["count"])
    if writes:
        return max(1, len(wish.get("points") or []))
    if operation == "/points":
        return len(wish["ids"])
    return sum(1 + sum(1 for _ in leaves(each.get("filter") or {})) for each in wish.get("searches", [wish]))
