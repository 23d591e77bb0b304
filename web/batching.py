"""A model shared by threads: what they embed at the same time runs through a graph in one batch."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from itertools import islice
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

import numpy as np

from voxdex.encoders.model import Model

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH = 64
"""Items from which on a batch takes no further request."""
WINDOW = 64
"""Clips of one recording that are embedded at a time."""


class DynamicBatcher(Generic[Item, Result]):
    """Run the requests of several threads in batches.

    No request waits for others to come: all that have come go together as soon as the batch before them is done.

    Args:
        run: returns the results of items, in order.
        on_batch: called with the size of each batch.
    """

    def __init__(self, run: Callable[[list[Item]], Sequence[Result]], on_batch: Callable[[int], None]) -> None:
        self._run, self._on_batch = run, on_batch
        self._requests: SimpleQueue[tuple[list[Item], Future[list[Result]]]] = SimpleQueue()
        Thread(target=self._work, daemon=True).start()

    def __call__(self, items: list[Item]) -> list[Result]:
        future: Future[list[Result]] = Future()
        self._requests.put((items, future))
        return future.result()

    def _work(self) -> None:
        while True:
            batch = [self._requests.get()]
            while sum(len(items) for items, _ in batch) < MAX_BATCH:
                try:
                    batch.append(self._requests.get_nowait())
                except Empty:
                    break
            self._answer(batch)

    def _answer(self, batch: list[tuple[list[Item], Future[list[Result]]]]) -> None:
        try:
            results = iter(self._run([item for items, _ in batch for item in items]))
            self._on_batch(sum(len(items) for items, _ in batch))
            for items, future in batch:
                future.set_result(list(islice(results, len(items))))
        except Exception as error:
            if len(batch) == 1:
                return batch[0][1].set_exception(error)
            for request in batch:  # alone, so that only the request that fails gets the error
                self._answer([request])


class SharedModel(Model):
    """A Model for many threads.

    Args:
        folder: a model folder.
        device: see Model.
        on_batch: called with "speech" or "text" and the batch size for each run of a graph.
    """

    def __init__(self, folder: Path, device: str, on_batch: Callable[[str, int], None]) -> None:
        super().__init__(folder, device)
        speech, text = super().embed_speech, super().embed_text
        self._speech_batches: DynamicBatcher[np.ndarray, np.ndarray] = DynamicBatcher(
            lambda clips: list(speech(clips)), partial(on_batch, "speech")
        )
        self._text_batches: DynamicBatcher[str, np.ndarray] = DynamicBatcher(
            lambda texts: list(text(texts)), partial(on_batch, "text")
        )

    def embed_speech(self, clips: Iterable[np.ndarray], batch_seconds: float | None = None) -> Iterator[np.ndarray]:
        del batch_seconds  # batches hold what several threads embed
        clips = iter(clips)
        while window := list(islice(clips, WINDOW)):
            yield from self._speech_batches(window)

    def embed_text(self, captions: Iterable[str]) -> Iterator[np.ndarray]:
        captions = list(captions)
        yield from self._text_batches(captions) if captions else ()
