"""Batching of concurrent requests."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.conftest import PATIENCE, until
from voxdex.web.batching import DynamicBatcher


def test_concurrent_searches_agree_with_single_ones(server):
    captions = [
        f"{mood} {who}" for mood in ("a sad", "an angry", "a calm", "a whispering") for who in ("man", "woman", "person")
    ]

    def top(caption: str) -> list[str]:
        return [hit["id"] for hit in server.get("/api/search", params={"caption": caption}).json()["hits"]]

    alone = [top(caption) for caption in captions]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(top, captions * 3)) == alone * 3


@contextmanager
def ended_by(event: threading.Event) -> Iterator[None]:
    """Set an event at the end of the block, so that a failure in it leaves no thread waiting."""
    try:
        yield
    finally:
        event.set()


def test_concurrent_calls_form_one_batch():
    asked, ran, begun, go = [], [], threading.Event(), threading.Event()

    def double(numbers: list[int]) -> list[int]:
        asked.append(sorted(numbers))
        begun.set()
        assert go.wait(PATIENCE)
        if -1 in numbers:
            raise ValueError("no")
        return [2 * number for number in numbers]

    together = DynamicBatcher(double, ran.append)
    with ThreadPoolExecutor(8) as pool, ended_by(go):
        first = pool.submit(together, [100])
        begun.wait()
        answers = [pool.submit(together, [number, 10 * number]) for number in range(1, 7)]
        until(lambda: together._requests.qsize() == 6)
        go.set()
        assert first.result() == [200]
        assert [answer.result() for answer in answers] == [[2 * number, 20 * number] for number in range(1, 7)]
        assert asked == [[100], sorted([*range(1, 7), *range(10, 70, 10)])] and ran == [1, 12]

        begun.clear()
        go.clear()
        first = pool.submit(together, [100])
        begun.wait()
        bad, good = pool.submit(together, [-1]), pool.submit(together, [1])
        until(lambda: together._requests.qsize() == 2)
        go.set()
        assert good.result() == [2]
        with pytest.raises(ValueError, match="no"):
            bad.result()
    assert asked[3] == [-1, 1] and sorted(asked[4:]) == [[-1], [1]] and sum(ran) == 15
