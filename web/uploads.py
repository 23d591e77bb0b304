"""Uploaded sounds to search by, kept so that the address of a search stays valid for a while."""

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioReader
from voxdex.encoders.paths import file_sha256, move
from voxdex.search.query import QueryError, Sound
from voxdex.search.query_parser import split_span

PREFIX = "sound:"
"""Prefix of the names of uploads in a query."""
NAME = re.compile(r"[0-9a-f]{32}")
MAX_UPLOADS = 500
"""Uploads kept; the oldest are deleted."""


@dataclass(frozen=True)
class Upload:
    """An uploaded sound. name: for queries. seconds: duration."""

    name: str
    seconds: float


class UploadStore:
    """A folder of sounds, each named by its content.

    Args:
        folder: where they are kept.
        max_seconds: longest sound that is accepted.
    """

    def __init__(self, folder: Path, max_seconds: float) -> None:
        self._folder, self._max_seconds = folder, max_seconds

    def keep(self, source: BinaryIO) -> Upload:
        """Store an uploaded sound.

        Raises:
            AudioError: it cannot be read, or is too long.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f"new-{id(source)}"
        try:
            with new.open("wb") as file:
                shutil.copyfileobj(source, file)
            name, seconds = file_sha256(new)[:32], duration(new, self._max_seconds)
            move(new, self._folder / name)
        finally:
            new.unlink(missing_ok=True)
        self._delete_oldest()
        return Upload(PREFIX + name, round(seconds, 3))

    def find(self, name: str) -> Sound:
        """Return a stored sound by name, "sound:0a1b...", or a part of it in seconds, "sound:0a1b...:3.5-7".

        Raises:
            QueryError: it is not, or no longer, stored.
        """
        digest, start, end = split_span(name.removeprefix(PREFIX))
        path = self._folder / digest
        if not NAME.fullmatch(digest) or not path.is_file():
            raise QueryError("A sound of this search is no longer kept: send it again.")
        path.touch()
        return Sound(path, start, end)

    def _delete_oldest(self) -> None:
        files = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):  # deleted or renamed by another request
                files.append((file.stat().st_mtime, file))
        for _, file in sorted(files)[:-MAX_UPLOADS]:
            file.unlink(missing_ok=True)


def duration(path: Path, max_seconds: float) -> float:
    """Measure the duration of a sound in seconds.

    Raises:
        AudioError: it cannot be read, or lasts longer than `max_seconds`.
    """
    samples = 0
    for block in AudioReader(path, max_seconds + 1):
        samples += len(block)
        if samples > max_seconds * SAMPLE_RATE:
            raise AudioError(f"it lasts longer than {max_seconds:g} s")
    return samples / SAMPLE_RATE


def is_clip_id(text: str) -> bool:
    """Return whether a text is a UUID, as the ids of clips are."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True
