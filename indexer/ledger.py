"""What a store says is indexed: which files, with which content; and how that changes."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
        for payload in store.payloads(KEYS):
            content = payload["content"]
            if content not in self._files:
                self._files[content] = [FileState(**file) for file in payload["files"]]
                self._metadata[content] = payload["metadata"]
                self._content_of |= {file.path: content for file in self._files[content]}

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

    def metadata(self, path: str) -> dict[str, Any]:
        """The metadata stored with an indexed file."""
        return self._metadata[self._content_of[path]]

    def set_metadata(self, path: str, metadata: dict[str, Any]) -> None:
        """Replaces the metadata stored with an indexed file."""
        content = self._content_of[path]
        self._metadata[content] = metadata
        self._store.set_payload("content", content, {"metadata": metadata})

    def attach(self, now: FileState, content: str) -> None:
        """A file holds a content that is indexed: as another copy, moved from where it was, or merely touched."""
        if self._content_of.get(now.path) != content:
            self.detach(now.path)
        kept = [file for file in self._files[content] if file.path != now.path and os.path.exists(file.path)]
        for gone in set(self._files[content]) - set(kept):
            self._content_of.pop(gone.path, None)
        self._files[content] = [*kept, now]
        self._content_of[now.path] = content
        self._write(content)

    def detach(self, path: str) -> bool:
        """A file is gone or holds something else now: its clips go, unless another file holds them too."""
        content = self._content_of.pop(path, None)
        if content is None:
            return False
        self._files[content] = [file for file in self._files[content] if file.path != path]
        if self._files[content]:
            self._write(content)
        else:
            del self._files[content]
            self._store.delete("content", content)
        return True

    def record(self, now: FileState, content: str, metadata: dict[str, Any]) -> None:
        """A file was embedded and its points are stored."""
        self._files[content] = [now]
        self._metadata[content] = metadata
        self._content_of[now.path] = content

    def _write(self, content: str) -> None:
        files = self._files[content]
        changes = {"recording": files[0].path, "files": [asdict(file) for file in files]}
        self._store.set_payload("content", content, changes)
