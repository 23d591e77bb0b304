"""Scans of folders for recordings, and the state of files."""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from voxdex.encoders.audio.container import AudioError, begins_as_media
from voxdex.encoders.audio.reader import MEDIA_SUFFIXES
from voxdex.encoders.audio.remote import (
    FetchError,
    Location,
    canonical,
    is_folder,
    is_url,
    list_files,
    on_disk,
    remote_stat,
    size_and_version,
)
from voxdex.encoders.errors import Failure
from voxdex.encoders.paths import file_sha256
from voxdex.indexer.transcripts import FORMATS as TRANSCRIPT_FORMATS
from voxdex.indexer.transcripts import match_transcripts, suffix_of

ABSENT = "there is no such file or folder"
MOST_MTIME = 2**63 - 1
"""Maximum modification time that an index holds, in nanoseconds: the year 2262."""
SERVICE_FOLDERS = frozenset(
    ("$RECYCLE.BIN", "RECYCLER", "#recycle", "@Recycle", "@eaDir", "__MACOSX", "System Volume Information", "lost+found")
)
"""Folders of systems, servers and archivers, whose files are trash or service data."""
UNKNOWN_MTIME = -1
"""Modification time of a URL whose server does not report one."""


class FileState(NamedTuple):
    """The state of a file. size: bytes. mtime: modification time in nanoseconds; for a URL, a number that changes with it."""

    path: str
    size: int
    mtime: int

    @classmethod
    def of(cls, path: str) -> "FileState":
        """Return the present state of a file. Raises OSError where it is missing or inaccessible."""
        if is_url(path):
            size, version = remote_stat(path)
            return cls(path, size, UNKNOWN_MTIME if version is None else version)
        return cls._from(path, Path(path).stat())

    @classmethod
    def of_entry(cls, entry: os.DirEntry[str]) -> "FileState":
        """Return the state of a file from a directory entry."""
        return cls._from(entry.path, entry.stat())

    @classmethod
    def _from(cls, path: str, status: os.stat_result) -> "FileState":
        return cls(path, status.st_size, max(-MOST_MTIME, min(status.st_mtime_ns, MOST_MTIME)))


@dataclass(frozen=True)
class ScanResult:
    """The recordings under some paths.

    roots: the paths, in the form of absolute(). recordings: state of each recording by path or URL, in a fixed order; None
    where it is unknown. transcripts: state of the transcripts beside each recording that has any. ignored: number of files that
    are not media by name, by suffix. absent: roots that do not exist. failed: folders that cannot be listed, names that cannot
    be stored. texts: functions that return the state of files that may be transcripts, by path.
    """

    roots: list[str]
    recordings: dict[str, FileState | None] = field(default_factory=dict)
    transcripts: dict[str, list[FileState]] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    absent: list[Failure] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    texts: dict[str, Callable[[], FileState]] = field(default_factory=dict, repr=False, compare=False)

    def add(self, path: str, look: Callable[[], FileState]) -> None:
        """Add a recording. look: returns its state."""
        try:
            path.encode()
        except UnicodeEncodeError:
            self.failed.append(Failure(printable(path), "its name is not valid UTF-8; rename it"))
            return
        try:
            file = look()
            self.recordings[path] = None if file.mtime == UNKNOWN_MTIME else file
        except OSError:
            self.recordings[path] = None

    def add_if_media(self, path: str, name: str, look: Callable[[], FileState]) -> None:
        """Add a file that is media by name and not hidden; count others as ignored. name: path below the root or folder."""
        is_hidden, (_, dot, ending) = "/." in f"/{name}", name.rpartition(".")
        suffix = (dot + ending).lower() if dot else ""
        if not SERVICE_FOLDERS.isdisjoint(name.split("/")):
            self.ignored["in trash or service folders"] += 1
        elif is_hidden:
            self.ignored["hidden"] += 1
        elif suffix in MEDIA_SUFFIXES or (not suffix and not is_url(path) and begins_as_media(Path(path))):
            self.add(path, look)
        elif suffix in TRANSCRIPT_FORMATS:
            self.texts[path] = look
        else:
            self.ignored[suffix or "no suffix"] += 1

    def match_transcripts(self) -> None:
        """Match the transcripts that were found to the recordings, and count the other texts as ignored."""
        matched = match_transcripts(self.texts, self.recordings)
        beside = {path for paths in matched.values() for path in paths}
        states = {path: state for path in beside if (state := self._state(path))}
        for recording, paths in matched.items():
            if found := [states[path] for path in sorted(paths) if path in states]:
                self.transcripts[recording] = found
        self.ignored.update(suffix_of(path) for path in self.texts if path not in states)

    def _state(self, text: str) -> FileState | None:
        """Return the state of a text; None where it is not accessible."""
        try:
            text.encode()
            return self.texts[text]()
        except (OSError, UnicodeEncodeError):
            return None

    def digest(self) -> str:
        """Return a hash that changes when a recording under the roots, or a transcript, is added, removed or changed."""
        return hashlib.sha256(repr((self.roots, [*self.recordings.values()], self.transcripts)).encode()).hexdigest()

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Return those of some paths under the roots that were not found and certainly do not exist."""
        return [path for path in paths if path not in self.recordings and self._covers(path) and is_gone(path)]

    def _covers(self, path: str) -> bool:
        return any(lies_under(path, root) for root in self.roots)


def find_recordings(paths: Iterable[Location]) -> ScanResult:
    """Scan folders, local or at URLs, for files that are media by name. Files among the paths are always included.

    Hidden files and folders are ignored, and links to folders are not followed. A folder that cannot be listed and a name that
    is not UTF-8 are failures, not exceptions. The transcripts beside recordings are found with them.
    """
    scan = ScanResult([absolute(path) for path in paths])
    for root in scan.roots:
        if is_url(root):
            _scan_remote(root, scan)
        elif not os.path.lexists(root):
            scan.absent.append(Failure(root, ABSENT))
        elif is_folder(root):
            _scan_folder(root, root, scan)
        else:
            scan.add(root, partial(FileState.of, root))
            _look_beside(root, scan)
    scan.match_transcripts()
    return scan


def _scan_remote(root: str, scan: ScanResult) -> None:
    def fail(error: OSError) -> None:
        scan.failed.append(Failure(root, f"a folder in it cannot be listed ({error})"))

    try:
        for url, info in list_files(root, fail):
            look = partial(_state_of, url, info)
            scan.add(url, look) if url == root else scan.add_if_media(url, url.removeprefix(root).lstrip("/"), look)
    except FileNotFoundError:
        scan.absent.append(Failure(root, ABSENT))
    except OSError as error:
        scan.failed.append(Failure(root, str(error)))


def _state_of(url: str, info: dict[str, Any]) -> FileState:
    """Return the state of a URL from its listing, or from a request where the listing is incomplete."""
    size, version = size_and_version(info)
    return FileState.of(url) if version is None else FileState(url, size, version)


def _scan_folder(folder: str, root: str, scan: ScanResult) -> None:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=attrgetter("name"))
    except OSError as error:
        scan.failed.append(Failure(printable(folder), f"the folder cannot be listed ({error.strerror})"))
        return
    folders = []
    for entry in entries:
        if not _is_folder(entry):
            name = entry.path.removeprefix(root).lstrip("/" + os.sep).replace(os.sep, "/")
            scan.add_if_media(entry.path, name, partial(FileState.of_entry, entry))
        elif not entry.name.startswith(".") and not entry.is_symlink():
            folders.append(entry.path)
    for path in folders:
        _scan_folder(path, root, scan)


def _look_beside(file: str, scan: ScanResult) -> None:
    """Add the transcripts of a single file; a folder that cannot be listed has none."""
    with suppress(OSError), os.scandir(Path(file).parent) as entries:
        texts = {entry.path: entry for entry in entries if suffix_of(entry.name) in TRANSCRIPT_FORMATS}
        for path in match_transcripts(texts, [file]).get(file, ()):
            scan.texts[path] = partial(FileState.of_entry, texts[path])


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a broken or circular link
        return False


def partition(scan: ScanResult, part: int, parts: int) -> ScanResult:
    """Return one of `parts` partitions of a scan, from 1; it does not depend on the machine or the location of the folders."""

    def is_mine(path: str) -> bool:
        root = next((root for root in scan.roots if lies_under(path, root)), "")
        name = path.removeprefix(root).lstrip("/" + os.sep) or Path(path).name
        return int(hashlib.sha256(name.encode()).hexdigest(), 16) % parts == part - 1

    return replace(scan, recordings={path: state for path, state in scan.recordings.items() if is_mine(path)})


@contextmanager
def hashed_file(path: str) -> Iterator[tuple[FileState, str, Path]]:
    """Yield the state of a file, the SHA-256 of its content, and its local path, which is temporary for a URL.

    Raises:
        AudioError: the file cannot be read or fetched, or is not a regular file.
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
    """Return a path in the form that an index stores: absolute, without "..", links not followed; or a URL."""
    return canonical(path) if is_url(path) else os.path.abspath(path)


def beside(table: Path, name: str) -> str:
    """Return the path of a recording in a table (a URL, absolute, or relative to the table), in the form of absolute()."""
    return absolute(name if is_url(name) else table.parent / name)


def lies_under(path: str, folder: str) -> bool:
    """Return whether a path or URL is a folder or lies under it; both in the form of absolute()."""
    return path == folder or path.startswith(folder.rstrip("/" + os.sep) + ("/" if is_url(folder) else os.sep))


def printable(path: str | Path) -> str:
    """Return a path as text, with escapes for bytes that are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_gone(path: str) -> bool:
    """Return whether a file certainly does not exist; False where that cannot be checked."""
    try:
        FileState.of(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def missing_files(paths: Iterable[str]) -> list[str]:
    """Return those of some paths that certainly do not exist; faster than is_gone() of each, as each folder is listed once."""
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
    """Return the names in a folder, without links; None where it does not exist, empty where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return {entry.name for entry in found if not entry.is_symlink()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return set()
