"""Recordings into clips in a process apart, beside the embedding; what hangs or crashes takes only that process along."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voxdex.encoders.audio.acoustics import AcousticMeasures
from voxdex.encoders.audio.reader import Origin
from voxdex.encoders.worker import Worker, WorkerError, idle_worker
from voxdex.indexer.pipeline.clips import Clip


@dataclass(frozen=True)
class SegmentedClip:
    """A clip of the recording at `path`, and what was measured of it."""

    path: str
    clip: Clip
    measures: AcousticMeasures


@dataclass(frozen=True)
class DecodeSummary:
    """A recording has been decoded to its end.

    audio_seconds: how long it lasts; other_seconds: how much of that is sound, but not speech. failure: why it has no
    clips; is_passing: whether that is the machine's fault, so that another run may read it. damage: what is missing of it.
    work_seconds: processor time it took. peak_bytes: most memory that its process has had, None on Windows.
    """

    audio_seconds: float = 0.0
    other_seconds: float = 0.0
    origin: Origin | None = None
    failure: str = ""
    is_passing: bool = False
    damage: str | None = None
    work_seconds: float = 0.0
    peak_bytes: int | None = None


class Decoder:
    """Decodes one recording after another, each in a process of this one's pool.

    Args:
        clip_seconds: most that a clip lasts.
        everything: make clips of all sound, not of speech alone.
    """

    def __init__(self, clip_seconds: float, everything: bool) -> None:
        self._settings = (clip_seconds, everything)
        self._worker: Worker | None = None
        self._is_closed, self._lock = False, threading.Lock()

    def read(self, path: str, file: Path) -> Iterator[SegmentedClip | DecodeSummary]:
        """The clips of the recording at `path`, which lies in a file of this machine, and at the end DecodeSummary."""
        try:
            with idle_worker() as worker:
                with self._lock:
                    if self._is_closed:
                        return
                    self._worker = worker
                try:
                    yield from worker.run("voxdex.indexer.pipeline.decoder_worker:decode", path, file, *self._settings)
                finally:
                    with self._lock:
                        self._worker = None
        except WorkerError as error:
            yield DecodeSummary(failure=str(error), is_passing=True)

    def close(self) -> None:
        """Decode no more; a process that decodes ends, whatever it does."""
        with self._lock:
            self._is_closed = True
            if self._worker:
                self._worker.close()
