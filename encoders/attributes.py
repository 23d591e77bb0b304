"""What a voice can be asked for: attributes, their labels, the words for each and prompt templates (attributes.toml)."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Label:
    """One answer to an attribute's question and the words that people use for it, the commonest first."""

    name: str
    adjectives: tuple[str, ...]
    nouns: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """A question about a voice. `exclusive`: exactly one label holds."""

    name: str
    description: str
    labels: tuple[Label, ...]
    templates: tuple[str, ...]
    exclusive: bool = True

    def prompts(self, label: Label) -> list[str]:
        """The templates filled with the label's commonest words; templates that need a noun it lacks are left out."""
        words = {"adjective": label.adjectives[0], "noun": label.nouns[0] if label.nouns else None}
        return [
            template.format(**words) for template in self.templates if "{noun}" not in template or words["noun"] is not None
        ]


@cache
def load_attributes() -> dict[str, Attribute]:
    """All attributes that ship, by name."""
    raw = tomllib.loads((Path(__file__).parent / "attributes.toml").read_text(encoding="utf-8"))
    return {name: parse_attribute(name, fields) for name, fields in raw.items()}


def parse_attribute(name: str, fields: dict) -> Attribute:
    """An attribute from its table in attributes.toml, or in a file of like form."""
    labels = tuple(
        Label(label, *(tuple(words.get(kind, ())) for kind in ("adjectives", "nouns", "phrases")))
        for label, words in fields["labels"].items()
    )
    return Attribute(name, fields["description"], labels, tuple(fields.get("templates", ())), fields.get("exclusive", True))
