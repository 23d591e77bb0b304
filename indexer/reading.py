"""Recordings -> clips on their way to the embedder: decoded, cut and measured in threads, none of which runs far ahead."""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue

from encoders import AudioError, AudioReader
from encoders.audio import Origin
from encoders.model_folder import file_sha256
from encoders.runtime import usable_cores
from encoders.voice_activity import VoiceActivity
from indexer.clips import Clip, Windows
from indexer.ledger import FileState
from indexer.measures import Measures, measure
from indexer.speech import SpeechClips


@dataclass(frozen=True)
class Piece:
    """A clip of the recording at `path`, and what was measured of it."""

    path: str
    clip: Clip
    measures: Measures


@dataclass(frozen=True)
class Done:
    """A recording has been read to its end, or need not be.

    file, content: None and "" where it could not even be looked at. read: False where the content is known already.
    audio_seconds: how long it lasts; other_seconds: how much of that is sound, but not speech. failure: why it has no clips.
    damage: what is missing of it.
    """

    path: str
    file: FileState | None = None
    content: str = ""
    read: bool = True
    audio_seconds: float = 0.0
    other_seconds: float = 0.0
    origin: Origin | None = None
    failure: str = ""
    damage: str | None = None


class Reader:
    """Reads recordings, each as its pieces and then Done; those of several recordings come interleaved.

    Args:
        held: contents that are indexed; they are not decoded, nor is a content that was read before.
        clip_seconds: most that a clip lasts.
        everything: make clips of all sound, not of speech alone.
        ahead: pieces that wait at most.
    """

    def __init__(self, held: Iterable[str], clip_seconds: float, everything: bool = False, ahead: int = 128) -> None:
        self._seen, self._clip_seconds, self._everything, self._ahead = set(held), clip_seconds, everything, ahead
        self._threads = usable_cores()
        self._lock = threading.Lock()
        self.busy_seconds = 0.0
        """What all threads together spent reading and decoding."""

    def read(self, paths: Iterable[Path]) -> Iterator[Piece | Done]:
        """Everything about these recordings; leaving the loop early stops the threads."""
        waiting, queue, stopped = iter(list(paths)), Queue(self._ahead), threading.Event()

        def put(item: object) -> None:
            while not stopped.is_set():
                try:
                    return queue.put(item, timeout=0.1)
                except Full:
                    continue

        def work() -> None:
            activity = VoiceActivity()
            try:
                while not stopped.is_set():
                    with self._lock:
                        path = next(waiting, None)
                    if path is None:
                        break
                    for event in self._timed(self._read_one(path, activity)):
                        put(event)
                        if stopped.is_set():
                            return
                put(None)
            except BaseException as error:  # handed over to the reader
                put(error)

        for _ in range(self._threads):
            threading.Thread(target=work, daemon=True).start()
        running = self._threads
        try:
            while running:
                item = queue.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    running -= 1
                else:
                    yield item
        finally:
            stopped.set()

    def _timed(self, events: Iterator[Piece | Done]) -> Iterator[Piece | Done]:
        while True:
            started = time.perf_counter()
            event = next(events, None)
            with self._lock:
                self.busy_seconds += time.perf_counter() - started
            if event is None:
                return
            yield event

    def _read_one(self, path: Path, activity: VoiceActivity) -> Iterator[Piece | Done]:
        name = str(path)
        try:
            file = FileState.of(path)
            if not path.is_file():
                yield Done(name, failure="it is not a regular file")
                return
            content = file_sha256(path)
        except OSError as error:
            yield Done(name, failure=f"it cannot be read ({error.strerror})")
            return
        with self._lock:
            known = content in self._seen
            self._seen.add(content)
        if known:
            yield Done(name, file, content, read=False)
            return
        reader = AudioReader(path)
        clips = Windows(reader, self._clip_seconds) if self._everything else SpeechClips(reader, self._clip_seconds, activity)
        try:
            for clip in clips:
                yield Piece(name, clip, measure(clip.samples))
        except AudioError as error:
            yield Done(name, file, content, origin=reader.origin, failure=str(error))
        else:
            yield Done(name, file, content, True, clips.seconds, clips.other_seconds, reader.origin, damage=reader.damage)
