"""Turns of speech: the parts of a clip between pauses, in each of which one person speaks."""

import numpy as np

from voxdex.encoders.audio.track import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50
"""Samples in a frame, 20 ms."""
PAUSE_FRAMES, LEAST_FRAMES = 15, 40
"""Frames of a pause between two turns (0.3 s), and of the shortest turn by itself (0.8 s)."""
LOUD = 0.06
"""Level above which a frame is speech, relative to the loud frames of the clip."""


def find_turns(samples: np.ndarray) -> list[tuple[int, int]]:
    """Return begin and end of each turn of a clip, in samples; the whole clip where there is no pause.

    A turn too short to tell a voice belongs to the neighbour to which the pause is shorter.

    Args:
        samples: float32 [samples], mono at 16 kHz.
    """
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    level = np.sqrt(np.square(frames).mean(axis=1)) if len(frames) else np.zeros(0)
    loud = np.flatnonzero(level > LOUD * np.percentile(level, 90)) if len(level) else np.zeros(0, int)
    if not len(loud):
        return [(0, len(samples))]
    breaks = np.flatnonzero(np.diff(loud) > PAUSE_FRAMES)
    begins, ends = [loud[0], *loud[breaks + 1]], [*(loud[breaks] + 1), loud[-1] + 1]
    turns = [(int(begin), int(end)) for begin, end in zip(begins, ends, strict=True)]
    while len(turns) > 1 and (short := min(turns, key=_length))[1] - short[0] < LEAST_FRAMES:
        place = turns.index(short)
        gaps = {each: _gap(turns, each) for each in (place - 1, place) if 0 <= each < len(turns) - 1}
        first = min(gaps, key=lambda each: gaps[each])
        turns[first : first + 2] = [(turns[first][0], turns[first + 1][1])]
    return [(begin * FRAME, min(end * FRAME, len(samples))) for begin, end in turns]


def _length(turn: tuple[int, int]) -> int:
    return turn[1] - turn[0]


def _gap(turns: list[tuple[int, int]], place: int) -> int:
    """Return the frames between a turn and the next one."""
    return turns[place + 1][0] - turns[place][1]
