"""Sounds of a query as they are named on the command line."""

import re

from voxdex.commands.lately import resolve_hit
from voxdex.search import Clip, Sound
from voxdex.search.asking import sound_in_file


def find_sound(text: str) -> Clip | Sound:
    """ "take.wav", "take.wav:3.5-7" for a part of it in seconds, "@3" for a hit of the last search."""
    return Clip(resolve_hit(text)) if re.fullmatch(r"@\d+", text) else sound_in_file(text)
