"""Conditions on payload fields, in a form of our own that every store renders into its engine's."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, Generic, Protocol, TypeVar

from encoders.texts import short

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
    """The terms of an engine's filters, and the values that a payload key has in it."""

    def one_of(self, key: str, values: Sequence[str]) -> Term: ...
    def within(self, key: str, bounds: Mapping[str, float]) -> Term: ...
    def dated(self, key: str, bounds: Mapping[str, datetime]) -> Term: ...
    def absent(self, key: str) -> Term: ...
    def among(self, ids: Sequence[str]) -> Term: ...
    def join(self, must: Sequence[Term] = (), should: Sequence[Term] = (), must_not: Sequence[Term] = ()) -> Term: ...
    def values(self, key: str) -> Iterable[str]: ...


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
    alternatives = []
    for place, key in enumerate(keys):
        earlier = [engine.absent(other) for other in keys[:place]]
        alternatives.append(engine.join(must=[*earlier, _on_key(filter, key, schema[key], engine)]))
    return engine.join(should=alternatives)


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


def _on_key(condition: Condition, key: str, kind: str, engine: Engine[Term]) -> Term:
    values = condition.values
    if condition.operator == "~":
        return engine.one_of(key, [value for value in engine.values(key) if any(is_like(value, each) for each in values)])
    if condition.operator == "=":
        numbers = [number for value in values if (number := as_number(value)) is not None]
        same = [engine.one_of(key, values), *(engine.within(key, {"gte": number, "lte": number}) for number in numbers)]
        if kind == "date":
            same = [engine.dated(key, {"gte": begin, "lt": end}) for begin, end in map(_period, values)]
        return engine.join(should=same)
    if kind == "date":
        return engine.dated(key, _bounds(condition, _begin, _end))
    return engine.within(key, _bounds(condition, _number, _number))


def _bounds(condition: Condition, begin: Callable, end: Callable) -> dict:
    """The bounds of a comparison, given what reads the earliest and the first too late moment of a value."""
    value = condition.values[0]
    match condition.operator:
        case "<":
            return {"lt": begin(value)}
        case ">=":
            return {"gte": begin(value)}
        case "<=":
            return {"lte" if end is _number else "lt": end(value)}
        case ">":
            return {"gt" if end is _number else "gte": end(value)}
    low, high = condition.values
    return ({"gte": begin(low)} if low else {}) | ({"lte" if end is _number else "lt": end(high)} if high else {})


def _number(text: str) -> float:
    number = as_number(text)
    if number is None:
        raise FilterError(f"{short(text)} is not a number.")
    return number


def _begin(text: str) -> datetime:
    return _period(text)[0]


def _end(text: str) -> datetime:
    return _period(text)[1]


def _period(text: str) -> tuple[datetime, datetime]:
    period = as_period(text)
    if period is None:
        raise FilterError(f"{short(text)} is not a date. Write 2019, 2019-05 or 2019-05-31.")
    return period


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


def is_like(value: str, pattern: str) -> bool:
    """Whether a value, or for paths its end, has a pattern's form; a pattern without * and ? may stand anywhere in it."""
    value, pattern = value.lower(), pattern.lower()
    if not re.search(r"[*?[]", pattern):
        return pattern in value
    return fnmatchcase(value, pattern) or fnmatchcase(value, f"*/{pattern}")


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
