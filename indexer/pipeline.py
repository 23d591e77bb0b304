"""An archive into an index: find, decode, split, embed in batches, store; what changed, what failed."""

import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

from encoders import Model
from encoders.audio import Failure
from encoders.machine import peak_memory, usable_cores
from encoders.phonetic_model import PhoneticModel
from encoders.spotting import pack
from indexer.decoding import Decoded
from indexer.embedding import Embedded, Read, Span, Unembedded, read_here
from indexer.files import Walk, is_gone, lies_under
from indexer.ledger import Ledger
from indexer.measures import Measures
from indexer.metadata import Metadata
from indexer.reading import Done
from indexer.store import CLIP, HEARD, KIND, RECORDING, Payload, Point, PointError, Store
from indexer.store.filters import key_in
from indexer.summary import remember_overview

FLUSH_SECONDS = 10.0
"""How much work a power cut may cost."""
MOST_PRUNED = 0.5
"""Share of a root's recordings that are dropped without further asking."""
SETTLED = "settled-{:.16}"
"""What the store remembers of a walk whose digest this is, after a run to which all of it was known: what has failed of it."""
IDENTITY = uuid.UUID("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c11")
"""Namespace of point ids: they follow from content, span and space, so that a repeated run converges."""


@dataclass
class Stages:
    """Seconds of work in each stage: processor time of the decoders, which run beside the others, and time passed in those."""

    decode: float = 0.0
    embed: float = 0.0
    store: float = 0.0


@dataclass
class IndexReport:
    """What a run did.

    recordings: found under the paths, each of them then in one of indexed, unchanged and failed.
    removed, missing: indexed recordings that are no longer there, dropped and kept. clips, audio_seconds: of the recordings
    indexed in this run; speech_seconds: of their clips; other_seconds: of sound that is not speech; silent: those without a
    clip. seconds: wall time. peak_bytes: most memory that all processes together can have held, None on Windows.
    unmatched_metadata: rows of the metadata that name no indexed recording; without_metadata: indexed recordings that no row
    names.
    """

    space: str
    recordings: int = 0
    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    missing: int = 0
    clips: int = 0
    audio_seconds: float = 0.0
    speech_seconds: float = 0.0
    other_seconds: float = 0.0
    silent: int = 0
    seconds: float = 0.0
    peak_bytes: int | None = None
    unmatched_metadata: int = 0
    without_metadata: int = 0
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    stages: Stages = field(default_factory=Stages)


@dataclass(frozen=True)
class Progress:
    """How far a run is: recordings done of all, those in it that were unchanged, seconds of audio embedded.

    optimising: all are done, and the index is being made quick to search.
    """

    done: int
    total: int
    unchanged: int
    audio_seconds: float
    optimising: bool = False


def index(
    walk: Walk,
    store: Store,
    model: Model,
    metadata: Metadata | None = None,
    prune: bool = False,
    everything: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    listener: PhoneticModel | None = None,
    read: Read = read_here,
    prune_all: bool = False,
    retry_failed: bool = False,
) -> IndexReport:
    """Brings an index up to date with the recordings of a walk.

    What is unchanged by size and modification time, or by content, is not embedded again. A recording's clips are
    stored together once all are embedded, so an interrupted run leaves whole recordings only.

    Args:
        walk: what find_recordings found.
        store: an index of this model's space.
        model: what embeds.
        metadata: stored with each recording that it has a row for; of others, what is stored is kept.
        prune: drop recordings under the walk's roots that no longer exist; otherwise they are counted as missing. A root of
            which more than half would go is left as it is, and named as failed.
        everything: make clips of all sound, not of speech alone.
        on_progress: called after each batch of clips, and when all are written.
        listener: what embeds what is said, of an index that holds that too (store.says); recordings that were indexed without
            are embedded again.
        read: reads and embeds, here or elsewhere (cluster.read_on_ray).
        prune_all: with `prune`, drop however many of a root no longer exist.
        retry_failed: look again at recordings that failed before, and have not changed since.

    Raises:
        StoreError: the engine fails; what was stored before is kept.
    """
    started = time.perf_counter()
    report = IndexReport(model.card.space)
    report.ignored, report.failed = dict(walk.ignored), list(walk.failed)

    if not (metadata or retry_failed) and _is_settled(walk, store, report):
        report.seconds, report.peak_bytes = time.perf_counter() - started, _peak_bytes()
        return report

    ledger = Ledger(store, retry_failed=retry_failed)
    writer = _Writer(store, ledger, metadata, report)
    for absent in walk.absent:
        indexed = [path for path in ledger.paths if lies_under(path, absent.path)]
        if not (prune and any(map(is_gone, indexed))):  # else pruning drops them, or says why not
            kept = "; what the index holds of it is kept" if indexed else ""
            report.failed.append(replace(absent, reason=f"{absent.reason}{kept}"))
    report.recordings = len(walk.recordings) + len(report.failed)
    changed = []
    for path, file in walk.recordings.items():
        if file and ledger.knows(file):
            writer.keep(path)
        else:
            changed.append(path)

    kept, flushed = report.unchanged, started
    progress = Progress(kept + len(report.failed), report.recordings, kept, 0.0)
    while changed:
        for batch in read(changed, ledger.contents, model, listener, everything):
            writer.write(batch)
            if time.perf_counter() - flushed > FLUSH_SECONDS:
                store.flush()
                flushed = time.perf_counter()
            done = report.indexed + report.unchanged + len(report.failed)
            progress = Progress(done, report.recordings, kept, writer.audio_seconds)
            on_progress(progress)
        changed = writer.take_back()

    gone = walk.missing(ledger.paths)
    kept_roots = _emptied(walk.roots, ledger.paths, gone) if prune and not prune_all else []
    for path in gone:
        if prune and not any(lies_under(path, root.path) for root in kept_roots):
            ledger.detach(path)
            report.removed += 1
        else:
            report.missing += 1
    report.failed += kept_roots
    report.recordings += len(kept_roots)
    if not ledger.remembered:
        on_progress(replace(progress, optimising=True))
        with _timed(report.stages, "store"):
            store.optimise()
    ledger.remember()
    remember_overview(store, ledger)
    if not report.missing and all(file and ledger.knows(file) for file in walk.recordings.values()):
        store.remember(SETTLED.format(walk.digest()), lambda: ledger.failures(walk.recordings))
    if metadata:
        report.unmatched_metadata = len(metadata.unmatched(ledger.paths))
        report.without_metadata = len(metadata.unknown(ledger.paths))
    for found in (report.failed, report.damaged):
        found.sort(key=lambda failure: failure.path)
    report.seconds, report.peak_bytes = time.perf_counter() - started, _peak_bytes(writer.peak_of_decoder)
    return report


def _emptied(roots: Sequence[str], known: Sequence[str], gone: Sequence[str]) -> list[Failure]:
    """The roots of which more than half of the indexed recordings are gone: rather a disk that is away than a wish."""
    found = []
    for root in roots:
        indexed, lost = (sum(lies_under(path, root) for path in paths) for paths in (known, gone))
        if lost > MOST_PRUNED * indexed:
            reason = f"{lost} of its {indexed} indexed recordings are gone, and none of them was dropped"
            found.append(Failure(root, f"{reason}: see that its disk is mounted, or drop them with --prune=all"))
    return found


def _is_settled(walk: Walk, store: Store, report: IndexReport) -> bool:
    """Whether a former run knew all of a walk, and nothing has changed since; if so, reports that."""
    failed = None if walk.absent or walk.failed else store.recall(SETTLED.format(walk.digest()))
    if failed is None:
        return False
    report.recordings = len(walk.recordings)
    report.failed = [Failure(*failure) for failure in failed]
    report.unchanged = report.recordings - len(report.failed)
    return True


def _peak_bytes(of_decoder: int = 0) -> int | None:
    """Bytes of this process and of a decoder on each core."""
    return None if sys.platform == "win32" else peak_memory() + usable_cores() * of_decoder


class _Writer:
    """Stores each recording once all of it is embedded."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        metadata: Metadata | None,
        report: IndexReport,
    ) -> None:
        self._store, self._ledger, self._metadata, self._report = store, ledger, metadata, report
        self._pending: dict[str, list[Span]] = defaultdict(list)
        self._unembedded: dict[str, str] = {}
        self._lost: list[str] = []
        self._declared = False
        self.audio_seconds, self.peak_of_decoder = 0.0, 0
        if metadata:
            store.declare({key_in("metadata", name): kind for name, kind in metadata.kinds.items()})

    def write(self, batch: list[Embedded]) -> None:
        """Takes the next spans, and recordings that are done after all theirs."""
        for event in batch:
            if isinstance(event, Span):
                self._pending[event.path].append(event)
                self.audio_seconds += event.end - event.start
                self._report.stages.embed += event.work_seconds
            elif isinstance(event, Unembedded):
                self._unembedded[event.path] = event.reason
            else:
                with _timed(self._report.stages, "store"):
                    self._finish(event, self._pending.pop(event.path, []))

    def _declare(self, span: Span) -> None:
        """Tells the store the fields of clips."""
        names = span.attributes
        measured = (f"measured.{field.name}" for field in fields(Measures))
        texts = ("recording", *(f"attributes.{name}" for name in names))
        numbers = ("start", "end", "duration", *measured, *(f"probabilities.{name}" for name in names))
        self._store.declare(dict.fromkeys(texts, "text") | dict.fromkeys(numbers, "number"))

    def take_back(self) -> list[str]:
        """Recordings that were not decoded because their content was indexed, but whose clips have gone since.

        It happens where two recordings swap their contents: the first one takes the place of what the second now holds.
        """
        lost, self._lost = self._lost, []
        return lost

    def keep(self, path: str) -> None:
        """A recording that is known already: only what the user says of it may have changed."""
        if self._metadata and (row := self._metadata.of(path)) is not None:
            self._ledger.set_metadata(path, row)
        if failure := self._ledger.failure_of(path):
            self._report.failed.append(Failure(path, failure))
        else:
            self._report.unchanged += 1

    def _finish(self, done: Done, spans: list[Span]) -> None:
        unembedded = self._unembedded.pop(done.path, "")
        if self._ledger.holds(done.content):
            self._ledger.attach(done.file, done.content)
            self.keep(done.path)
        elif done.decoded is None:
            self._lost.append(done.path)
        elif unembedded and not done.decoded.failure:
            self._fail(done, replace(done.decoded, failure=unembedded, is_passing=True))
        else:
            self._report.stages.decode += done.decoded.work_seconds
            self.peak_of_decoder = max(self.peak_of_decoder, done.decoded.peak_bytes or 0)
            self._take(done, done.decoded, spans)

    def _take(self, done: Done, decoded: Decoded, spans: list[Span]) -> None:
        """A recording that has been decoded."""
        if decoded.damage:
            self._report.damaged.append(Failure(done.path, decoded.damage))
        if decoded.failure:
            return self._fail(done, decoded)
        if decoded.origin:
            self._store.declare({key_in("tags", name): "text" for name in decoded.origin.tags})
        if spans and not self._declared:
            self._declare(spans[0])
            self._declared = True
        recording = self._recording(done, decoded, spans)
        try:
            self._store.upsert([*(self._clip(done, decoded, span) for span in spans), recording])
        except PointError as error:
            return self._fail(done, replace(decoded, failure=str(error), is_passing=True))
        self._ledger.record(done.file, done.content, recording.payload)
        self._report.indexed += 1
        self._report.clips += len(spans)
        self._report.audio_seconds += decoded.audio_seconds
        self._report.speech_seconds += _seconds_of(spans)
        self._report.other_seconds += decoded.other_seconds
        self._report.silent += not spans

    def _fail(self, done: Done, decoded: Decoded) -> None:
        """A recording that failed; that is remembered, unless it may pass or the file has clips of what it held before."""
        self._report.failed.append(Failure(done.path, decoded.failure))
        if decoded.is_passing or self._ledger.has_clips(done.path):
            return
        recording = self._recording(done, decoded, [])
        with suppress(PointError):
            self._store.upsert([recording])
            self._ledger.record(done.file, done.content, recording.payload)

    def _clip(self, done: Done, decoded: Decoded, span: Span) -> Point:
        payload = self._about(done, decoded, CLIP) | {
            "start": span.start,
            "end": span.end,
            "duration": round(span.end - span.start, 3),
            "attributes": {name: heard.label for name, heard in span.attributes.items()},
            "probabilities": {name: heard.probability for name, heard in span.attributes.items()},
            "measured": {name: value for name, value in vars(span.measures).items() if value is not None},
        }
        id = _identity(f"{done.content}#{span.start}-{span.end}@{self._report.space}")
        if span.says is None:
            return Point(id, span.vector, payload)
        return Point(id, span.vector, payload | {HEARD: pack(span.says.log_shares)}, span.says.vector)

    def _recording(self, done: Done, decoded: Decoded, spans: Sequence[Span]) -> Point:
        """What is known of a recording as a whole; see Ledger."""
        payload = self._about(done, decoded, RECORDING) | {
            "files": [[*done.file]],
            "file_metadata": {done.path: self._known_of(done.path)},
            "audio_seconds": round(decoded.audio_seconds, 3),
            "speech_seconds": round(_seconds_of(spans), 3),
            "other_seconds": round(decoded.other_seconds, 3),
            "clips": len(spans),
            "origin": {key: value for key, value in vars(decoded.origin).items() if key != "tags"} if decoded.origin else {},
            "failure": decoded.failure,
            "damage": decoded.damage or "",
            "says": self._store.says.space if self._store.says else "",
        }
        return Point(_identity(f"{done.content}@{self._report.space}"), None, payload)

    def _about(self, done: Done, decoded: Decoded, kind: str) -> Payload:
        return {
            KIND: kind,
            "recording": done.path,
            "metadata": self._known_of(done.path),
            "tags": decoded.origin.tags if decoded.origin else {},
            "content": done.content,
            "space": self._report.space,
        }

    def _known_of(self, path: str) -> dict[str, Any]:
        row = self._metadata.of(path) if self._metadata else None
        return self._ledger.metadata_of(path) if row is None else row


def _seconds_of(spans: Sequence[Span]) -> float:
    return sum(span.end - span.start for span in spans)


def _identity(name: str) -> str:
    return str(uuid.uuid5(IDENTITY, name))


@contextmanager
def _timed(stages: Stages, stage: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        setattr(stages, stage, getattr(stages, stage) + time.perf_counter() - started)
