"""Which recordings lie under the given paths."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from encoders import MEDIA_SUFFIXES, AudioError
from encoders.audio import Failure
from encoders.model_folder import file_sha256


class FileState(NamedTuple):
    """A file as it was when it was looked at. size in bytes, mtime in nanoseconds."""

    path: str
    size: int
    mtime: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """The file as it is now. Raises OSError where it is gone or may not be looked at."""
        return cls.from_status(str(path), path.stat())

    @classmethod
    def from_status(cls, path: str, status: os.stat_result) -> "FileState":
        """The file with this status."""
        return cls(path, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class Walk:
    """What lies under some paths.

    roots: the paths, absolute. recordings: by absolute path, in a fixed order, how each looks; None where that cannot be
    told. ignored: how many files of each suffix are not sound by name. absent: roots that do not exist. failed: folders
    that cannot be listed, names that cannot be kept.
    """

    roots: list[Path]
    recordings: dict[str, FileState | None] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    absent: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def take(self, path: str, status: Callable[[], os.stat_result]) -> None:
        """Adds a recording, as what tells its status finds it."""
        try:
            path.encode()
        except UnicodeEncodeError:
            self.failed.append(Failure(printable(path), "its name is not valid UTF-8; rename it"))
            return
        try:
            self.recordings[path] = FileState.from_status(path, status())
        except OSError:
            self.recordings[path] = None

    def digest(self) -> str:
        """What changes when a recording under the roots comes, goes or changes."""
        return hashlib.sha256(repr((self.roots, [*self.recordings.values()])).encode()).hexdigest()

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that lie under the roots, but were not found and are certainly gone."""
        return [path for path in paths if path not in self.recordings and self._covers(path) and is_gone(path)]

    def _covers(self, path: str) -> bool:
        return any(map(Path(path).is_relative_to, self.roots))


def find_recordings(paths: Iterable[Path]) -> Walk:
    """Walks folders for files that are sound by name; a file that is named itself is always taken.

    Hidden files and folders are ignored and links to folders are not followed. A folder that cannot be listed and a name
    that is not UTF-8 are failures, not exceptions.
    """
    walk = Walk([absolute(path) for path in paths])
    for root in walk.roots:
        if not os.path.lexists(root):
            walk.absent.append(root)
        elif root.is_dir():
            _find(str(root), walk)
        else:
            walk.take(str(root), root.stat)
    return walk


def _find(folder: str, walk: Walk) -> None:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=attrgetter("name"))
    except OSError as error:
        walk.failed.append(Failure(printable(folder), f"the folder cannot be listed ({error.strerror})"))
        return
    folders = []
    for entry in entries:
        _, dot, ending = entry.name.rpartition(".")
        suffix = (dot + ending).lower() if dot else ""
        if _is_folder(entry):
            if not entry.name.startswith(".") and not entry.is_symlink():
                folders.append(entry.path)
        elif suffix in MEDIA_SUFFIXES and not entry.name.startswith("."):
            walk.take(entry.path, entry.stat)
        else:
            walk.ignored["hidden" if entry.name.startswith(".") else suffix or "no suffix"] += 1
    for path in folders:
        _find(path, walk)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, or round and round
        return False


def share(walk: Walk, part: int, parts: int) -> Walk:
    """One of `parts` shares of a walk, from 1: the same whichever machine walks, wherever the folders lie on it."""

    def is_mine(path: Path) -> bool:
        root = next((root for root in walk.roots if path.is_relative_to(root)), path.parent)
        name = path.relative_to(root if root != path else path.parent)
        return int(hashlib.sha256(str(name).encode()).hexdigest(), 16) % parts == part - 1

    return replace(walk, recordings={path: state for path, state in walk.recordings.items() if is_mine(Path(path))})


def look_into(path: Path) -> tuple[FileState, str]:
    """A file as it is now, and the SHA-256 of its content.

    Raises:
        AudioError: it cannot be read, or is no regular file.
    """
    try:
        file = FileState.of(path)
        if not path.is_file():
            raise AudioError("it is not a regular file")
        return file, file_sha256(path)
    except OSError as error:
        raise AudioError(f"it cannot be read ({error.strerror})") from error


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
