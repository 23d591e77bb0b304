"""What people write on the command line for the parts of a query."""

import re
from pathlib import Path

import click

from commands.lately import resolve_hit
from search import Clip, Shift, Sound, Wish


def caption_wish(text: str) -> Wish:
    """ "sad::2" counts double."""
    part, colons, weight = text.rpartition("::")
    if not colons:
        return Wish(text)
    try:
        number = float(weight)
    except ValueError:
        return Wish(text)
    if not 0 < number <= 100:
        raise click.UsageError(f"The weight of {text!r} must be above 0 and at most 100.")
    return Wish(part, number)


def sound_wish(text: str) -> Wish:
    """ "take.wav", "take.wav:3.5-7" for a part of it in seconds, "@3" for a hit of the last search; "::2" behind it."""
    wish = caption_wish(text)
    if re.fullmatch(r"@\d+", wish.part):
        return Wish(Clip(resolve_hit(wish.part)), wish.weight)
    part = re.fullmatch(r"(.+):(\d+(?:\.\d+)?)?-(\d+(?:\.\d+)?)?", wish.part)
    if not part or Path(wish.part).exists():
        return Wish(Sound(Path(wish.part)), wish.weight)
    start, end = (float(bound) if bound else None for bound in part.groups()[1:])
    if end is not None and end <= (start or 0):
        raise click.UsageError(f"{text!r} ends before it starts; write FILE:START-END in seconds.")
    return Wish(Sound(Path(part[1]), start, end), wish.weight)


def move_wish(text: str) -> Wish:
    """ "calm -> angry"."""
    wish = caption_wish(text)
    away, arrow, towards = (part.strip() for part in wish.part.partition("->"))
    if not (away and arrow and towards):
        raise click.UsageError(f"--move {text!r} needs two captions, as in 'calm -> angry'.")
    return Wish(Shift(away, towards), wish.weight)
