"""The catalog of an index: which files are indexed, with which content, and what a change of files means for the index.

A catalog decides and a writer stores: the methods change the catalog in memory and note what the store must change.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from voxdex.indexer.metadata import Metadata
from voxdex.indexer.scan import FileState, is_gone
from voxdex.indexer.store.base import CLIP, KIND, PHONETIC, RECORDING, Payload, Store
from voxdex.indexer.store.patterns import COPIES, PATH

BROKEN = "broken"
"""Payload key of a recording: why files that held it cannot be read any more, by path."""
LEFT_OUT = ("repeated_clips", "unused_tracks")
"""Payload keys of a recording that count what of it was left out; see DecodeSummary."""
TRANSCRIPTS = "transcripts"
"""Payload key of a recording: by path, the number of lines and the states of the transcripts beside it."""
COUNTS = ("audio_seconds", "speech_seconds", "non_speech_seconds", "clips", *LEFT_OUT, "origin", "damage", BROKEN, TRANSCRIPTS)
"""Payload keys of a recording that statistics are computed from."""
KEYS = ("content", "files", "failure", PHONETIC, "file_metadata", *COUNTS)
CACHE = "recordings"
"""Name of the cached catalog."""


@dataclass
class Entry:
    """An indexed content.

    files: those with this content, by path; none of an orphan. failure: why it has no clips, "" for none. phonetic: its
    phonetic space, "" for none. metadata: the user's metadata by path. counts: values of COUNTS.
    """

    files: dict[str, FileState]
    failure: str
    phonetic: str
    metadata: dict[str, dict[str, Any]]
    counts: dict[str, Any]

    @property
    def shown_metadata(self) -> dict[str, Any]:
        """The metadata that filters see: that of the first file that has any."""
        return next(filter(None, map(self.metadata.get, self.files)), {})

    @property
    def broken(self) -> dict[str, str]:
        """Why files that held the content cannot be read any more, by path; the clips are kept."""
        return self.counts.get(BROKEN) or {}

    @property
    def transcripts(self) -> dict[str, list[Any]]:
        """The number of lines of the transcripts beside each file, and their states, by path."""
        return self.counts.get(TRANSCRIPTS) or {}

    @property
    def transcribed(self) -> str | None:
        """The first file with lines of a transcript, which are those of the clips; None where no file has any."""
        return next((path for path in self.files if self.transcripts.get(path, [0])[0]), None)


class Catalog:
    """The indexed files by path, and the paths that share a content.

    A content is stored once: the point of its recording lists all its files, and its clips name the first one. A content whose
    last file is gone, or has another content now, is an orphan; it can be used again until the run that orphaned it ends.

    `broken` are the contents whose clips are not those that were stored, as after a kill in the middle of a long recording or a
    damage of the store. They count as unknown, and are to be deleted. On a server, where another run may be writing them, they
    are not looked for.

    Args:
        store: the index.
        phonetic: required phonetic space; "" for that of the store, if it has one.
        retry_failed: treat recordings that failed as unknown until they are decoded again.
    """

    def __init__(self, store: Store, *, phonetic: str = "", retry_failed: bool = False) -> None:
        self._store = store
        self._entries: dict[str, Entry] = {}
        self._content_of: dict[str, str] = {}
        self._phonetic = phonetic or (store.phonetic.space if store.phonetic else "")
        self._retried: set[str] = set()
        self._retry_failed = retry_failed
        self._looked_for: set[str] = set()
        self._changed: dict[str, None] = {}
        self._retranscribed: dict[str, None] = {}
        self.broken: frozenset[str] = frozenset()
        rows = store.cache_get(CACHE) or list(map(row_of, store.payloads(RECORDING, KEYS)))
        if not (store.is_shared or _agrees(rows, store)):
            rows, self.broken = _sound_rows(store)
        for content, files, *rest in rows:
            entry = self._entries[content] = Entry({path: FileState(path, *state) for path, *state in files}, *rest)
            if retry_failed and entry.failure:
                self._retried.add(content)
            for file in list(entry.files.values()):
                if self._content_of.setdefault(file.path, content) != content:
                    self._resolve(file, content)

    def _resolve(self, file: FileState, content: str) -> None:
        """Keep the newer of two contents of a file: a run was killed after it stored one and before it removed the other."""
        other = self._content_of[file.path]
        earlier = self._entries[other].files[file.path]
        stale, fresh = (content, other) if earlier.mtime > file.mtime else (other, content)
        self._release(stale, file.path)
        self._content_of[file.path] = fresh

    @property
    def paths(self) -> list[str]:
        """All indexed files."""
        return list(self._content_of)

    @property
    def hashes(self) -> set[str]:
        """The SHA-256 of all contents that need not be embedded again."""
        return {content for content in self._entries if self.holds(content)}

    @property
    def orphans(self) -> list[str]:
        """The contents without a file."""
        return [content for content, entry in self._entries.items() if not entry.files]

    def recordings(self) -> Iterator[dict[str, Any]]:
        """Yield COUNTS, "files" and "failure" of each content."""
        for entry in self._entries.values():
            yield {"files": list(entry.files.values()), "failure": entry.failure} | entry.counts

    @property
    def is_cached(self) -> bool:
        """Whether nothing was written since save_cache()."""
        return self._store.cache_get(CACHE) is not None

    def save_cache(self) -> None:
        """Cache the catalog in the store until the index changes, so that it is read at once."""
        self._store.cache_put(CACHE, lambda: list(map(self._row, self._entries)))

    def knows(self, file: FileState) -> bool:
        """Return whether a file is unchanged, by size and modification time."""
        content = self._content_of.get(file.path)
        if content is None or not self.holds(content):
            return False
        entry = self._entries[content]
        return entry.files.get(file.path) == file and not (self._retry_failed and file.path in entry.broken)

    def failure_of(self, path: str) -> str:
        """Return why an indexed file has no clips, or is no longer what its clips were cut from; "" for neither."""
        entry = self._entries[self._content_of[path]]
        return entry.failure or entry.broken.get(path, "")

    def failure_of_content(self, content: str) -> str:
        """Return why an indexed content has no clips; "" where it has."""
        return self._entries[content].failure

    def failures(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Return path and failure of those indexed files that failed."""
        return [(path, failure) for path in paths if (failure := self.failure_of(path))]

    def has_clips(self, path: str) -> bool:
        """Return whether a file is indexed and did not fail."""
        content = self._content_of.get(path)
        return content is not None and not self._entries[content].failure

    def has_content(self, content: str) -> bool:
        """Return whether the store has points of a content, in whatever state."""
        return content in self._entries or content in self.broken

    def holds(self, content: str) -> bool:
        """Return whether a content is indexed, under any path, with the required phonetic embeddings."""
        entry = self._entries.get(content)
        is_complete = entry is not None and (entry.phonetic == self._phonetic or bool(entry.failure))
        return is_complete and content not in self._retried

    def metadata_of(self, path: str) -> dict[str, Any]:
        """Return the user's metadata of a file."""
        content = self._content_of.get(path)
        return self._entries[content].metadata.get(path, {}) if content else {}

    def set_metadata(self, path: str, metadata: dict[str, Any]) -> None:
        """Replace the user's metadata of an indexed file."""
        if self.metadata_of(path) != metadata:
            content = self._content_of[path]
            self._entries[content].metadata[path] = metadata
            self._changed[content] = None

    def join_metadata(self, sheet: Metadata, scanned: Container[str]) -> Metadata:
        """Return a sheet with the kinds that its columns have together with what other files than those scanned have in them.

        Their metadata is changed to these kinds; the scanned files have that of the sheet alone.
        """
        others = [path for path in self.paths if path not in scanned]
        sheet, rows = sheet.joined_with([self.metadata_of(path) for path in others])
        for path, row in zip(others, rows, strict=True):
            self.set_metadata(path, row)
        return sheet

    def transcripts_of(self, path: str) -> list[FileState]:
        """Return the states of the transcripts of a file when they were read."""
        content = self._content_of.get(path)
        noted = self._entries[content].transcripts.get(path, []) if content else []
        return [FileState(*file) for file in noted[1:]]

    def set_transcripts(self, path: str, lines: int, files: Iterable[FileState]) -> None:
        """Note the transcripts of an indexed file and their number of lines."""
        content = self._content_of[path]
        entry, former = self._entries[content], self._entries[content].transcribed
        entry.counts[TRANSCRIPTS] = entry.transcripts | {path: [lines, *([*file] for file in files)]}
        self._changed[content] = None
        if path in (former, entry.transcribed):
            self._retranscribed[content] = None

    def take_retranscribed(self) -> list[tuple[str, list[FileState]]]:
        """Return the contents whose clips get other lines, with the transcripts that hold them, and forget them."""
        contents = [content for content in self._retranscribed if self._entries[content].files]
        self._retranscribed.clear()
        return [(content, self.transcripts_of(self._entries[content].transcribed or "")) for content in contents]

    @property
    def columns(self) -> set[str]:
        """The columns in which a file has metadata."""
        return {column for entry in self._entries.values() for row in entry.metadata.values() for column in row}

    def add_broken(self, file: FileState, reason: str) -> None:
        """Note that an indexed file cannot be read any more, in this state; its clips are kept."""
        content = self._content_of[file.path]
        entry = self._entries[content]
        entry.files[file.path] = file
        entry.counts[BROKEN] = entry.broken | {file.path: reason}
        self._changed[content] = None

    def add_path(self, file: FileState, content: str) -> None:
        """Add a file with an indexed content: a copy, a moved file, or a file with a new modification time.

        Its metadata is kept; a moved file takes the metadata of its former path.
        """
        metadata = self.metadata_of(file.path)
        if self._content_of.get(file.path) != content:
            self.remove_path(file.path)
        entry = self._entries[content]
        entry.files.pop(file.path, None)
        for gone in self._gone_files(content):
            del self._content_of[gone], entry.files[gone]
            moved = entry.metadata.pop(gone, {})
            self._forget_transcripts(content, gone)
            metadata = metadata or moved
        entry.files[file.path], entry.metadata[file.path] = file, metadata
        entry.broken.pop(file.path, None)
        self._content_of[file.path] = content
        self._changed[content] = None

    def _gone_files(self, content: str) -> list[str]:
        """Return the files of a content that no longer exist; they are looked for once, as folders may hold thousands of it."""
        if content in self._looked_for:
            return []
        self._looked_for.add(content)
        return list(filter(is_gone, self._entries[content].files))

    def remove_path(self, path: str) -> None:
        """Remove a file that is gone or has another content."""
        content = self._content_of.pop(path, None)
        if content is not None:
            self._release(content, path)

    def put(self, file: FileState, content: str, recording: Payload) -> None:
        """Add a file whose content was stored, with the payload of its recording, and release its former content."""
        if self._content_of.get(file.path) != content:
            self.remove_path(file.path)
        former = self._entries.get(content)
        copies = {path: copy for path, copy in former.files.items() if path != file.path} if former else {}
        metadata = {file.path: recording["metadata"]}
        if former:
            metadata |= {path: former.metadata.get(path, {}) for path in copies}
        counts = {key: recording[key] for key in COUNTS}
        self._entries[content] = Entry({file.path: file} | copies, recording["failure"], self._phonetic, metadata, counts)
        self._content_of[file.path] = content
        self._retried.discard(content)
        if copies:
            self._changed[content] = None

    def forget(self, content: str) -> None:
        """Remove an orphan."""
        del self._entries[content]
        self._retried.discard(content)
        self._changed.pop(content, None)
        self._retranscribed.pop(content, None)

    def take_changes(self) -> list[tuple[dict[str, str], Payload]]:
        """Return the payload changes that the store must make, as (condition, changes), and forget them."""
        changes: list[tuple[dict[str, str], Payload]] = []
        for content in self._changed:
            entry, of_content = self._entries[content], {"content": content}
            if entry.files:
                first, *copies = entry.files
                changes.append((of_content, {PATH: first, COPIES: copies, "metadata": entry.shown_metadata}))
            files = {"files": [[*file] for file in entry.files.values()], "file_metadata": entry.metadata}
            files |= {BROKEN: entry.broken, TRANSCRIPTS: entry.transcripts}
            changes.append((of_content | {KIND: RECORDING}, files))
        self._changed.clear()
        return changes

    def _release(self, content: str, path: str) -> None:
        """Take a file from a content; if no copy has metadata, the first one inherits the file's."""
        entry = self._entries[content]
        metadata = entry.metadata.pop(path, {})
        entry.files.pop(path, None)
        entry.broken.pop(path, None)
        self._forget_transcripts(content, path)
        if metadata and entry.files and not entry.shown_metadata:
            entry.metadata[next(iter(entry.files))] = metadata
        self._changed[content] = None

    def _forget_transcripts(self, content: str, path: str) -> None:
        """Take the transcripts of a file from a content."""
        if self._entries[content].transcripts.pop(path, [0])[0]:
            self._retranscribed[content] = None

    def _row(self, content: str) -> list[Any]:
        """Return a content and the fields of its entry, as JSON values; see row_of."""
        entry = self._entries[content]
        return [content, [[*file] for file in entry.files.values()], *list(vars(entry).values())[1:]]


def _agrees(rows: Sequence[Sequence[Any]], store: Store) -> bool:
    """Return whether a store has as many recordings and clips as the rows of a catalog say."""
    return store.count(RECORDING) == len(rows) and store.count(CLIP) == sum(row[-1]["clips"] or 0 for row in rows)


def _sound_rows(store: Store) -> tuple[list[tuple[Any, ...]], frozenset[str]]:
    """Return the rows of the recordings that have all their clips, and the other contents."""
    rows = list(map(row_of, store.payloads(RECORDING, KEYS)))
    clips = Counter(payload["content"] for payload in store.payloads(CLIP, ["content"]))
    sound = [row for row in rows if clips[row[0]] == (row[-1]["clips"] or 0)]
    return sound, frozenset(row[0] for row in rows).union(clips).difference(row[0] for row in sound)


def row_of(payload: Payload) -> tuple[Any, ...]:
    """Return a content and the fields of its entry, from the payload of its recording."""
    files, metadata = payload.get("files") or [], payload.get("file_metadata") or {}
    counts = {key: payload.get(key) for key in COUNTS}
    return payload["content"], files, payload.get("failure", ""), payload.get(PHONETIC, ""), metadata, counts
