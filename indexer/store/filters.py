"""Conditions on payload fields, in a form of our own that every store renders into its engine's."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

LAYERS = ("metadata", "attributes", "measured", "tags")
"""Parts of the payload whose fields conditions name without the part; the first that a point has counts."""


class FilterError(ValueError):
    """A condition that cannot be understood, or a field that the index does not have."""


@dataclass(frozen=True)
class Condition:
    """`field operator values`: several values of "=" are alternatives, of "!=" all excluded; the others take one number.

    A clip that has no such field meets "!=" and nothing else.
    """

    field: str
    operator: str
    values: tuple[str, ...]

    @property
    def number(self) -> float:
        """The one value of a comparison."""
        return float(self.values[0])


def parse_condition(text: str) -> Condition:
    """Reads "gender=female", "emotion=sad,angry", "speaker!=anna" or "duration<5".

    Raises:
        FilterError: it is not of that form, or a comparison has no number.
    """
    parts = re.fullmatch(r"\s*([^=<>!]+?)\s*(!=|<=|>=|==?|<|>)\s*(.*?)\s*", text)
    if not parts or not parts[3]:
        raise FilterError(f"{text!r} is not a condition. Write for example gender=female, emotion=sad,angry or duration<5.")
    field, operator, raw = parts.groups()
    condition = Condition(field, operator.replace("==", "="), tuple(value.strip() for value in raw.split(",")))
    if operator in ("<", ">", "<=", ">=") and (len(condition.values) != 1 or as_number(raw) is None):
        raise FilterError(f"{text!r} compares with {raw!r}, which is not a number.")
    return condition


def as_number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def group_fields(keys: Iterable[str]) -> dict[str, list[str]]:
    """Payload keys by the name that conditions use, that of the layer left out; see LAYERS."""
    parts = [key.partition(".") for key in keys]
    names: dict[str, list[str]] = {}
    for layer in LAYERS:
        for _, _, name in filter(lambda part: part[0] == layer, parts):
            names.setdefault(name.strip('"'), []).append(f"{layer}.{name}")
    for layer, _, name in parts:
        if layer not in LAYERS:
            key = f"{layer}.{name}" if name else layer
            names.setdefault(key, []).append(key)
    return names


def check_fields(conditions: Iterable[Condition], known: Iterable[str]) -> None:
    """Refuses conditions on fields that the index does not have.

    Raises:
        FilterError: names the field and those that are known.
    """
    known = sorted(known)
    for condition in conditions:
        if condition.field not in known:
            raise FilterError(f"This index has no field {condition.field!r}. It has: {', '.join(known)}.")
