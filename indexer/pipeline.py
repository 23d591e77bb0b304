"""An archive into an index: find, decode, split, embed in batches, store; what changed, what failed."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from encoders import AudioError, AudioReader, Model
from encoders.audio import Failure
from encoders.model_folder import file_sha256
from encoders.zero_shot import AttributeTagger
from indexer.clips import Clip, split
from indexer.files import Walk, is_gone
from indexer.ledger import FileState, Ledger
from indexer.metadata import Metadata
from indexer.prefetch import prefetch
from indexer.store import Point, Store

BATCH_CLIPS = 64
IDENTITY = uuid.UUID("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c11")
"""Namespace of point ids: they follow from content, span and space, so that a repeated run converges."""


@dataclass
class Stages:
    """Seconds of work in each stage. Decoding runs beside the others, so they can add up to more than has passed."""

    decode: float = 0.0
    embed: float = 0.0
    store: float = 0.0


@dataclass
class IndexReport:
    """What a run did.

    recordings: found under the paths, each of them then in one of indexed, unchanged and failed.
    removed, missing: indexed recordings that are no longer there, dropped and kept. clips, audio_seconds: of the recordings
    embedded in this run. seconds: wall time. unmatched_metadata: rows of the metadata that name no indexed recording.
    """

    space: str
    recordings: int = 0
    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    missing: int = 0
    clips: int = 0
    audio_seconds: float = 0.0
    seconds: float = 0.0
    unmatched_metadata: int = 0
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)


@dataclass(frozen=True)
class Progress:
    """How far a run is: recordings done of all, those in it that were unchanged, seconds of audio embedded."""

    done: int
    total: int
    unchanged: int
    audio_seconds: float


@dataclass(frozen=True)
class Piece:
    """A clip on its way from the decoder to the embedder."""

    file: FileState
    content: str
    clip: Clip


@dataclass(frozen=True)
class Done:
    """A recording has been read to its end. Without `file` it cannot be used, for the reason `failure`.

    damage: what was left out of it.
    """

    path: str
    file: FileState | None = None
    content: str = ""
    audio_seconds: float = 0.0
    failure: str = ""
    damage: str | None = None


def index(
    walk: Walk,
    store: Store,
    model: Model,
    metadata: Metadata | None = None,
    prune: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> IndexReport:
    """Brings an index up to date with the recordings of a walk.

    What is unchanged by size and modification time, or by content, is not embedded again. A recording's clips are
    stored together once all are embedded, so an interrupted run leaves whole recordings only.

    Args:
        walk: what find_recordings found.
        store: an index of this model's space.
        model: what embeds.
        metadata: stored with each recording that it has a row for; None leaves what is stored.
        prune: drop recordings under the walk's roots that no longer exist; otherwise they are counted as missing.
        on_progress: called after each batch of clips.

    Raises:
        StoreError: the engine fails; what was stored before is kept.
    """
    started = time.perf_counter()
    report = IndexReport(model.card.space)
    report.ignored, report.failed = dict(walk.ignored), list(walk.failed)

    ledger = Ledger(store)
    writer = _Writer(store, ledger, model, metadata, report)
    for root in walk.absent:
        if not any(Path(path).is_relative_to(root) for path in ledger.paths):
            report.failed.append(Failure(str(root), "there is no such file or folder"))
    report.recordings = len(walk.recordings) + len(report.failed)
    changed = []
    for path in walk.recordings:
        if ledger.is_unchanged(path):
            writer.keep(str(path))
        else:
            changed.append(path)

    kept = report.unchanged
    while changed:
        events = prefetch(_read(changed, ledger.contents, model.card.max_seconds, report.stages), ahead=2 * BATCH_CLIPS)
        while batch := list(islice(events, BATCH_CLIPS)):
            writer.write(batch)
            done = report.indexed + report.unchanged + len(report.failed)
            on_progress(Progress(done, report.recordings, kept, writer.audio_seconds))
        changed = writer.take_back()

    for path in [path for path in ledger.paths if any(map(Path(path).is_relative_to, walk.roots)) and is_gone(path)]:
        if prune:
            ledger.detach(path)
            report.removed += 1
        else:
            report.missing += 1
    report.unmatched_metadata = metadata.unmatched(ledger.paths) if metadata else 0
    report.seconds = time.perf_counter() - started
    return report


class _Writer:
    """Embeds what the decoder sends and stores each recording once it is whole."""

    def __init__(self, store: Store, ledger: Ledger, model: Model, metadata: Metadata | None, report: IndexReport) -> None:
        self._store, self._ledger, self._model, self._metadata, self._report = store, ledger, model, metadata, report
        self._tag = AttributeTagger(model)
        self._pending: list[Point] = []
        self._lost: list[Path] = []
        self.audio_seconds = 0.0
        for name in ("recording", *(f"attributes.{name}" for name in self._tag.names)):
            store.declare(name, "text")
        for name in ("start", "end", "duration"):
            store.declare(name, "number")
        for name, kind in (metadata.kinds if metadata else {}).items():
            store.declare(f'metadata."{name}"', kind)

    def write(self, batch: list[Piece | Done]) -> None:
        """Takes the next pieces, in the order in which they were read."""
        points = iter(self._embed([event for event in batch if isinstance(event, Piece)]))
        for event in batch:
            if isinstance(event, Piece):
                self._pending.append(next(points))
                self.audio_seconds += event.clip.end - event.clip.start
            else:
                with _timed(self._report.stages, "store"):
                    self._finish(event, self._pending)
                self._pending = []

    def take_back(self) -> list[Path]:
        """Recordings that were not decoded because their content was indexed, but whose clips have gone since.

        It happens where two recordings swap their contents: the first one takes the place of what the second now holds.
        """
        lost, self._lost = self._lost, []
        return lost

    def keep(self, path: str) -> None:
        """A recording that is indexed already: only what the user says of it may have changed."""
        self._report.unchanged += 1
        if self._metadata and (known := self._metadata.of(path)):
            self._ledger.set_metadata(path, known)

    def _finish(self, done: Done, points: list[Point]) -> None:
        if done.damage:
            self._report.damaged.append(Failure(done.path, done.damage))
        if done.file is None:
            self._report.failed.append(Failure(done.path, done.failure))
        elif self._ledger.holds(done.content):
            self._ledger.attach(done.file, done.content)
            self.keep(done.path)
        elif points:
            self._store.upsert(points)
            self._ledger.record(done.file, done.content, points[0].payload["metadata"])
            self._report.indexed += 1
            self._report.clips += len(points)
            self._report.audio_seconds += done.audio_seconds
        else:
            self._lost.append(Path(done.path))

    def _embed(self, pieces: list[Piece]) -> list[Point]:
        if not pieces:
            return []
        with _timed(self._report.stages, "embed"):
            vectors = np.stack(list(self._model.embed_speech(piece.clip.samples for piece in pieces)))
            attributes = self._tag(vectors)
        return [self._point(*parts) for parts in zip(pieces, vectors, attributes, strict=True)]

    def _point(self, piece: Piece, vector: np.ndarray, attributes: dict[str, str]) -> Point:
        space, clip = self._report.space, piece.clip
        payload = {
            "recording": piece.file.path,
            "start": clip.start,
            "end": clip.end,
            "duration": round(clip.end - clip.start, 3),
            "attributes": attributes,
            "metadata": self._metadata.of(piece.file.path) if self._metadata else {},
            "files": [asdict(piece.file)],
            "content": piece.content,
            "space": space,
        }
        return Point(str(uuid.uuid5(IDENTITY, f"{piece.content}#{clip.start}-{clip.end}@{space}")), vector, payload)


def _read(paths: list[Path], held: set[str], clip_seconds: float, stages: Stages) -> Iterator[Piece | Done]:
    """Decodes recordings, each as its pieces and then Done; a content that is held, or was read before, is not decoded."""
    seen = set(held)
    for path in paths:
        pieces = _read_one(path, seen, clip_seconds)
        while True:
            with _timed(stages, "decode"):
                event = next(pieces)
            yield event
            if isinstance(event, Done):
                break


def _read_one(path: Path, seen: set[str], clip_seconds: float) -> Iterator[Piece | Done]:
    try:
        file = FileState.of(path)
        if not path.is_file():
            yield Done(str(path), failure="it is not a regular file")
            return
        content = file_sha256(path)
    except OSError as error:
        yield Done(str(path), failure=f"it cannot be read ({error.strerror})")
        return
    if content in seen:
        yield Done(str(path), file, content)
        return
    reader, seconds = AudioReader(path), 0.0
    try:
        for clip in split(reader, clip_seconds):
            seconds = clip.end
            yield Piece(file, content, clip)
    except AudioError as error:
        yield Done(str(path), failure=str(error))
    else:
        seen.add(content)
        yield Done(str(path), file, content, seconds, damage=reader.damage)


@contextmanager
def _timed(stages: Stages, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        setattr(stages, stage, getattr(stages, stage) + time.perf_counter() - started)
