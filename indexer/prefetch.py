"""Runs a generator in a thread of its own, a bounded number of items ahead."""

import threading
from collections.abc import Iterable, Iterator
from queue import Full, Queue
from typing import TypeVar

Item = TypeVar("Item")
_END = object()


def prefetch(items: Iterable[Item], ahead: int) -> Iterator[Item]:
    """The same items in the same order; an exception of the source is raised here.

    Leaving the loop early stops the thread at its next item.
    """
    queue: Queue = Queue(ahead)
    stopped = threading.Event()

    def put(item: object) -> None:
        while not stopped.is_set():
            try:
                return queue.put(item, timeout=0.1)
            except Full:
                continue

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    return
            put(_END)
        except BaseException as error:  # handed over to the reader
            put(error)

    threading.Thread(target=fill, daemon=True).start()
    try:
        while (item := queue.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
