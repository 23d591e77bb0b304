"""What a store says is indexed: which files, with which content; and how that changes."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from indexer.files import FileState, is_gone
from indexer.store import KIND, RECORDING, Payload, Store

KEYS = ("content", "files", "metadata", "failure", "says")
MEMO = "recordings"
"""What the store remembers of it."""


@dataclass
class Known:
    """A content that is indexed. files: that hold it. failure: why it has no clips; "" where nothing went wrong.

    says: the space of the embeddings of what is said; "" where there are none.
    """

    files: list[FileState]
    metadata: dict[str, Any]
    failure: str
    says: str


class Ledger:
    """The indexed files by path, and the paths that share one content.

    A content is stored once however many files hold it: the point of its recording lists all of them, and its clips name
    the first.

    Args:
        store: the index.
        says: the space of what is said that is wanted; "" for the store's own, if it has one.
    """

    def __init__(self, store: Store, says: str = "") -> None:
        self._store = store
        self._known: dict[str, Known] = {}
        self._content_of: dict[str, str] = {}
        self._says = says or (store.says.space if store.says else "")
        for content, files, metadata, failure, says in store.recall(MEMO) or map(_row, store.payloads(RECORDING, KEYS)):
            known = self._known[content] = Known(list(map(FileState._make, files)), metadata, failure, says)
            for file in known.files:
                if self._content_of.setdefault(file.path, content) != content:
                    self._settle(file, content)

    def _settle(self, file: FileState, content: str) -> None:
        """A run that was killed between storing a file's new content and dropping its old one leaves both: newest wins."""
        other = self._content_of[file.path]
        earlier = next(state for state in self._known[other].files if state.path == file.path)
        stale, fresh = (content, other) if earlier.mtime > file.mtime else (other, content)
        self._release(stale, file.path)
        self._content_of[file.path] = fresh

    @property
    def paths(self) -> list[str]:
        """All indexed files."""
        return list(self._content_of)

    @property
    def contents(self) -> set[str]:
        """The hashes of all that is indexed, with what is said where that is wanted."""
        return {content for content in self._known if self.holds(content)}

    @property
    def remembered(self) -> bool:
        """Whether nothing was written since all this was last remembered."""
        return self._store.recall(MEMO) is not None

    def remember(self) -> None:
        """Lets the store recall at once what it would have to gather, until something changes."""
        self._store.remember(MEMO, lambda: [[content, *vars(known).values()] for content, known in self._known.items()])

    def knows(self, file: FileState) -> bool:
        """Whether a file is known as it is now, by size and modification time."""
        content = self._content_of.get(file.path)
        return content is not None and file in self._known[content].files and self.holds(content)

    def failure_of(self, path: str) -> str:
        """Why a known file has no clips; "" where it has."""
        return self._known[self._content_of[path]].failure

    def failures(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Those of some known files that have no clips, and why."""
        return [(path, failure) for path in paths if (failure := self.failure_of(path))]

    def has_clips(self, path: str) -> bool:
        """Whether a file is indexed and nothing was wrong with it."""
        return path in self._content_of and not self.failure_of(path)

    def holds(self, content: str) -> bool:
        """Whether a content is indexed, under whatever path, with what is said where that is wanted."""
        known = self._known.get(content)
        return known is not None and (known.says == self._says or bool(known.failure))

    def set_metadata(self, path: str, metadata: dict[str, Any]) -> None:
        """Replaces the metadata of an indexed file, where it has changed; of several copies the first one's counts."""
        content = self._content_of[path]
        known = self._known[content]
        if known.files[0].path == path and known.metadata != metadata:
            known.metadata = metadata
            self._store.set_payload({"content": content}, {"metadata": metadata})

    def attach(self, now: FileState, content: str) -> None:
        """A file holds a content that is indexed: as another copy, moved from where it was, or merely touched."""
        if self._content_of.get(now.path) != content:
            self.detach(now.path)
        known = self._known[content]
        others = [file for file in known.files if file.path != now.path]
        for file in filter(lambda file: is_gone(file.path), others):
            del self._content_of[file.path]
        known.files = [*(file for file in others if file.path in self._content_of), now]
        self._content_of[now.path] = content
        self._write(content)

    def detach(self, path: str) -> None:
        """A file is gone or holds something else now: its clips go, unless another file holds them too."""
        content = self._content_of.pop(path, None)
        if content is not None:
            self._release(content, path)

    def record(self, now: FileState, content: str, metadata: dict[str, Any], failure: str = "") -> None:
        """A file was looked at and what came of it is stored; what else it held before goes."""
        if self._content_of.get(now.path) != content:
            self.detach(now.path)
        former = self._known.get(content)
        copies = [file for file in former.files if file.path != now.path] if former else []
        self._known[content] = Known([now, *copies], metadata, failure, self._says)
        self._content_of[now.path] = content
        if copies:
            self._write(content)

    def _release(self, content: str, path: str) -> None:
        known = self._known[content]
        known.files = [file for file in known.files if file.path != path]
        if known.files:
            self._write(content)
        else:
            del self._known[content]
            self._store.delete({"content": content})

    def _write(self, content: str) -> None:
        files = self._known[content].files
        self._store.set_payload({"content": content}, {"recording": files[0].path})
        self._store.set_payload({"content": content, KIND: RECORDING}, {"files": [[*file] for file in files]})


def _row(payload: Payload) -> tuple[Any, ...]:
    """What KEYS name; indexes of earlier versions say nothing of what is said."""
    return tuple(payload.get(key, "") for key in KEYS)
