"""Clips and texts of several lengths in batches: those of like length together, as many at once as suits the device."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item", bound=Sequence)
Found = TypeVar("Found")


def by_length(
    items: Sequence[Item],
    run: Callable[[list[Item]], Iterable[Found]],
    most: int | None = None,
    size: float | None = None,
    spread: Callable[[Callable, Iterable], Iterable] = map,
) -> Iterator[Found]:
    """What `run` makes of each item, in order; it is given batches of items of like length.

    Args:
        items: what has a length.
        run: answers a batch, in order.
        most: items of a batch; None for no limit.
        size: of a batch with its padding, that is its longest item times its items; an item alone may be longer. None for no
            limit.
        spread: as map; that of an executor lets batches run side by side.
    """
    batches = batches_of([len(item) for item in items], most, size)
    found = list(spread(lambda rows: run([items[i] for i in rows]), batches))
    answers = {row: answer for rows, part in zip(batches, found, strict=True) for row, answer in zip(rows, part, strict=True)}
    yield from (answers[row] for row in range(len(items)))


def batches_of(lengths: Sequence[int], most: int | None = None, size: float | None = None) -> list[list[int]]:
    """Which items go together, the longest first, so that nothing long is left for the end; see by_length."""
    batches: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        last = batches[-1] if batches else []
        padded = lengths[last[0]] * (len(last) + 1) if last else 0
        if not last or (most and len(last) == most) or (size and padded > size):
            batches.append([item])
        else:
            last.append(item)
    return batches


def padded(clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """The inputs of a speech graph: clips of several lengths, with silence after them."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    waveform = np.zeros((len(clips), lengths.max()), dtype=np.float32)
    for row, clip in enumerate(clips):
        waveform[row, : len(clip)] = clip
    return {"waveform": waveform, "lengths": lengths}
