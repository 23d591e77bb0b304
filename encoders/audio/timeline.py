"""The clock of a recording: where a player shows each frame of its sound."""

from typing import Generic, NamedTuple, TypeVar

import av

TOLERANCE_SECONDS = 0.05
"""Difference between a frame's time and the end of the frame before it that is put down to rounding."""
LONGEST_EDIT_SECONDS = 60.0
"""Start of an MP4 file up to which it is an edit list's, which players wait for; beyond, the file is a piece of a stream."""
LONGEST_HOLE_SECONDS = 6 * 3600.0
"""Longest hole; larger steps of the time are those of a clock that was set anew."""
LONGEST_BROADCAST_HOLE_SECONDS = 10.0
"""The same for transport and program streams, whose clock is set anew where programmes are spliced."""
BROADCASTS = frozenset({"mpegts", "mpeg", "pva", "wtv"})
"""Formats whose clock may be set anew."""

Item = TypeVar("Item")


class Timed(NamedTuple, Generic[Item]):
    """A frame or packet with its time in the stream, None if unknown, and its length, in seconds."""

    time: float | None
    seconds: float
    item: Item


class Placed(NamedTuple, Generic[Item]):
    """A frame or packet, and the second of the recording at which it begins."""

    start: float
    item: Item


class Timeline(Generic[Item]):
    """Places the frames of a stream on the recording's clock, which starts where the container starts.

    A frame that begins later than the one before it ends follows a hole: sound was lost, or not recorded. A frame that begins
    earlier, or much later, follows directly: the stream's clock was set anew. Single wrong times count for nothing.

    Args:
        container: an open file.
        is_continuous: whether the first frame is that of the recording, so that a hole may precede it; False after a seek.
    """

    def __init__(self, container: av.container.InputContainer, *, is_continuous: bool = True) -> None:
        name = container.format.name.split(",")[0]
        start = (container.start_time or 0) / av.time_base
        self._zero = min(0.0, start) if name == "mov" and start < LONGEST_EDIT_SECONDS else start
        self._longest_hole = LONGEST_BROADCAST_HOLE_SECONDS if name in BROADCASTS else LONGEST_HOLE_SECONDS
        self._waiting: Timed[Item] | None = None
        self.end: float | None = 0.0 if is_continuous else None
        """The end of what was placed, in seconds; None before the first frame after a seek."""

    def stream_time(self, seconds: float) -> float:
        """Return the time in the stream of a second of the recording."""
        return seconds + self._zero

    def push(self, frame: Timed[Item]) -> list[Placed[Item]]:
        """Take the next frame or packet; return those whose starts are certain now, usually this one."""
        former, self._waiting = self._waiting, None
        if former is not None:
            return [self._place(former, frame), *self.push(frame)]
        if self.end is None or frame.time is None or abs(frame.time - self._zero - self.end) <= TOLERANCE_SECONDS:
            return [self._place(frame, None)]
        self._waiting = frame  # the one after it tells whether its time is wrong
        return []

    def finish(self) -> list[Placed[Item]]:
        """Return the last frame or packet, if its start was not certain."""
        former, self._waiting = self._waiting, None
        return [] if former is None else [self._place(former, None)]

    def _place(self, frame: Timed[Item], following: Timed[Item] | None) -> Placed[Item]:
        start, end = self.end or 0.0, self.end
        if frame.time is not None:
            at = frame.time - self._zero
            follows = end is not None and abs(at - end) <= TOLERANCE_SECONDS
            if not follows and (end is None or _agree(frame.time + frame.seconds, following)):
                start = self._moved(end, at)
        self.end = start + frame.seconds
        return Placed(start, frame.item)

    def _moved(self, expected: float | None, at: float) -> float:
        """Return where a frame at `at` begins: there, after a hole; or as expected, and the clock was set anew."""
        if expected is None or 0 < at - expected <= self._longest_hole:
            return at
        self._zero += at - expected
        return expected


def _agree(end: float, following: Timed[Item] | None) -> bool:
    """Return whether the next frame begins where a frame ends, as far as that is known."""
    return following is None or following.time is None or abs(following.time - end) <= TOLERANCE_SECONDS
