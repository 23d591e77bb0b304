"""Recordings -> clips on their way to the embedder: decoded in threads, none of which runs far ahead."""

import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue

from encoders import AudioError, AudioReader
from encoders.audio import Origin
from encoders.model_folder import file_sha256
from indexer.clips import Clip, split
from indexer.ledger import FileState


@dataclass(frozen=True)
class Piece:
    """A clip of the recording at `path`."""

    path: str
    clip: Clip


@dataclass(frozen=True)
class Done:
    """A recording has been read to its end, or need not be.

    file, content: None and "" where it could not even be looked at. read: False where the content is known already.
    audio_seconds: how long it lasts. failure: why it has no clips. damage: what is missing of it.
    """

    path: str
    file: FileState | None = None
    content: str = ""
    read: bool = True
    audio_seconds: float = 0.0
    origin: Origin | None = None
    failure: str = ""
    damage: str | None = None


class Reader:
    """Reads recordings, each as its pieces and then Done; those of several recordings come interleaved.

    Args:
        held: contents that are indexed; they are not decoded, nor is a content that was read before.
        clip_seconds: see `split`.
        threads: that decode; None takes half the cores.
        ahead: pieces that wait at most.
    """

    def __init__(self, held: Iterable[str], clip_seconds: float, threads: int | None = None, ahead: int = 128) -> None:
        self._seen, self._clip_seconds, self._ahead = set(held), clip_seconds, ahead
        self._threads = threads or max(1, (os.cpu_count() or 1) // 2)
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
            try:
                while not stopped.is_set():
                    with self._lock:
                        path = next(waiting, None)
                    if path is None:
                        break
                    for event in self._timed(self._read_one(path)):
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

    def _read_one(self, path: Path) -> Iterator[Piece | Done]:
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
        reader, seconds = AudioReader(path), 0.0
        try:
            for clip in split(reader, self._clip_seconds):
                seconds = clip.end
                yield Piece(name, clip)
        except AudioError as error:
            yield Done(name, file, content, origin=reader.origin, failure=str(error))
        else:
            yield Done(name, file, content, audio_seconds=seconds, origin=reader.origin, damage=reader.damage)
