"""Parser and writer of the filter language: gender=female and (duration>=2 or not whispered)."""

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.errors import check_text, short
from voxdex.indexer.store.filters import MATCH_ALL, And, Condition, Filter, FilterError, Not, Or
from voxdex.indexer.store.values import as_number, as_period

if TYPE_CHECKING:
    import pyparsing as pp

EXAMPLES = 'gender=female, emotion=sad,angry, duration<5, recorded:2019..2021, path~"interviews/*" or not whispered'
MOST_CHARACTERS, DEEPEST = 10_000, 40
"""Maximum length of all filters of a query, in characters, and maximum nesting of parentheses and "not"."""
TOO_DEEP = f'nests parentheses and "not" more than {DEEPEST} deep; write it with fewer levels.'
ORDER = ("<", ">", "<=", ">=")
JOINED = r"(?:and|or|&&?|\|\|?)(?!\S)"
WORDS = rf'(?i)(?!not\b|{JOINED})[^\s=<>!~:()",]+(?:[ \t]+(?!not\b|{JOINED})[^\s=<>!~:()",]+)*'
VALUE = rf'(?i)(?!{JOINED})[^\s,()"]+(?:[ \t]+(?!{JOINED})[^\s,()"]+)*'
"""Names and values without quotation marks: words between which there is no "and", "or", & or |."""


def parse_filter(*texts: str) -> Filter:
    """Parse filters into one that requires all of them.

    `field=value,value`, `!=`, `<`, `<=`, `>`, `>=`, `field:from..to`, `field~pattern`, `field!~pattern`, or the word for a
    label of an attribute, such as `whispered`; joined by `not`, `and` (&), `or` (|) and parentheses. Names and values that
    contain any of these go in quotation marks, double or single.

    Raises:
        FilterError: a filter is not of that form, too long or too deep, or compares with neither number nor date.
        TextError: a filter is not valid text.
    """
    if not texts:
        return MATCH_ALL
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise FilterError(f"Conditions of {sum(map(len, texts))} characters are too long; the limit is {MOST_CHARACTERS}.")
    import pyparsing as pp  # a slow import that most commands do not need

    filters: list[Filter] = []
    for text in texts:
        try:
            filters.extend(_grammar().parse_string(check_text(text), parse_all=True))
            depth = _depth(filters[-1])
        except RecursionError:
            depth = DEEPEST + 1
        except pp.ParseBaseException as error:
            where = f"; {short(text[error.loc :])} is where it fails" if 0 < error.loc < len(text) else ""
            raise FilterError(f"{short(text)} is not a condition{where}. Write {EXAMPLES}.") from None
        if depth > DEEPEST:
            raise FilterError(f"{short(text)} {TOO_DEEP}")
    return And(tuple(filters))


def write_filter(filter: Filter) -> str:
    """Write a filter in the language of parse_filter; "" for MATCH_ALL.

    Raises:
        FilterError: the language cannot express the filter.
    """
    match filter:
        case Condition(field, operator, values):
            if any('"' in text for text in (field, *values)):
                raise FilterError(f"A condition on {field!r} contains quotation marks, which cannot be written.")
            operator, values = (":", ("..".join(values),)) if operator == ".." else (operator, values)
            return f'"{field}"{operator}' + ",".join(f'"{value}"' for value in values)
        case Not(part):
            return f"not ({write_filter(part)})"
        case And(parts) | Or(parts):
            return (" and " if isinstance(filter, And) else " or ").join(f"({write_filter(part)})" for part in parts)
    raise FilterError("A filter by ids cannot be written.")


def _depth(filter: Filter) -> int:
    match filter:
        case Not(part):
            return 1 + _depth(part)
        case And(parts) | Or(parts):
            return 1 + max(map(_depth, parts))
    return 0


@cache
def _grammar() -> "pp.ParserElement":
    import pyparsing as pp

    quoted = pp.QuotedString('"') | pp.QuotedString("'")
    values = pp.Group(pp.DelimitedList(quoted | pp.Regex(VALUE)))
    operator = pp.one_of("!= !~ <= >= == = < > ~ :")
    both, either = (
        pp.CaselessKeyword("and") | pp.Literal("&&") | pp.Literal("&"),
        pp.CaselessKeyword("or") | pp.Literal("||") | pp.Literal("|"),
    )
    compared = ((quoted | pp.Regex(WORDS)) + operator + values).set_parse_action(lambda found: _condition(*found))
    word = pp.Regex(WORDS).set_parse_action(lambda found: _label(found[0]))
    return pp.infix_notation(
        compared | word,
        [
            (pp.CaselessKeyword("not"), 1, pp.OpAssoc.RIGHT, lambda found: Not(found[0][1])),
            (both, 2, pp.OpAssoc.LEFT, lambda found: And(tuple(found[0][::2]))),
            (either, 2, pp.OpAssoc.LEFT, lambda found: Or(tuple(found[0][::2]))),
        ],
    )


def _condition(field: str, operator: str, values: Iterable[str]) -> Filter:
    field, values = field.strip(), tuple(value.strip() for value in values)
    low, dots, high = values[0].partition("..")
    if operator in ("=", ":", "==") and dots and len(values) == 1 and (low or high):
        bounds = tuple(_comparable(field, bound) if bound else "" for bound in (low, high))
        if all(bounds) and _is_after(*bounds):
            raise FilterError(f"The range {low}..{high} of {short(field)} is empty; write {high}..{low}.")
        return Condition(field, "..", bounds)
    if operator in ORDER:
        if len(values) > 1:
            raise _refusal(field, ",".join(values))
        return Condition(field, operator, (_comparable(field, values[0]),))
    condition = Condition(field, "~" if operator.endswith("~") else "=", values)
    return Not(condition) if operator.startswith("!") else condition


def _comparable(field: str, value: str) -> str:
    if as_number(value) is None and as_period(value) is None:
        raise _refusal(field, value)
    return value


def _is_after(low: str, high: str) -> bool:
    """Return whether a range ends before it begins, as numbers or as dates."""
    first, last = as_number(low), as_number(high)
    if first is not None and last is not None:
        return first > last
    begin, end = as_period(low), as_period(high)
    return begin is not None and end is not None and begin[0] >= end[1]


def _refusal(field: str, value: str) -> FilterError:
    return FilterError(f"{short(field)} is compared with {short(value)}, which is not a number or a date.")


def _label(word: str) -> Condition:
    """Return the condition for the word of a label: "whispered" is phonation=whispered."""
    found = [
        Condition(attribute.name, "=", (label.name,))
        for attribute in load_attributes().values()
        if attribute.exclusive and (label := attribute.find(word.strip()))
    ]
    if not found:
        raise FilterError(f"{short(word)} is no label of an attribute, nor a condition. Write {EXAMPLES}.")
    if len(found) > 1:
        raise FilterError(f"{word!r} may mean {' or '.join(f'{each.field}={each.values[0]}' for each in found)}.")
    return found[0]
