"""The result of an index run: running totals, progress, and the report."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import attrgetter

from voxdex.encoders.errors import Failure
from voxdex.encoders.machine import peak_memory, usable_cores
from voxdex.indexer.pipeline.decoder import DecodeSummary

USUAL_SECONDS, USUAL_BYTES = 60.0, 1_000_000
"""Duration and size of a typical minute of compressed sound, from which a run estimates how much there is to decode."""


@dataclass
class StageSeconds:
    """Time spent in each stage: processor time of the decoders, which run beside the others; wall time of the others."""

    decode: float = 0.0
    embed: float = 0.0
    store: float = 0.0


@dataclass(frozen=True)
class SpeakerReport:
    """The result of a search for speakers. clips: whose voices were embedded. speakers, new: of the index, and of this run."""

    clips: int
    speakers: int
    new: int


@dataclass(frozen=True)
class IndexReport:
    """The result of a run.

    recordings: found under the paths; each is one of indexed, unchanged and failed. removed, missing: indexed recordings
    that no longer exist, dropped and kept. clips, audio_seconds, speech_seconds, non_speech_seconds (sound without speech),
    without_speech (recordings without clips), repeated_clips and unused_tracks (see DecodeSummary): of the recordings
    indexed in this run. seconds: wall time. peak_bytes: upper bound of the memory of all processes, None on Windows.
    transcripts: recordings whose transcripts were read. unmatched_metadata: metadata rows that name no indexed recording.
    without_metadata: indexed recordings without a row. ignored: skipped files by suffix. speakers: None where the index has
    none.
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
    non_speech_seconds: float = 0.0
    without_speech: int = 0
    repeated_clips: int = 0
    unused_tracks: int = 0
    transcripts: int = 0
    seconds: float = 0.0
    peak_bytes: int | None = None
    unmatched_metadata: int = 0
    without_metadata: int = 0
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)
    ignored: dict[str, int] = field(default_factory=dict)
    speakers: SpeakerReport | None = None
    stages: StageSeconds = field(default_factory=StageSeconds)


@dataclass(frozen=True)
class Progress:
    """The progress of a run: recordings done, of a total, and those of them that were unchanged; seconds of audio embedded.

    optimising: all recordings are done, and search indexes are being built. heard_seconds: sound that was decoded, silence
    included. total_seconds: sound that the run will decode, estimated from the sizes of the files.
    """

    done: int
    total: int
    unchanged: int
    audio_seconds: float
    optimising: bool = False
    heard_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass
class RunStatistics:
    """The running totals of a run; see IndexReport for the fields of the same names.

    total: recordings that the run will have done. skipped: recordings that were unchanged by size and modification time.
    embedded_seconds: audio of the clips embedded so far. decoder_bytes: peak memory of a decoding process. bytes_left,
    bytes_done: size of the files to decode. done_seconds: sound of those that are done. positions: seconds up to which others
    are embedded, by path.
    """

    total: int = 0
    skipped: int = 0
    indexed: int = 0
    unchanged: int = 0
    removed: int = 0
    missing: int = 0
    clips: int = 0
    audio_seconds: float = 0.0
    speech_seconds: float = 0.0
    non_speech_seconds: float = 0.0
    without_speech: int = 0
    repeated_clips: int = 0
    unused_tracks: int = 0
    transcripts: int = 0
    embedded_seconds: float = 0.0
    decoder_bytes: int = 0
    bytes_left: int = 0
    bytes_done: int = 0
    done_seconds: float = 0.0
    positions: dict[str, float] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)
    stages: StageSeconds = field(default_factory=StageSeconds)
    started: float = field(default_factory=time.perf_counter)

    def add_indexed(self, summary: DecodeSummary, clip_seconds: list[float]) -> None:
        """Count a recording that was indexed with clips of these lengths."""
        self.indexed += 1
        self.clips += len(clip_seconds)
        self.audio_seconds += summary.audio_seconds
        self.speech_seconds += sum(clip_seconds)
        self.non_speech_seconds += summary.non_speech_seconds
        self.without_speech += not clip_seconds
        self.repeated_clips += summary.repeated_clips
        self.unused_tracks += summary.unused_tracks

    def add_known(self, path: str, failure: str) -> None:
        """Count a recording that was indexed before, with the failure that was stored of it."""
        if failure:
            self.failed.append(Failure(path, failure))
        else:
            self.unchanged += 1

    def progress(self, *, optimising: bool = False) -> Progress:
        """Return the progress so far."""
        done = self.indexed + self.unchanged + len(self.failed)
        heard = self.done_seconds + sum(self.positions.values())
        per_byte = (self.done_seconds + USUAL_SECONDS) / (self.bytes_done + USUAL_BYTES)
        total = max(heard, self.done_seconds + self.bytes_left * per_byte)
        return Progress(done, self.total, self.skipped, self.embedded_seconds, optimising, heard, total)

    def add_position(self, path: str, seconds: float) -> None:
        """Note up to where a recording is embedded."""
        self.positions[path] = max(seconds, self.positions.get(path, 0.0))

    def add_decoded(self, path: str, size: int, seconds: float) -> None:
        """Note that a recording of this size and duration is done."""
        self.positions.pop(path, None)
        self.bytes_left, self.bytes_done = max(0, self.bytes_left - size), self.bytes_done + size
        self.done_seconds += seconds

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Add the time of the block to the stage "store"."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages.store += time.perf_counter() - started

    def report(
        self, space: str, ignored: Mapping[str, int], *, unmatched_metadata: int = 0, without_metadata: int = 0
    ) -> IndexReport:
        """Return the report of a run that ends now."""
        by_path = attrgetter("path")
        return IndexReport(
            space,
            recordings=self.total,
            indexed=self.indexed,
            unchanged=self.unchanged,
            removed=self.removed,
            missing=self.missing,
            clips=self.clips,
            audio_seconds=self.audio_seconds,
            speech_seconds=self.speech_seconds,
            non_speech_seconds=self.non_speech_seconds,
            without_speech=self.without_speech,
            repeated_clips=self.repeated_clips,
            unused_tracks=self.unused_tracks,
            transcripts=self.transcripts,
            seconds=time.perf_counter() - self.started,
            peak_bytes=None if sys.platform == "win32" else peak_memory() + usable_cores() * self.decoder_bytes,
            unmatched_metadata=unmatched_metadata,
            without_metadata=without_metadata,
            failed=sorted(self.failed, key=by_path),
            damaged=sorted(self.damaged, key=by_path),
            ignored=dict(ignored),
            stages=self.stages,
        )
