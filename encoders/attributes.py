"""What a voice can be asked for: attributes, their labels, the words for each and prompt templates (attributes.toml)."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter

WORDS = ("adjectives", "nouns", "adverbs", "verbs", "feelings", "phrases")
"""Kinds of words that a label may have."""


@dataclass(frozen=True)
class Label:
    """One answer to an attribute's question and the words that people use for it, the commonest first.

    How each kind of words is used in a sentence is said in attributes.toml.
    """

    name: str
    adjectives: tuple[str, ...] = ()
    nouns: tuple[str, ...] = ()
    adverbs: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    feelings: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """All its words."""
        return tuple(word for kind in WORDS for word in getattr(self, kind))


@dataclass(frozen=True)
class Attribute:
    """A question about a voice. `exclusive`: exactly one label holds."""

    name: str
    description: str
    labels: tuple[Label, ...]
    templates: tuple[str, ...]
    exclusive: bool = True

    def find(self, word: str) -> Label | None:
        """The label of that name, or else the only one that has the word: "joy" finds happy."""
        word = word.lower()
        named = [label for label in self.labels if label.name == word]
        worded = [label for label in self.labels if word in label.words]
        found = named or worded
        return found[0] if len(found) == 1 else None

    def prompts(self, label: Label) -> list[str]:
        """The templates filled with the label's commonest words; templates that need a word it lacks are left out."""
        words = {kind.removesuffix("s"): getattr(label, kind)[0] for kind in WORDS if getattr(label, kind)}
        return [template.format(**words) for template in self.templates if _fields(template) <= words.keys()]


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@cache
def load_attributes() -> dict[str, Attribute]:
    """All attributes that ship, by name."""
    raw = tomllib.loads((Path(__file__).parent / "attributes.toml").read_text(encoding="utf-8"))
    return {name: _parse(name, fields) for name, fields in raw.items()}


def _parse(name: str, fields: dict) -> Attribute:
    """An attribute from its table in attributes.toml."""
    labels = tuple(
        Label(label, **{kind: tuple(found) for kind, found in words.items()}) for label, words in fields["labels"].items()
    )
    return Attribute(name, fields["description"], labels, tuple(fields.get("templates", ())), fields.get("exclusive", True))
