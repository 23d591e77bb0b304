"""The pipeline on this machine: recordings are decoded in several processes and embedded in a thread, a batch ahead."""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import Full, Queue

from voxdex.encoders.machine import usable_cores
from voxdex.indexer.pipeline.decoder import Decoder, DecodeSummary, RecordingDone, Segmentation, SegmentedClip, read_recording
from voxdex.indexer.pipeline.embedder import BATCH_CLIPS, Embedder, EmbedEvent, EmbedJob

ReadEvent = SegmentedClip | RecordingDone | BaseException | None
ReadQueue = Queue[ReadEvent]
"""Events of the decoding threads; the last one of each is None, or the exception that ended it."""


def embed_locally(job: EmbedJob) -> Iterator[list[EmbedEvent]]:
    """Decode and embed recordings on this machine; see EmbedBackend."""
    embed = Embedder(job.model, job.phonetic_model, job.calibration, job.taught)
    events = Reader(job.known_hashes, Segmentation(job.model.card.max_seconds, job.vad), ahead=2 * BATCH_CLIPS).read(job.paths)
    with ThreadPoolExecutor(1) as pool:
        embedded: deque[Future[list[EmbedEvent]]] = deque()
        while batch := list(islice(events, BATCH_CLIPS)):
            embedded.append(pool.submit(embed, batch))
            if len(embedded) > 1:
                yield embedded.popleft().result()
        yield from (batch.result() for batch in embedded)


class Reader:
    """Reads recordings in parallel, each as its clips and then RecordingDone; events of several recordings are interleaved.

    Each content is decoded once: a copy waits for the recording that is being decoded, and is decoded itself if the machine
    made that one fail.

    Args:
        known_hashes: contents that are not decoded.
        segmentation: how the others are cut into clips.
        ahead: maximum number of events that wait.
    """

    def __init__(self, known_hashes: Iterable[str], segmentation: Segmentation, ahead: int = 128) -> None:
        self._known, self._segmentation, self._ahead = set(known_hashes), segmentation, ahead
        self._decoding: set[str] = set()
        self._copies: dict[str, list[RecordingDone]] = defaultdict(list)
        self._paths: deque[str] = deque()
        self._lock = threading.Lock()

    def read(self, paths: Iterable[str]) -> Iterator[SegmentedClip | RecordingDone]:
        """Yield the events of these recordings; closing the generator ends the decoding processes."""
        self._paths.extend(paths)
        queue: ReadQueue = Queue(self._ahead)
        stopped = threading.Event()
        decoders = [Decoder(self._segmentation) for _ in range(min(usable_cores(), len(self._paths)))]
        for decoder in decoders:
            threading.Thread(target=self._work, args=(decoder, queue, stopped), daemon=True).start()
        running = len(decoders)
        try:
            while running:
                event = queue.get()
                if isinstance(event, BaseException):
                    raise event
                if event is None:
                    running -= 1
                else:
                    yield event
        finally:
            stopped.set()
            for decoder in decoders:
                decoder.close()

    def _work(self, decoder: Decoder, queue: ReadQueue, stopped: threading.Event) -> None:
        """Read recordings until there are none, in a thread; the last event is None, or the exception that ended it."""
        try:
            while (path := self._next_path()) is not None:
                for event in read_recording(path, decoder, self._is_known):
                    if not (isinstance(event, RecordingDone) and self._waits(event)):
                        _put(queue, event, stopped)
                    if isinstance(event, RecordingDone) and event.summary:
                        for copy in self._release(event.content, event.summary):
                            _put(queue, copy, stopped)
                    if stopped.is_set():
                        return
            _put(queue, None, stopped)
        except BaseException as error:  # raised again by read()
            _put(queue, error, stopped)

    def _next_path(self) -> str | None:
        with self._lock:
            return self._paths.popleft() if self._paths else None

    def _is_known(self, content: str) -> bool:
        """Return whether a content is known or being decoded; otherwise mark it as being decoded."""
        with self._lock:
            is_known = content in self._known or content in self._decoding
            if not is_known:
                self._decoding.add(content)
        return is_known

    def _waits(self, done: RecordingDone) -> bool:
        """Return whether a recording is a copy of a content that is not decoded yet, and keep it until it is."""
        with self._lock:
            if done.summary or done.content in self._known:
                return False
            if done.content in self._decoding:
                self._copies[done.content].append(done)
            else:  # decoding its content has just failed
                self._paths.append(done.path)
            return True

    def _release(self, content: str, summary: DecodeSummary) -> list[RecordingDone]:
        """Return the copies of a content that was decoded; if the machine made that fail, they are decoded themselves."""
        with self._lock:
            self._decoding.discard(content)
            copies = self._copies.pop(content, [])
            if summary.is_passing:
                self._paths.extend(copy.path for copy in copies)
                return []
            self._known.add(content)
            return copies


def _put(queue: ReadQueue, event: ReadEvent, stopped: threading.Event) -> None:
    """Put an event into a bounded queue, unless the reader has stopped."""
    while not stopped.is_set():
        try:
            queue.put(event, timeout=0.1)
        except Full:
            continue
        return
