"""Recordings -> clips on their way to the embedder: decoded by several processes, none of which runs far ahead."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Full, Queue

from voxdex.encoders.audio.reader import AudioError
from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.machine import usable_cores
from voxdex.encoders.paths import file_sha256
from voxdex.indexer.pipeline.decoder import Decoder, DecodeSummary, SegmentedClip
from voxdex.indexer.scan import FileState, hashed_file


@dataclass(frozen=True)
class RecordingDone:
    """A recording has been read to its end, or need not be.

    file, content: None and "" where it could not even be looked at. decoded: None where the content is known already.
    """

    path: str
    file: FileState | None
    content: str
    decoded: DecodeSummary | None


class Reader:
    """Reads recordings, each as its pieces and then Done; those of several recordings come interleaved.

    Args:
        held: contents that are indexed; they are not decoded, nor is a content that was read before.
        clip_seconds: most that a clip lasts.
        everything: make clips of all sound, not of speech alone.
        ahead: pieces that wait at most.
    """

    def __init__(self, held: Iterable[str], clip_seconds: float, everything: bool = False, ahead: int = 128) -> None:
        self._seen, self._settings, self._ahead = set(held), (clip_seconds, everything), ahead
        self._lock = threading.Lock()

    def read(self, paths: Iterable[str]) -> Iterator[SegmentedClip | RecordingDone]:
        """Everything about these recordings; leaving the loop early ends the processes."""
        paths = list(paths)
        waiting, queue, stopped = iter(paths), Queue(self._ahead), threading.Event()
        decoders = [Decoder(*self._settings) for _ in range(min(usable_cores(), len(paths)))]

        def put(item: object) -> None:
            while not stopped.is_set():
                try:
                    return queue.put(item, timeout=0.1)
                except Full:
                    continue

        def work(decoder: Decoder) -> None:
            try:
                while not stopped.is_set():
                    with self._lock:
                        path = next(waiting, None)
                    if path is None:
                        break
                    for event in read_one(path, decoder, self._is_known):
                        put(event)
                        if stopped.is_set():
                            return
                put(None)
            except BaseException as error:  # handed over to the reader
                put(error)

        for decoder in decoders:
            threading.Thread(target=work, args=(decoder,), daemon=True).start()
        running = len(decoders)
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
            for decoder in decoders:
                decoder.close()

    def _is_known(self, content: str) -> bool:
        with self._lock:
            known = content in self._seen
            self._seen.add(content)
        return known


def read_one(path: str, decoder: Decoder, is_known: Callable[[str], bool]) -> Iterator[SegmentedClip | RecordingDone]:
    """A recording's pieces and then Done, or Done alone where its content is known."""
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
        yield RecordingDone(path, None, "", DecodeSummary(failure=str(error), is_passing=True))


def _checked(decoded: DecodeSummary, file: Path, before: FileState, content: str) -> DecodeSummary:
    """What became of a recording, if it is what its file still holds.

    A file that is written to while it is read, a drive that goes away and a share that fails look like faults of the recording.
    """
    try:
        is_same = FileState.of(str(file))[1:] == before[1:]
        if is_same and (decoded.failure or decoded.damage):
            is_same = file_sha256(file) == content
        reason = "" if is_same else "it was changed while it was read"
    except OSError as error:
        reason = f"it went away while it was read ({error.strerror or 'there is no such file'})"
    return replace(decoded, failure=decoded.failure or reason, is_passing=True) if reason else decoded
