"""Speakers of the sample archive."""

from collections.abc import Iterable
from pathlib import Path

from voxdex.search.query import Hit

WOMEN = {"anna", "bella", "clara", "dora", "julia"}
WHISPERING = {"dora", "henry"}


def speakers(hits: Iterable[Hit]) -> list[str]:
    """The speaker of each hit, from its metadata."""
    return [hit.metadata["speaker"] for hit in hits]


def find_recording(archive: Path, stem: str) -> Path:
    """The recording of the archive with this name, in any format."""
    return next(archive.glob(f"{stem}.*"))
