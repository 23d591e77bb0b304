"""Conditions on payload fields, in a form of our own that every store renders into its engine's."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from encoders.texts import short
from indexer.store.patterns import forms, like

LAYERS = ("metadata", "attributes", "measured", "tags")
"""Parts of the payload whose fields conditions name without the part; the first that a point has counts."""
UNITS = ("hz", "semitones", "lufs", "db")
"""What a measured field's name ends with, and conditions may leave out."""
ALIASES = {"path": "recording"}

Term = TypeVar("Term")


class FilterError(ValueError):
    """A condition that cannot be understood, or a field that the index does not have."""


@dataclass(frozen=True)
class Condition:
    """`field operator values`. A clip that has no such field meets none.

    operator: "=" (one of the values), "~" (like one of the patterns, in which * and ? stand for anything), "<", "<=", ">",
    ">=" (one number or date), ".." (from the first value to the second, either of them "" for no bound).
    """

    field: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Not:
    """What does not meet a filter."""

    part: "Filter"


@dataclass(frozen=True)
class All:
    """What meets all of some filters; every clip meets none."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Either:
    """What meets one of some filters."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Absent:
    """What has nothing at a payload key."""

    key: str


@dataclass(frozen=True)
class Among:
    """The clips of these ids."""

    ids: tuple[str, ...]


Filter = Condition | Not | All | Either | Absent | Among
EVERYTHING = All(())


class Engine(Protocol, Generic[Term]):
    """The terms of an engine's filters, and the values that a payload key has among what meets one.

    containing: what has a text in what path_text() makes of the path at a key; None where the engine cannot tell.
    """

    def one_of(self, key: str, values: Sequence[str]) -> Term: ...
    def within(self, key: str, bounds: Mapping[str, float]) -> Term: ...
    def dated(self, key: str, bounds: Mapping[str, datetime]) -> Term: ...
    def absent(self, key: str) -> Term: ...
    def among(self, ids: Sequence[str]) -> Term: ...
    def join(self, must: Sequence[Term] = (), should: Sequence[Term] = (), must_not: Sequence[Term] = ()) -> Term: ...
    def containing(self, key: str, text: str) -> Term | None: ...
    def values(self, key: str, among: Term) -> Iterable[str]: ...


def render(filter: Filter, schema: Mapping[str, str], engine: Engine[Term]) -> Term:
    """A filter in an engine's terms.

    Args:
        filter: what is asked.
        schema: payload key -> "text", "number" or "date".
        engine: see Engine.

    Raises:
        FilterError: a condition names an unknown field, compares what has no order, or has a pattern for what is no text.
    """
    match filter:
        case All(parts):
            return engine.join(must=[render(part, schema, engine) for part in parts])
        case Either(parts):
            return engine.join(should=[render(part, schema, engine) for part in parts])
        case Not(part):
            return engine.join(must_not=[render(part, schema, engine)])
        case Absent(key):
            return engine.absent(key)
        case Among(ids):
            return engine.among(ids)
    keys = keys_of(filter.field, schema)
    if filter.operator == "~":
        keys = [key for key in keys if schema[key] == "text"]
        if not keys:
            raise FilterError(f"The field {filter.field!r} is no text, which has patterns; ask for a value or a range of it.")
    elif filter.operator != "=":
        keys = [key for key in keys if schema[key] != "text"]
        if not keys:
            raise FilterError(f"The field {filter.field!r} is text, which has no order; ask with = or ~ for what it says.")
    _check_values(filter, {schema[key] for key in keys})
    alternatives = []
    for place, key in enumerate(keys):
        found = _on_key(filter, key, schema[key], engine)
        if found is not None:
            alternatives.append(engine.join(must=[*map(engine.absent, keys[:place]), found]))
    return engine.join(should=alternatives)


def _check_values(condition: Condition, kinds: set[str]) -> None:
    """Refuses a value that is of none of the kinds that a field has."""
    for value in filter(None, condition.values):
        if not any(_is_of(kind, value) for kind in kinds):
            kind = " or ".join(name for name in ("a number", "a date") if name[2:] in kinds)
            form = " Write 2019, 2019-05 or 2019-05-31." if "date" in kinds else ""
            raise FilterError(f"The field {condition.field!r} is {kind}, and {short(value)} is not {kind}.{form}")


def _is_of(kind: str, value: str) -> bool:
    return {"number": as_number, "date": as_period}.get(kind, str)(value) is not None


def count_field(field: str, where: Filter, schema: Mapping[str, str], count: Callable[[str, Filter], Counter]) -> Counter:
    """How often each value of a field of text occurs, given what counts those of one payload key.

    Raises:
        FilterError: there is no such field, or it is not text.
    """
    keys = [key for key in keys_of(field, schema) if schema[key] == "text"]
    if not keys:
        raise FilterError(f"The field {field!r} is a number, of which nothing is counted; ask for a range with --where.")
    counts = Counter()
    for place, key in enumerate(keys):
        counts += count(key, All((where, *(Absent(earlier) for earlier in keys[:place]))))
    return counts


def keys_of(field: str, schema: Mapping[str, str]) -> list[str]:
    """The payload keys of a field, of which the first that a point has counts.

    Raises:
        FilterError: names the fields that there are.
    """
    names = group_fields(schema)
    keys = names.get(ALIASES.get(field, field))
    if not keys:
        raise FilterError(f"This index has no field {short(field)}. It has: {', '.join(sorted(names))}.")
    return keys


def _on_key(condition: Condition, key: str, kind: str, engine: Engine[Term]) -> Term | None:
    """A condition on a payload key, in terms of the index that its kind has; None where no value is of that kind.

    A number is asked for as a range, a date as what it spans: engines match text alone, and some refuse other questions than
    an index answers.
    """
    values = [value for value in condition.values if not value or _is_of(kind, value)]
    if condition.operator == "~":
        return _like(key, values, engine)
    if condition.operator == "=":
        if kind == "text" or not values:
            return engine.one_of(key, values) if values else None
        if kind == "number":
            return engine.join(should=[engine.within(key, dict.fromkeys(("gte", "lte"), as_number(value))) for value in values])
        return engine.join(should=[engine.dated(key, {"gte": begin, "lt": end}) for begin, end in map(as_period, values)])
    if len(values) < len(condition.values):
        return None
    if kind == "date":
        return engine.dated(key, _bounds(condition, lambda value: as_period(value)[0], lambda value: as_period(value)[1]))
    return engine.within(key, _bounds(condition, as_number))


def _like(key: str, patterns: Sequence[str], engine: Engine[Term]) -> Term:
    """What is like one of some patterns; of those that the engine cannot decide, the values that are left are looked at."""
    decided, narrowed, doubtful = [], [], set()
    for pattern in patterns:
        for form in forms(pattern):
            terms = [engine.containing(key, text) for text in form.texts]
            held = [term for term in terms if term is not None]
            if form.is_enough and len(held) == len(terms):
                decided.append(engine.join(must=held) if held else engine.join(must_not=[engine.absent(key)]))
            else:
                narrowed.append(engine.join(must=held))
                doubtful.add(pattern)
    if doubtful:
        left, is_like = engine.join(should=narrowed), like(doubtful)
        values = list(engine.values(key, left))
        alike = list(filter(is_like, values))
        if len(alike) <= len(values) / 2:
            decided.append(engine.one_of(key, alike))
        else:
            alike = set(alike)
            others = engine.one_of(key, [value for value in values if value not in alike])
            decided.append(engine.join(must=[left], must_not=[engine.absent(key), others]))
    return engine.join(should=decided)


def _bounds(condition: Condition, begin: Callable, end: Callable | None = None) -> dict:
    """The bounds of a comparison, given what reads a value, or the earliest and the first too late moment of it."""
    value, past = condition.values[0], end or begin
    match condition.operator:
        case "<":
            return {"lt": begin(value)}
        case ">=":
            return {"gte": begin(value)}
        case "<=":
            return {"lt" if end else "lte": past(value)}
        case ">":
            return {"gte" if end else "gt": past(value)}
    low, high = condition.values
    return ({"gte": begin(low)} if low else {}) | ({"lt" if end else "lte": past(high)} if high else {})


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_period(text: str) -> tuple[datetime, datetime] | None:
    """The time that a date spans, from and until but without: a year, a month, a day or a second, in UTC; or None."""
    parts = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d:\d\d:\d\d)Z?)?)?)?", text)
    if not parts:
        return None
    year, month, day, time = parts.groups()
    try:
        begin = datetime.fromisoformat(f"{year}-{month or '01'}-{day or '01'}T{time or '00:00:00'}+00:00")
    except ValueError:
        return None
    try:
        if time or day:
            return begin, begin + (timedelta(seconds=1) if time else timedelta(days=1))
        months = begin.year * 12 + begin.month - 1 + (1 if month else 12)
        return begin, datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    except (OverflowError, ValueError):  # the last of all times
        return begin, datetime.max.replace(tzinfo=UTC)


def key_in(layer: str, name: str) -> str:
    """The payload key of a name in a layer, as the engine writes it: in quotation marks where they are needed."""
    return f"{layer}.{name}" if re.fullmatch(r"[\w-]+", name) else f'{layer}."{name}"'


def group_fields(keys: Iterable[str]) -> dict[str, list[str]]:
    """Payload keys by the name that conditions use, that of the layer left out; see LAYERS."""
    parts = [key.partition(".") for key in keys]
    names: dict[str, list[str]] = {}
    for layer in LAYERS:
        for _, _, name in filter(lambda part: part[0] == layer, parts):
            names.setdefault(name.strip('"'), []).append(f"{layer}.{name}")
            short, _, unit = name.rpartition("_")
            if layer == "measured" and unit in UNITS:
                names.setdefault(short, []).append(f"{layer}.{name}")
    for layer, _, name in parts:
        if layer not in LAYERS:
            key = f"{layer}.{name}" if name else layer
            names.setdefault(key, []).append(key)
    return names


def value_at(payload: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """What a payload has at the first of these keys that it has; None where it has none."""
    for key in keys:
        layer, _, name = key.partition(".")
        value = payload.get(layer)
        value = value.get(name.strip('"')) if name and isinstance(value, Mapping) else value
        if value is not None:
            return value
    return None
