"""Sounds of a query as they are named on the command line."""

import re

from voxdex.commands.last_search import resolve_hit
from voxdex.search.query import ClipId, Sound
from voxdex.search.query_parser import sound_in_file


def find_sound(text: str) -> ClipId | Sound:
    """ "take.wav", "take.wav:3.5-7" for a part of it in seconds, "@3" for a hit of the last search."""
    return ClipId(resolve_hit(text)) if re.fullmatch(r"@\d+", text) else sound_in_file(text)
