"""The captions that ship, search/captions.txt.

python -m voxdex.encoders.training.scripts.caption_bank search/captions.txt
"""

import random
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import click

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.data.caption_templates import UNREMARKABLE, Claim, write_caption

ATTRIBUTES = (
    "gender",
    "age",
    "emotion",
    "pitch",
    "intonation",
    "speed",
    "loudness",
    "phonation",
    "texture",
    "brightness",
    "clarity",
)
"""Attributes of the captions."""
TRIPLES = 800


def write_bank(seed: int = 0) -> list[str]:
    """Compose captions of one, two or three claims, without duplicates, sorted."""
    rng = random.Random(seed)
    claims = [
        Claim(name, label.name)
        for name in ATTRIBUTES
        for label in load_attributes()[name].labels
        if (name, label.name) not in UNREMARKABLE
    ]
    return sorted({_capitalised(write_caption(list(stated), rng)) for stated in _combinations_of(claims, rng)})


def _combinations_of(claims: list[Claim], rng: random.Random) -> Iterator[tuple[Claim, ...]]:
    def is_possible(stated: tuple[Claim, ...]) -> bool:
        return len({claim.attribute for claim in stated}) == len(stated)

    yield from ((claim,) for claim in claims)
    yield from filter(is_possible, combinations(claims, 2))
    triples = [stated for stated in combinations(claims, 3) if is_possible(stated) and stated[0].attribute == "gender"]
    yield from rng.sample(triples, min(TRIPLES, len(triples)))


def _capitalised(caption: str) -> str:
    return f"{caption[0].upper()}{caption[1:].rstrip('.')}."


@click.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
def main(out: Path) -> None:
    """Write the captions to a file, one a line."""
    out.write_text("\n".join(write_bank()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
