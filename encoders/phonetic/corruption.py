"""Phoneme sequences made wrong, a little or much: what a phonetic model must notice, and what it is tested with."""

import random
from collections.abc import Sequence
from typing import TypeVar

Phoneme = TypeVar("Phoneme")

DRAWS = 20
"""How often another phoneme is drawn before one is looked for."""


def replace_some(sequence: Sequence[Phoneme], share: float, inventory: Sequence[Phoneme], rng: random.Random) -> list[Phoneme]:
    """A share of the phonemes, one at least, replaced by others of an inventory, drawn at random (SCRAPS).

    Args:
        sequence: one phoneme or more.
        share: 0 to 1.
        inventory: two different phonemes or more; those named often are drawn often.
        rng: source of chance.
    """
    changed = list(sequence)
    for place in rng.sample(range(len(changed)), max(1, round(share * len(changed)))):
        changed[place] = _another(changed[place], inventory, rng)
    return changed


def corrupt(sequence: Sequence[Phoneme], share: float, inventory: Sequence[Phoneme], rng: random.Random) -> list[Phoneme]:
    """About a share of the phonemes substituted, deleted, swapped with the next one, or an odd one put before them."""
    changed = list(sequence)
    for _ in range(max(1, round(share * len(changed)))):
        place = rng.randrange(len(changed))
        kind = rng.choice(("substitute", "substitute", "delete", "insert", "swap"))
        if kind == "substitute" or (kind == "delete" and len(changed) == 1):
            changed[place] = _another(changed[place], inventory, rng)
        elif kind == "delete":
            del changed[place]
        elif kind == "insert":
            changed.insert(place, rng.choice(inventory))
        else:
            after = (place + 1) % len(changed)
            changed[place], changed[after] = changed[after], changed[place]
    return changed


def _another(phoneme: Phoneme, inventory: Sequence[Phoneme], rng: random.Random) -> Phoneme:
    """Another phoneme of an inventory; the same one where it has no other."""
    for _ in range(DRAWS):
        drawn = rng.choice(inventory)
        if drawn != phoneme:
            return drawn
    return next((other for other in inventory if other != phoneme), phoneme)
