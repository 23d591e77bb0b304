"""Which recordings lie under the given paths."""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from encoders import MEDIA_SUFFIXES


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, with the reason as a sentence."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """recordings: absolute paths in a fixed order. ignored: how many files of each suffix are not sound by name."""

    recordings: list[Path] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    failed: list[Failure] = field(default_factory=list)


def find_recordings(paths: Iterable[Path]) -> Found:
    """Walks folders for files that are sound by name; a file that is named itself is always taken.

    Hidden files and folders are ignored and links to folders are not followed. A folder that cannot be listed is a
    failure, not an exception.
    """
    found = Found()
    recordings: dict[Path, None] = {}

    def unreadable(error: OSError) -> None:
        found.failed.append(Failure(str(error.filename), f"the folder cannot be listed ({error.strerror})"))

    for path in paths:
        path = Path(os.path.abspath(path))
        if not path.is_dir():
            recordings[path] = None
            continue
        for folder, subfolders, names in os.walk(path, onerror=unreadable):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                suffix = Path(name).suffix.lower()
                if suffix in MEDIA_SUFFIXES and not name.startswith("."):
                    recordings[Path(folder, name)] = None
                else:
                    found.ignored["hidden" if name.startswith(".") else suffix or "no suffix"] += 1
    found.recordings.extend(recordings)
    return found
