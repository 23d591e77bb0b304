"""Attributes of voices, their labels, the words for each label, and prompt templates (attributes.toml, compounds.toml)."""

import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

WORDS = ("adjectives", "nouns", "adverbs", "verbs", "feelings", "phrases")
"""Kinds of words of a label."""


@dataclass(frozen=True)
class Label:
    """A label of an attribute, and the words for it by kind, the most common ones first; see attributes.toml for the kinds."""

    name: str
    adjectives: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    adverbs: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    feelings: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all kinds."""
        return tuple(word for kind in WORDS for word in getattr(self, kind))


@dataclass(frozen=True)
class Attribute:
    """A property of a voice or recording.

    templates: prompts with a field for a kind of words, such as "a {adjective} voice". exclusive: whether exactly one label
    holds. centred: whether scores are calibrated on the archive, see zero_shot.archive_offsets. unremarkable: name of the label
    of an ordinary voice, which composed captions leave out; "" for none.
    """

    name: str
    description: str
    labels: tuple[Label, ...]
    templates: tuple[str, ...]
    exclusive: bool = True
    centred: bool = False
    unremarkable: str = ""

    def restricted_to(self, names: Collection[str]) -> "Attribute":
        """Return the attribute with the labels of these names only."""
        return replace(self, labels=tuple(label for label in self.labels if label.name in names))

    def find(self, word: str) -> Label | None:
        """Return the label of that name, or else the only label that has the word: "joy" finds happy."""
        word = word.lower()
        named = [label for label in self.labels if label.name == word]
        worded = [label for label in self.labels if word in label.words]
        candidates = named or worded
        return candidates[0] if len(candidates) == 1 else None

    def prompts(self, label: Label) -> list[str]:
        """Return the templates filled with the label's most common words, without those that need a kind it lacks."""
        words = {kind.removesuffix("s"): getattr(label, kind)[0] for kind in WORDS if getattr(label, kind)}
        return [template.format(**words) for template in self.templates if _fields(template) <= words.keys()]


@dataclass(frozen=True)
class Compound:
    """Words that imply labels of several attributes, as "grandmother" implies old and female; see compounds.toml.

    labels: pairs of an attribute and its label. nouns, adjectives, phrases: as of a Label.
    """

    labels: tuple[tuple[str, str], ...]
    nouns: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The words of all kinds."""
        return (*self.nouns, *self.adjectives, *self.phrases)


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@cache
def load_attributes() -> dict[str, Attribute]:
    """Return all attributes of attributes.toml by name."""
    raw = tomllib.loads((Path(__file__).parent / "attributes.toml").read_text(encoding="utf-8"))
    return {name: _parse(name, table) for name, table in raw.items()}


@cache
def load_compounds() -> tuple[Compound, ...]:
    """Return the words of compounds.toml."""
    raw = tomllib.loads((Path(__file__).parent / "compounds.toml").read_text(encoding="utf-8"))
    return tuple(
        Compound(tuple(table.pop("labels").items()), **{kind: tuple(words) for kind, words in table.items()})
        for table in raw.values()
    )


def _parse(name: str, table: dict[str, Any]) -> Attribute:
    labels = tuple(
        Label(label, **{kind: tuple(words) for kind, words in kinds.items()}) for label, kinds in table.pop("labels").items()
    )
    return Attribute(name, labels=labels, templates=tuple(table.pop("templates", ())), **table)
