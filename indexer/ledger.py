"""What a store says is indexed: which files, with which content; and how that changes."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.files import is_gone
from indexer.store import Store

KEYS = ("content", "files", "metadata")


@dataclass(frozen=True)
class FileState:
    """A file as it was when it was indexed. size in bytes, mtime in nanoseconds."""

    path: str
    size: int
    mtime: int

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """The file as it is now. Raises OSError where it is gone or may not be looked at."""
        status = path.stat()
        return cls(str(path), status.st_size, status.st_mtime_ns)


class Ledger:
    """The indexed files by path, and the paths that share one content.

    A content is stored once however many files hold it: its points list all of them, and `recording` is the first.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._files: dict[str, list[FileState]] = {}
        self._metadata: dict[str, dict[str, Any]] = {}
        self._content_of: dict[str, str] = {}
        for content, payload in {payload["content"]: payload for payload in store.payloads(KEYS)}.items():
            self._load(content, [FileState(**file) for file in payload["files"]], payload["metadata"])

    def _load(self, content: str, files: list[FileState], metadata: dict[str, Any]) -> None:
        """A run that was killed between storing a file's new content and dropping its old one leaves both: newest wins."""
        self._files[content], self._metadata[content] = files, metadata
        for file in files:
            other = self._content_of.setdefault(file.path, content)
            if other != content:
                known = next(state for state in self._files[other] if state.path == file.path)
                stale, fresh = (content, other) if known.mtime > file.mtime else (other, content)
                self._release(stale, file.path)
                self._content_of[file.path] = fresh

    @property
    def paths(self) -> list[str]:
        """All indexed files."""
        return list(self._content_of)

    @property
    def contents(self) -> set[str]:
        """The hashes of all that is indexed."""
        return set(self._files)

    def is_unchanged(self, path: Path) -> bool:
        """Whether a file is indexed with the size and modification time that it has now."""
        try:
            return FileState.of(path) in self._files.get(self._content_of.get(str(path), ""), ())
        except OSError:
            return False

    def holds(self, content: str) -> bool:
        """Whether a content is indexed, under whatever path."""
        return content in self._files

    def set_metadata(self, path: str, metadata: dict[str, Any]) -> None:
        """Replaces the metadata of an indexed file, where it has changed; of several copies the first one's counts."""
        content = self._content_of[path]
        if self._files[content][0].path == path and self._metadata[content] != metadata:
            self._metadata[content] = metadata
            self._store.set_payload("content", content, {"metadata": metadata})

    def attach(self, now: FileState, content: str) -> None:
        """A file holds a content that is indexed: as another copy, moved from where it was, or merely touched."""
        if self._content_of.get(now.path) != content:
            self.detach(now.path)
        others = [file for file in self._files[content] if file.path != now.path]
        for file in filter(lambda file: is_gone(file.path), others):
            del self._content_of[file.path]
        self._files[content] = [*(file for file in others if file.path in self._content_of), now]
        self._content_of[now.path] = content
        self._write(content)

    def detach(self, path: str) -> None:
        """A file is gone or holds something else now: its clips go, unless another file holds them too."""
        content = self._content_of.pop(path, None)
        if content is not None:
            self._release(content, path)

    def record(self, now: FileState, content: str, metadata: dict[str, Any]) -> None:
        """A file was embedded and its points are stored; what it held before goes."""
        self.detach(now.path)
        self._files[content], self._metadata[content] = [now], metadata
        self._content_of[now.path] = content

    def _release(self, content: str, path: str) -> None:
        self._files[content] = [file for file in self._files[content] if file.path != path]
        if self._files[content]:
            self._write(content)
        else:
            del self._files[content]
            self._store.delete("content", content)

    def _write(self, content: str) -> None:
        files = self._files[content]
        changes = {"recording": files[0].path, "files": [asdict(file) for file in files]}
        self._store.set_payload("content", content, changes)
