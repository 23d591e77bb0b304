"""Decoding and segmentation of recordings in a separate process, so that a hang or crash only ends that process."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from voxdex.encoders.audio.acoustics import AcousticMeasures
from voxdex.encoders.audio.container import AudioError, Origin
from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.paths import file_sha256
from voxdex.encoders.worker import Worker, WorkerError, idle_worker
from voxdex.indexer.pipeline.clips import Clip
from voxdex.indexer.scan import UNKNOWN_MTIME, FileState, hashed_file


@dataclass(frozen=True)
class SegmentedClip:
    """A clip of the recording at `path`, with its acoustic measures."""

    path: str
    clip: Clip
    measures: AcousticMeasures


@dataclass(frozen=True)
class DecodeSummary:
    """The result of decoding a recording.

    audio_seconds: duration. non_speech_seconds: duration of sound without speech. repeated_clips: clips left out because
    another track or channel has the same speech. unused_tracks: audio tracks that were not read. failure: why it has no
    clips, "" for none. is_passing: whether the machine caused the failure, so that another run may succeed. damage: what is
    missing of it. work_seconds: processor time. peak_bytes: peak memory of the decoding process, None on Windows.
    """

    audio_seconds: float = 0.0
    non_speech_seconds: float = 0.0
    repeated_clips: int = 0
    unused_tracks: int = 0
    origin: Origin | None = None
    failure: str = ""
    is_passing: bool = False
    damage: str | None = None
    work_seconds: float = 0.0
    peak_bytes: int | None = None


@dataclass(frozen=True)
class RecordingDone:
    """The end of a recording's events.

    file, content: its state and SHA-256, "" where the recording could not be read. summary: None where its content is known.
    """

    path: str
    file: FileState
    content: str
    summary: DecodeSummary | None


@dataclass(frozen=True)
class Segmentation:
    """How recordings are cut into clips. clip_seconds: maximum length of a clip. vad: clips of speech only, or of all sound."""

    clip_seconds: float
    vad: bool = True


class Decoder:
    """Decodes one recording at a time, in a process of this process's pool."""

    def __init__(self, segmentation: Segmentation) -> None:
        self._segmentation = segmentation
        self._worker: Worker | None = None
        self._is_closed, self._lock = False, threading.Lock()

    def read(self, path: str, file: Path) -> Iterator[SegmentedClip | DecodeSummary]:
        """Yield the clips of the recording at `path`, from a local file, and its DecodeSummary at the end."""
        try:
            with idle_worker() as worker:
                with self._lock:
                    if self._is_closed:
                        return
                    self._worker = worker
                try:
                    yield from worker.run("voxdex.indexer.pipeline.decoder_worker:decode", path, file, self._segmentation)
                finally:
                    with self._lock:
                        self._worker = None
        except WorkerError as error:
            yield DecodeSummary(failure=str(error), is_passing=True)

    def close(self) -> None:
        """Stop decoding; the process of a recording that is being decoded is ended."""
        with self._lock:
            self._is_closed = True
            if self._worker:
                self._worker.close()


def read_recording(path: str, decoder: Decoder, is_known: Callable[[str], bool]) -> Iterator[SegmentedClip | RecordingDone]:
    """Yield a recording's clips and then RecordingDone; RecordingDone alone where its content is known.

    Args:
        path: of the recording.
        decoder: decodes it.
        is_known: whether a content, by its SHA-256, need not be decoded.
    """
    content = ""
    try:
        with hashed_file(path) as (state, content, file):
            if is_known(content):
                yield RecordingDone(path, state, content, None)
                return
            before = FileState.of(str(file)) if is_url(path) else state
            for event in decoder.read(path, file):
                if isinstance(event, DecodeSummary):
                    yield RecordingDone(path, state, content, _checked(event, file, before, content))
                else:
                    yield event
    except AudioError as error:
        unknown = FileState(path, 0, UNKNOWN_MTIME)
        yield RecordingDone(path, unknown, content, DecodeSummary(failure=str(error), is_passing=True))


def _checked(summary: DecodeSummary, file: Path, before: FileState, content: str) -> DecodeSummary:
    """Return a summary as a passing failure where the file changed or vanished while it was read.

    A file that is being written, a drive that is disconnected and a broken share otherwise look like faults of the recording.
    """
    try:
        is_same = FileState.of(str(file))[1:] == before[1:]
        if is_same and (summary.failure or summary.damage):
            is_same = file_sha256(file) == content
        reason = "" if is_same else "it was changed while it was read"
    except OSError as error:
        reason = f"it went away while it was read ({error.strerror or 'there is no such file'})"
    return replace(summary, failure=summary.failure or reason, is_passing=True) if reason else summary
