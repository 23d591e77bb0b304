"""Which recordings lie under the given paths."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from encoders import MEDIA_SUFFIXES
from encoders.audio import Failure


@dataclass(frozen=True)
class Walk:
    """What lies under some paths.

    roots: the paths, absolute. recordings: absolute paths in a fixed order. ignored: how many files of each suffix are not
    sound by name. absent: roots that do not exist. failed: folders that cannot be listed, names that cannot be kept.
    """

    roots: list[Path]
    recordings: list[Path] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    absent: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def covers(self, path: str) -> bool:
        """Whether a path lies under one of the roots."""
        return any(map(Path(path).is_relative_to, self.roots))


def find_recordings(paths: Iterable[Path]) -> Walk:
    """Walks folders for files that are sound by name; a file that is named itself is always taken.

    Hidden files and folders are ignored and links to folders are not followed. A folder that cannot be listed and a name
    that is not UTF-8 are failures, not exceptions.
    """
    walk = Walk([absolute(path) for path in paths])
    recordings: dict[Path, None] = {}

    def unreadable(error: OSError) -> None:
        walk.failed.append(Failure(printable(error.filename), f"the folder cannot be listed ({error.strerror})"))

    for path in walk.roots:
        if not os.path.lexists(path):
            walk.absent.append(path)
            continue
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
                    walk.ignored["hidden" if name.startswith(".") else suffix or "no suffix"] += 1
    for path in recordings:
        if printable(path) == str(path):
            walk.recordings.append(path)
        else:
            walk.failed.append(Failure(printable(path), "its name is not valid UTF-8; rename it"))
    return walk


def share(walk: Walk, part: int, parts: int) -> Walk:
    """One of `parts` shares of a walk, from 1: the same whichever machine walks, wherever the folders lie on it."""

    def is_mine(path: Path) -> bool:
        root = next((root for root in walk.roots if path.is_relative_to(root)), path.parent)
        name = path.relative_to(root if root != path else path.parent)
        return int(hashlib.sha256(str(name).encode()).hexdigest(), 16) % parts == part - 1

    return replace(walk, recordings=[path for path in walk.recordings if is_mine(path)])


def absolute(path: str | Path) -> Path:
    """From the root and without "..", links not followed: the form in which an index keeps paths."""
    return Path(os.path.abspath(path))


def printable(path: str | Path) -> str:
    """A path as text; bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_gone(path: str | Path) -> bool:
    """Whether a file is certainly not there; one that may not be looked at is not known to be gone."""
    try:
        Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
