"""The last search, so that the next one can point at its hits."""

import json
from collections.abc import Sequence
from contextlib import suppress

import click

from voxdex.encoders.paths import read_json, replace_file, voxdex_home
from voxdex.search.query import Hit

LAST = "last-search.json"


def remember_hits(hits: Sequence[Hit]) -> None:
    """Keeps the hits of a search; those of another page are added to it."""
    found = {str(hit.rank): hit.id for hit in hits}
    if hits and hits[0].rank > 1:
        found = _remembered() | found
    with suppress(OSError):  # a home that cannot be written: then the next search cannot point at this one
        file = voxdex_home() / LAST
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(found))


def resolve_hit(place: str) -> str:
    """The id of the clip that "@3" stands for."""
    ids, rank = _remembered(), place.removeprefix("@")
    if not place.startswith("@") or rank not in ids:
        known = f"it had {len(ids)} hits, @1 to @{len(ids)}" if ids else "there was none"
        raise click.UsageError(f"{place!r} is no hit of the last search: {known}.")
    return ids[rank]


def _remembered() -> dict[str, str]:
    found = read_json(voxdex_home() / LAST)
    return {rank: id for rank, id in found.items() if isinstance(id, str)} if isinstance(found, dict) else {}
