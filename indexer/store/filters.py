"""Filters on payload fields, in one form that every store renders into the terms of its engine."""

import difflib
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from voxdex.encoders.errors import VoxdexError, short
from voxdex.indexer.store.patterns import COPIES, PATH, any_matcher, forms
from voxdex.indexer.store.values import as_number, as_period, as_tag_period

LAYERS = ("metadata", "attributes", "measured", "tags")
"""Payload objects whose fields are named without the object; the first one that a point has counts."""
UNITS = ("hz", "semitones", "lufs", "db")
"""Ends of the names of measured fields that conditions may omit."""
ALIASES = {"path": "recording"}
"""Other names of payload keys."""

Term = TypeVar("Term")
Bound = TypeVar("Bound", float, datetime)


class FilterError(VoxdexError):
    """An invalid condition, or a field that the index does not have."""


@dataclass(frozen=True)
class Condition:
    """`field operator values`. A clip without the field never matches.

    operator: "=" (one of the values; of words: a phrase), "~" (one of the patterns, with * and ?; of words: all words), "<",
    "<=", ">", ">=" (one number or date), ".." (from the first value to the second, either of them "" for no bound).
    """

    field: str
    operator: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Not:
    """Matches what a filter does not match."""

    part: "Filter"


@dataclass(frozen=True)
class And:
    """Matches what every filter matches; without filters, everything."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class Or:
    """Matches what one of the filters matches."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True)
class IsEmpty:
    """Matches points without a value at a payload key."""

    key: str


@dataclass(frozen=True)
class HasId:
    """Matches the clips of these ids."""

    ids: tuple[str, ...]


Filter = Condition | Not | And | Or | IsEmpty | HasId
MATCH_ALL = And(())


class FilterBackend(Protocol, Generic[Term]):
    """Constructors of an engine's filter terms.

    one_of: text equal to one of the values. within, dated: number or date within bounds ("gt", "gte", "lt", "lte"). containing:
    path_text of the path at a key contains a text; None where the engine cannot search for it. saying: words at a key have all
    words of a text, next to one another in a phrase. values: the values of a payload key among the points that match a term.
    """

    def one_of(self, key: str, values: Sequence[str]) -> Term: ...
    def within(self, key: str, bounds: Mapping[str, float]) -> Term: ...
    def dated(self, key: str, bounds: Mapping[str, datetime]) -> Term: ...
    def is_empty(self, key: str) -> Term: ...
    def with_ids(self, ids: Sequence[str]) -> Term: ...
    def join(
        self,
        *,
        must: Sequence[Term] | None = None,
        should: Sequence[Term] | None = None,
        must_not: Sequence[Term] | None = None,
    ) -> Term: ...
    def containing(self, key: str, text: str) -> Term | None: ...
    def saying(self, key: str, text: str, *, is_phrase: bool) -> Term: ...
    def values(self, key: str, among: Term) -> Iterable[str]: ...


def render(filter: Filter, schema: Mapping[str, str], backend: FilterBackend[Term]) -> Term:
    """Render a filter in an engine's terms.

    Args:
        filter: the filter.
        schema: payload key -> "text", "number", "date" or "words".
        backend: constructors of the engine's terms.

    Raises:
        FilterError: a condition names an unknown field, orders a field without order, or has a pattern for a field that is not
            text.
    """
    match filter:
        case And(parts):
            return backend.join(must=[render(part, schema, backend) for part in parts])
        case Or(parts):
            return backend.join(should=[render(part, schema, backend) for part in parts])
        case Not(part):
            return backend.join(must_not=[render(part, schema, backend)])
        case IsEmpty(key):
            return backend.is_empty(key)
        case HasId(ids):
            return backend.with_ids(ids)
    keys = keys_of(filter.field, schema)
    if filter.operator == "~":
        keys = [key for key in keys if schema[key] in ("text", "words")]
        if not keys:
            raise FilterError(
                f"The field {filter.field!r} is not text, so it has no patterns; ask for a value or a range of it."
            )
    elif filter.operator != "=":
        keys = [key for key in keys if schema[key] in ("number", "date") or _is_ordered(key, schema[key], backend)]
        if not keys:
            raise FilterError(f"The field {filter.field!r} is text, which has no order; use = or ~.")
    _check_values(filter, {schema[key] for key in keys})
    alternatives = []
    for position, key in enumerate(keys):
        has_copies = key == PATH and COPIES in schema
        found = _on_key(filter, key, schema[key], backend, also=COPIES if has_copies else None)
        if found is not None:
            alternatives.append(backend.join(must=[*map(backend.is_empty, keys[:position]), found]))
    return backend.join(should=alternatives)


def _check_values(condition: Condition, kinds: set[str]) -> None:
    """Raise FilterError for a value that is of none of the field's kinds."""
    for value in filter(None, condition.values):
        if not any(_is_of(kind, value) for kind in kinds):
            kind = " or ".join(name for name in ("a number", "a date") if name[2:] in kinds)
            form = " Write 2019, 2019-05 or 2019-05-31." if "date" in kinds else ""
            raise FilterError(f"The field {condition.field!r} is {kind}, and {short(value)} is not {kind}.{form}")


def _is_of(kind: str, value: str) -> bool:
    return {"number": as_number, "date": as_period}.get(kind, str)(value) is not None


def is_collected_fast(filter: Filter, schema: Mapping[str, str]) -> bool:
    """Return whether an engine collects the matches of a filter faster than it tests every clip, as those of values of text.

    Matches of ranges and patterns are slow to collect.
    """
    match filter:
        case And(parts):
            return all(is_collected_fast(part, schema) for part in parts)
        case Condition(field, "="):
            return {schema[key] for key in keys_of(field, schema)} == {"text"}
    return False


def count_field(field: str, schema: Mapping[str, str], count: Callable[[str, Sequence[str]], Counter[str]]) -> Counter[str]:
    """Count the values of a text field.

    Args:
        field: name of the field.
        schema: payload key -> kind.
        count: counts the values of a payload key among clips that have none of some other keys.

    Raises:
        FilterError: there is no such field, or it is not text.
    """
    keys = [key for key in keys_of(field, schema) if schema[key] == "text"]
    if not keys:
        kind = {"number": "a number", "date": "a date"}.get(schema[keys_of(field, schema)[0]], "words")
        raise FilterError(
            f"The field {field!r} is {kind}, and only values of text are counted; ask for some of them with --where."
        )
    return sum((count(key, keys[:position]) for position, key in enumerate(keys)), Counter())


def keys_of(field: str, schema: Mapping[str, str]) -> list[str]:
    """Return the payload keys of a field; the first one that a point has counts.

    Raises:
        FilterError: there is no such field; the message lists the fields.
    """
    names = group_fields(schema)
    wanted = ALIASES.get(field.lower(), field)
    keys = names.get(wanted) or next((names[name] for name in names if name.lower() == wanted.lower()), None)
    if keys:
        return keys
    alike = difflib.get_close_matches(field.lower(), [*names, *ALIASES], n=3)
    suggested = f" Did you mean {' or '.join(alike)}?" if alike else ""
    raise FilterError(f"This index has no field {short(field)}.{suggested} It has: {', '.join(sorted({*names, *ALIASES}))}.")


def _on_key(condition: Condition, key: str, kind: str, backend: FilterBackend[Term], also: str | None = None) -> Term | None:
    """Render a condition on one payload key, and on a list of further texts; None where no value is of that key's kind.

    Numbers are rendered as ranges and dates as their time spans: engines only match text, and some refuse conditions that no
    index answers.
    """
    values = [value for value in condition.values if not value or _is_of(kind, value)]
    if kind == "words":
        is_phrase = condition.operator == "="
        return backend.join(should=[backend.saying(key, value, is_phrase=is_phrase) for value in values])
    if condition.operator == "~":
        return _patterns(key, values, backend, also)
    if condition.operator == "=":
        if kind == "text" and _is_date(key):
            dates = [value for value in values if as_period(value)]
            values += [text for date in dates for text in _texts_within("..", [date, date], key, backend)]
        if kind == "text" or not values:
            return _any_of(key, values, backend, also) if values else None
        if kind == "number":
            numbers = [number for number in map(as_number, values) if number is not None]
            return backend.join(should=[backend.within(key, {"gte": number, "lte": number}) for number in numbers])
        periods = [period for period in map(as_period, values) if period is not None]
        return backend.join(should=[backend.dated(key, {"gte": begin, "lt": end}) for begin, end in periods])
    if len(values) < len(condition.values):
        return None
    if kind == "text":
        return backend.one_of(key, _texts_within(condition.operator, values, key, backend))
    if kind == "date":
        return backend.dated(key, _bounds(condition.operator, [as_period(value) for value in values], until="lt", beyond="gte"))
    spans = [None if number is None else (number, number) for number in map(as_number, values)]
    return backend.within(key, _bounds(condition.operator, spans, until="lte", beyond="gt"))


def _is_date(key: str) -> bool:
    """Return whether a key is that of a tag with dates, by its name: date, year, creation_time."""
    return key.startswith("tags.") and re.search(r"date|year|time", key, re.I) is not None


def _is_ordered(key: str, kind: str, backend: FilterBackend[Any]) -> bool:
    """Return whether a key of text holds dates or numbers, as tags do, whose values are all text."""
    if kind == "words":
        return False
    texts = backend.values(key, backend.join(must=[]))
    return any(as_tag_period(text) is not None or as_number(text) is not None for text in texts)


def _texts_within(comparison: str, values: Sequence[str], key: str, backend: FilterBackend[Any]) -> list[str]:
    """Return those texts at a key that read as dates or numbers, and compare so with the values of a condition."""
    periods = [as_period(value) for value in values if value]
    numbers = [as_number(value) for value in values if value]
    dated = _bounds(comparison, [as_period(value) for value in values], until="lt", beyond="gte") if all(periods) else None
    spans = [None if (number := as_number(value)) is None else (number, number) for value in values]
    counted = _bounds(comparison, spans, until="lte", beyond="gt") if None not in numbers else None

    def is_within(text: str) -> bool:
        period, number = as_tag_period(text), as_number(text)
        if dated is not None and period is not None:
            return _meets(period[0], dated)
        return counted is not None and number is not None and _meets(number, counted)

    return list(filter(is_within, backend.values(key, backend.join(must=[]))))


def _meets(value: Any, bounds: Mapping[str, Any]) -> bool:
    """Return whether a value is within bounds ("gt", "gte", "lt", "lte")."""
    compare = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}
    return all(compare[name](value, bound) for name, bound in bounds.items())


def _any_of(key: str, values: Sequence[str], backend: FilterBackend[Term], also: str | None) -> Term:
    """Render that a text, or one of the list of further texts, is one of some values."""
    return backend.join(should=[backend.one_of(each, values) for each in (key, also) if each])


def _patterns(key: str, patterns: Sequence[str], backend: FilterBackend[Term], also: str | None) -> Term:
    """Render patterns. Where the engine cannot decide one, the remaining values are listed and matched here.

    With further texts it cannot where it would look for two parts of a pattern: they may stand in different texts.
    """
    decided, narrowed, undecided = [], [], set()
    for pattern in patterns:
        for form in forms(pattern):
            terms = [backend.containing(key, text) for text in form.texts]
            texts = [term for term in terms if term is not None]
            if form.is_enough and len(texts) == len(terms) and not (also and len(texts) > 1):
                decided.append(backend.join(must=texts) if texts else backend.join(must_not=[backend.is_empty(key)]))
            else:
                narrowed.append(backend.join(must=texts))
                undecided.add(pattern)
    if undecided:
        left, matches = backend.join(should=narrowed), any_matcher(undecided)
        values = list(dict.fromkeys(value for each in (key, also) if each for value in backend.values(each, left)))
        matched = list(filter(matches, values))
        if also or len(matched) <= len(values) / 2:
            decided.append(_any_of(key, matched, backend, also))
        else:
            others = backend.one_of(key, sorted(set(values).difference(matched)))
            decided.append(backend.join(must=[left], must_not=[backend.is_empty(key), others]))
    return backend.join(should=decided)


def _bounds(operator: str, spans: Sequence[tuple[Bound, Bound] | None], *, until: str, beyond: str) -> dict[str, Bound]:
    """Return the bounds of a comparison.

    Args:
        operator: of the condition.
        spans: begin and end of each of its values; None for no bound.
        until, beyond: names of the bounds up to the end of a span, and from there.
    """
    ends = {"<": [("lt", 0)], ">=": [("gte", 0)], "<=": [(until, 1)], ">": [(beyond, 1)], "..": [("gte", 0), (until, 1)]}
    return {name: span[end] for (name, end), span in zip(ends[operator], spans, strict=True) if span is not None}


def key_in(layer: str, name: str) -> str:
    """Return the payload key of a field in a layer, with quotation marks where the engine needs them."""
    return f"{layer}.{name}" if re.fullmatch(r"[\w-]+", name) else f'{layer}."{name}"'


def group_fields(keys: Iterable[str]) -> dict[str, list[str]]:
    """Group payload keys by the field name of conditions, which omits the layer; see LAYERS."""
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
            field = layer if name in ("", "text") else f"{layer}.{name}"
            names.setdefault(field, []).append(f"{layer}.{name}" if name else layer)
    return names


def value_at(payload: Mapping[str, Any], keys: Sequence[str]) -> Any:
    """Return the value of a payload at the first of these keys that it has; None where it has none."""
    for key in keys:
        layer, _, name = key.partition(".")
        value = payload.get(layer)
        value = value.get(name.strip('"')) if name and isinstance(value, Mapping) else value
        if value is not None:
            return value
    return None
