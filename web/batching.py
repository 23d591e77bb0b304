"""A model for many threads: what they ask for at the same time runs through a graph together."""

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
Found = TypeVar("Found")

MOST_TOGETHER = 64
WINDOW = 64
"""Clips of one recording that are embedded at a time."""


class DynamicBatcher(Generic[Item, Found]):
    """Calls `run` for what several threads ask at the same time: nobody waits for others to come, but all who have come go at
    once as soon as the call before is done.

    Args:
        run: answers items, in order.
        on_run: is told how many items went together.
    """

    def __init__(self, run: Callable[[list[Item]], Sequence[Found]], on_run: Callable[[int], None]) -> None:
        self._run, self._on_run = run, on_run
        self._asked: SimpleQueue[tuple[list[Item], Future]] = SimpleQueue()
        Thread(target=self._work, daemon=True).start()

    def __call__(self, items: list[Item]) -> list[Found]:
        answer: Future[list[Found]] = Future()
        self._asked.put((items, answer))
        return answer.result()

    def _work(self) -> None:
        while True:
            together = [self._asked.get()]
            while sum(len(items) for items, _ in together) < MOST_TOGETHER:
                try:
                    together.append(self._asked.get_nowait())
                except Empty:
                    break
            self._answer(together)

    def _answer(self, together: list[tuple[list[Item], Future]]) -> None:
        try:
            found = iter(self._run([item for items, _ in together for item in items]))
            self._on_run(sum(len(items) for items, _ in together))
            for items, answer in together:
                answer.set_result(list(islice(found, len(items))))
        except Exception as error:
            if len(together) == 1:
                return together[0][1].set_exception(error)
            for each in together:  # whose it was is found by asking one by one
                self._answer([each])


class SharedModel(Model):
    """See Model.

    Args:
        on_run: is told what ran, "speech" or "text", and how many of them together.
    """

    def __init__(self, folder: Path, device: str, on_run: Callable[[str, int], None]) -> None:
        super().__init__(folder, device)
        speech, text = super().embed_speech, super().embed_text
        self._speeches = DynamicBatcher(lambda clips: list(speech(clips)), partial(on_run, "speech"))
        self._texts = DynamicBatcher(lambda texts: list(text(texts)), partial(on_run, "text"))

    def embed_speech(self, clips: Iterable[np.ndarray], batch_seconds: float | None = None) -> Iterator[np.ndarray]:
        clips = iter(clips)
        while window := list(islice(clips, WINDOW)):
            yield from self._speeches(window)

    def embed_text(self, captions: Iterable[str]) -> Iterator[np.ndarray]:
        captions = list(captions)
        yield from self._texts(captions) if captions else ()
