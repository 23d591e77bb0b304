"""Sounds that were sent to be searched by, kept for a while so that the address of a search still works tomorrow."""

import re
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioError, AudioReader
from voxdex.encoders.paths import file_sha256, move
from voxdex.search.query import QueryError, Sound
from voxdex.search.query_parser import split_span

PREFIX = "sound:"
NAME = re.compile(r"[0-9a-f]{32}")
KEPT = 500
"""Of all that were sent, the last ones."""


@dataclass(frozen=True)
class Upload:
    """name: what a query calls it. seconds: how long it lasts."""

    name: str
    seconds: float


class UploadStore:
    """A folder of sounds, each named by its content.

    Args:
        folder: where they are kept.
        longest: seconds that one may last.
    """

    def __init__(self, folder: Path, longest: float) -> None:
        self._folder, self._longest = folder, longest

    def keep(self, sent: BinaryIO) -> Upload:
        """Keeps a sound that was sent.

        Raises:
            AudioError: it cannot be read, or is too long.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        new = self._folder / f"new-{id(sent)}"
        try:
            with new.open("wb") as file:
                shutil.copyfileobj(sent, file)
            name, seconds = file_sha256(new)[:32], length_of(new, self._longest)
            move(new, self._folder / name)
        finally:
            new.unlink(missing_ok=True)
        self._drop_oldest()
        return Upload(PREFIX + name, round(seconds, 3))

    def find(self, name: str) -> Sound:
        """A sound by its name, "sound:0a1b..." or, of a part of it, "sound:0a1b...:3.5-7" in seconds.

        Raises:
            QueryError: it is not, or no longer, kept.
        """
        whole, start, end = split_span(name.removeprefix(PREFIX))
        path = self._folder / whole
        if not NAME.fullmatch(whole) or not path.is_file():
            raise QueryError("A sound of this search is no longer kept: send it again.")
        path.touch()
        return Sound(path, start, end)

    def _drop_oldest(self) -> None:
        kept = []
        for file in self._folder.iterdir():
            with suppress(FileNotFoundError):  # another request has just dropped or renamed it
                kept.append((file.stat().st_mtime, file))
        for _, file in sorted(kept)[:-KEPT]:
            file.unlink(missing_ok=True)


def length_of(path: Path, longest: float) -> float:
    """How many seconds a sound lasts.

    Raises:
        AudioError: it cannot be read, or lasts longer than `longest`.
    """
    samples = 0
    for block in AudioReader(path, longest + 1):
        samples += len(block)
        if samples > longest * SAMPLE_RATE:
            raise AudioError(f"it lasts longer than {longest:g} s")
    return samples / SAMPLE_RATE
