"""Which recordings lie under the given paths."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from encoders import MEDIA_SUFFIXES, AudioError
from encoders.audio import Failure
from encoders.model_folder import file_sha256
from encoders.remote import FetchError, Location, canonical, is_folder, is_url, list_files, look_at, on_disk, size_and_version

ABSENT = "there is no such file or folder"
MOST_MTIME = 2**63 - 1
"""Nanoseconds that an index can hold, until the year 2262."""
UNTOLD = -1
"""The mtime of a URL whose server does not tell when it changes."""


class FileState(NamedTuple):
    """A file as it was when it was looked at. size in bytes, mtime in nanoseconds; of a URL, a number that changes with it."""

    path: str
    size: int
    mtime: int

    @classmethod
    def of(cls, path: str) -> "FileState":
        """The file as it is now. Raises OSError where it is gone or may not be looked at."""
        if is_url(path):
            size, version = look_at(path)
            return cls(path, size, UNTOLD if version is None else version)
        return cls._from(path, Path(path).stat())

    @classmethod
    def of_entry(cls, entry: os.DirEntry) -> "FileState":
        """See of; what a listing has told already is not asked again."""
        return cls._from(entry.path, entry.stat())

    @classmethod
    def _from(cls, path: str, status: os.stat_result) -> "FileState":
        return cls(path, status.st_size, max(-MOST_MTIME, min(status.st_mtime_ns, MOST_MTIME)))


@dataclass(frozen=True)
class Walk:
    """What lies under some paths.

    roots: the paths, as absolute() has them. recordings: by path or URL, in a fixed order, how each looks; None where nobody
    can tell. ignored: how many files of each suffix are not sound by name. absent: roots that do not exist. failed: folders
    that cannot be listed, names that cannot be kept.
    """

    roots: list[str]
    recordings: dict[str, FileState | None] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    absent: list[Failure] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)

    def take(self, path: str, look: Callable[[], FileState]) -> None:
        """Adds a recording, as it is found when it is looked at."""
        try:
            path.encode()
        except UnicodeEncodeError:
            self.failed.append(Failure(printable(path), "its name is not valid UTF-8; rename it"))
            return
        try:
            file = look()
            self.recordings[path] = None if file.mtime == UNTOLD else file
        except OSError:
            self.recordings[path] = None

    def consider(self, path: str, name: str, look: Callable[[], FileState]) -> None:
        """Adds a file if it is sound by its name, below the root or in its folder, and not hidden; else it is counted."""
        is_hidden, (_, dot, ending) = "/." in f"/{name}", name.rpartition(".")
        suffix = (dot + ending).lower() if dot else ""
        if suffix in MEDIA_SUFFIXES and not is_hidden:
            self.take(path, look)
        else:
            self.ignored["hidden" if is_hidden else suffix or "no suffix"] += 1

    def digest(self) -> str:
        """What changes when a recording under the roots comes, goes or changes."""
        return hashlib.sha256(repr((self.roots, [*self.recordings.values()])).encode()).hexdigest()

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that lie under the roots, but were not found and are certainly gone."""
        return [path for path in paths if path not in self.recordings and self._covers(path) and is_gone(path)]

    def _covers(self, path: str) -> bool:
        return any(lies_under(path, root) for root in self.roots)


def find_recordings(paths: Iterable[Location]) -> Walk:
    """Walks folders, here and at URLs, for files that are sound by name; a file that is named itself is always taken.

    Hidden files and folders are ignored and links to folders are not followed. A folder that cannot be listed and a name
    that is not UTF-8 are failures, not exceptions.
    """
    walk = Walk([absolute(path) for path in paths])
    for root in walk.roots:
        if is_url(root):
            _find_elsewhere(root, walk)
        elif not os.path.lexists(root):
            walk.absent.append(Failure(root, ABSENT))
        elif is_folder(root):
            _find(root, walk)
        else:
            walk.take(root, partial(FileState.of, root))
    return walk


def _find_elsewhere(root: str, walk: Walk) -> None:
    def fail(error: OSError) -> None:
        walk.failed.append(Failure(root, f"a folder in it cannot be listed ({error})"))

    try:
        for url, info in list_files(root, fail):
            look = partial(_state_of, url, info)
            walk.take(url, look) if url == root else walk.consider(url, url.removeprefix(root).lstrip("/"), look)
    except FileNotFoundError:
        walk.absent.append(Failure(root, ABSENT))
    except OSError as error:
        walk.failed.append(Failure(root, str(error)))


def _state_of(url: str, info: dict[str, Any]) -> FileState:
    """From what a listing says, or where that is too little, as the file is looked at."""
    size, version = size_and_version(info)
    return FileState.of(url) if version is None else FileState(url, size, version)


def _find(folder: str, walk: Walk) -> None:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=attrgetter("name"))
    except OSError as error:
        walk.failed.append(Failure(printable(folder), f"the folder cannot be listed ({error.strerror})"))
        return
    folders = []
    for entry in entries:
        if not _is_folder(entry):
            walk.consider(entry.path, entry.name, partial(FileState.of_entry, entry))
        elif not entry.name.startswith(".") and not entry.is_symlink():
            folders.append(entry.path)
    for path in folders:
        _find(path, walk)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere, or round and round
        return False


def share(walk: Walk, part: int, parts: int) -> Walk:
    """One of `parts` shares of a walk, from 1: the same whichever machine walks, wherever the folders lie on it."""

    def is_mine(path: str) -> bool:
        root = next((root for root in walk.roots if lies_under(path, root)), "")
        name = path.removeprefix(root).lstrip("/" + os.sep) or Path(path).name
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) % parts == part - 1

    return replace(walk, recordings={path: state for path, state in walk.recordings.items() if is_mine(path)})


@contextmanager
def looked_into(path: str) -> Iterator[tuple[FileState, str, Path]]:
    """A file as it is now, the SHA-256 of its content, and where it lies on this machine for the while.

    Raises:
        AudioError: it cannot be read or fetched, or is no regular file.
    """
    with ExitStack() as stack:
        try:
            state = FileState.of(path)
            file = stack.enter_context(on_disk(path))
            if not file.is_file():
                raise AudioError("it is not a regular file")
            content = file_sha256(file)
        except FetchError as error:
            raise AudioError(str(error)) from error
        except OSError as error:
            raise AudioError(f"it cannot be read ({error.strerror or 'there is no such file'})") from error
        yield state, content, file


def absolute(path: Location) -> str:
    """From the root and without "..", links not followed, or a URL: the form in which an index keeps paths."""
    return canonical(path) if is_url(path) else os.path.abspath(path)


def beside(table: Path, name: str) -> str:
    """A recording that a table names, by a URL, an absolute path or one from the table on, in the form of absolute()."""
    return absolute(name if is_url(name) else table.parent / name)


def lies_under(path: str, folder: str) -> bool:
    """Whether a path or URL is a folder's, or the folder itself; both as absolute() has them."""
    return path == folder or path.startswith(folder.rstrip("/" + os.sep) + ("/" if is_url(folder) else os.sep))


def printable(path: str | Path) -> str:
    """A path as text; bytes that are not UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_gone(path: str) -> bool:
    """Whether a file is certainly not there; one that may not be looked at is not known to be gone."""
    try:
        FileState.of(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def gone_of(paths: Iterable[str]) -> list[str]:
    """Those of some paths that are certainly gone; quicker than is_gone of each, as each folder is listed once."""
    there: dict[str, set[str] | None] = {}
    gone = []
    for path in paths:
        folder, _, name = path.rpartition(os.sep)
        if folder not in there:
            there[folder] = _files_in(folder + os.sep)
        names = there[folder]
        if names is None or (name not in names and is_gone(path)):
            gone.append(path)
    return gone


def _files_in(folder: str) -> set[str] | None:
    """The names in a folder, links left out, which may lead nowhere; None where it is gone, none where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return {entry.name for entry in found if not entry.is_symlink()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return set()
