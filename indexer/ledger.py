"""What a store says is indexed: which files, with which content; and how that changes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from indexer.files import FileState, is_gone
from indexer.store import KIND, RECORDING, Payload, Store

ABOUT = ("audio_seconds", "speech_seconds", "other_seconds", "clips", "origin", "damage")
"""What is counted of recordings; see overview."""
KEYS = ("content", "files", "metadata", "file_metadata", "failure", "says")
MEMO = "recordings"
"""What the store remembers of it."""


@dataclass
class Known:
    """A content that is indexed. files: that hold it. failure: why it has no clips; "" where nothing went wrong.

    says: the space of the embeddings of what is said; "" where there are none. metadata: what the user said of the files, by
    path. about: ABOUT.
    """

    files: list[FileState]
    failure: str
    says: str
    metadata: dict[str, dict[str, Any]]
    about: dict[str, Any]

    @property
    def shown(self) -> dict[str, Any]:
        """The metadata that its clips are found by: of the first file of which something was said."""
        return next(filter(None, (self.metadata.get(file.path) for file in self.files)), {})


class Ledger:
    """The indexed files by path, and the paths that share one content.

    A content is stored once however many files hold it: the point of its recording lists all of them, and its clips name
    the first.

    Args:
        store: the index.
        says: the space of what is said that is wanted; "" for the store's own, if it has one.
        retry_failed: take recordings that failed for unknown, until they are looked at again.
    """

    def __init__(self, store: Store, says: str = "", retry_failed: bool = False) -> None:
        self._store = store
        self._known: dict[str, Known] = {}
        self._content_of: dict[str, str] = {}
        self._says = says or (store.says.space if store.says else "")
        self._doubtful: set[str] = set()
        for content, files, *rest in store.recall(MEMO) or map(_row, store.payloads(RECORDING, KEYS + ABOUT)):
            known = self._known[content] = Known(list(map(FileState._make, files)), *rest)
            if retry_failed and known.failure:
                self._doubtful.add(content)
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

    def recordings(self) -> Iterator[dict[str, Any]]:
        """Of each content that is indexed what overview counts: ABOUT, files and failure."""
        return ({"files": known.files, "failure": known.failure} | known.about for known in self._known.values())

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
        return known is not None and content not in self._doubtful and (known.says == self._says or bool(known.failure))

    def metadata_of(self, path: str) -> dict[str, Any]:
        """What the user said of an indexed file."""
        content = self._content_of.get(path)
        return self._known[content].metadata.get(path, {}) if content else {}

    def set_metadata(self, path: str, metadata: dict[str, Any]) -> None:
        """Replaces what the user said of an indexed file, where that has changed."""
        if self.metadata_of(path) != metadata:
            content = self._content_of[path]
            self._known[content].metadata[path] = metadata
            self._write(content)

    def attach(self, now: FileState, content: str) -> None:
        """A file holds a content that is indexed: as another copy, moved from where it was, or merely touched.

        What was said of the file is kept; a file that is new takes what was said of the one that it was moved from.
        """
        said = self.metadata_of(now.path)
        if self._content_of.get(now.path) != content:
            self.detach(now.path)
        known = self._known[content]
        others = [file for file in known.files if file.path != now.path]
        for file in filter(lambda file: is_gone(file.path), others):
            del self._content_of[file.path]
            said = said or known.metadata.pop(file.path, {})
        known.files = [*(file for file in others if file.path in self._content_of), now]
        known.metadata = {file.path: known.metadata.get(file.path, {}) for file in known.files} | {now.path: said}
        self._content_of[now.path] = content
        self._write(content)

    def detach(self, path: str) -> None:
        """A file is gone or holds something else now: its clips go, unless another file holds them too."""
        content = self._content_of.pop(path, None)
        if content is not None:
            self._release(content, path)

    def record(self, now: FileState, content: str, recording: Payload) -> None:
        """A file was looked at and what came of it is stored, with this payload; what else it held before goes."""
        if self._content_of.get(now.path) != content:
            self.detach(now.path)
        former = self._known.get(content)
        copies = [file for file in former.files if file.path != now.path] if former else []
        said = {file.path: former.metadata.get(file.path, {}) for file in copies} if former else {}
        about = {key: recording[key] for key in ABOUT}
        metadata = {now.path: recording["metadata"]} | said
        self._known[content] = Known([now, *copies], recording["failure"], self._says, metadata, about)
        self._content_of[now.path] = content
        self._doubtful.discard(content)
        if copies:
            self._write(content)

    def _release(self, content: str, path: str) -> None:
        """A file no longer holds a content; if nothing was said of its copies, what was said of it is said of them."""
        known = self._known[content]
        said = known.metadata.pop(path, {})
        known.files = [file for file in known.files if file.path != path]
        if known.files:
            if said and not known.shown:
                known.metadata[known.files[0].path] = said
            self._write(content)
        else:
            del self._known[content]
            self._doubtful.discard(content)
            self._store.delete({"content": content})

    def _write(self, content: str) -> None:
        known = self._known[content]
        self._store.set_payload({"content": content}, {"recording": known.files[0].path, "metadata": known.shown})
        changes = {"files": [[*file] for file in known.files], "file_metadata": known.metadata}
        self._store.set_payload({"content": content, KIND: RECORDING}, changes)


def _row(payload: Payload) -> tuple[Any, ...]:
    """A content, and what Known holds of it; indexes of earlier versions say less."""
    content, files, metadata, by_file, failure, says = (payload.get(key) or "" for key in KEYS)
    about = {key: payload.get(key) for key in ABOUT}
    return content, files, failure, says, by_file or ({files[0][0]: metadata} if metadata else {}), about
