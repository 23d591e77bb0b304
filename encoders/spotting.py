"""Phonemes found in what was heard of clips, frame by frame: whole sentences, phrases and words, and where they are said.

What a model for what is said hears of a clip, the shares of phonemes in each frame, is kept in a few bytes a frame. A sequence
of phonemes is then laid along the frames as well as can be, from any one to any other (CTC's best path; Graves et al. 2006).
"""

import base64
from collections.abc import Sequence

import numpy as np

BLANK = 0
KEPT = 8
"""Phonemes that are kept of each frame, the likeliest ones."""
STEP = 0.06
"""Of log shares, as they are kept in a byte."""
FLOOR = -15.0
"""Log share of a phoneme that is not kept."""
AT_ONCE = 512
"""Clips that are searched together."""


def pack(log_shares: np.ndarray) -> str:
    """Log shares [frames, vocabulary] in 16 bytes a frame, as text; vocabularies of up to 256 phonemes."""
    best = np.argpartition(-log_shares, KEPT, axis=1)[:, :KEPT]
    values = np.take_along_axis(log_shares, best, axis=1)
    levels = np.clip(np.round(-values / STEP), 0, 255)
    return base64.b64encode(np.concatenate([best, levels], axis=1).astype(np.uint8).tobytes()).decode()


def unpack(packed: str, vocabulary: int) -> np.ndarray:
    """What pack() was given, float32 [frames, vocabulary], with FLOOR for what was not kept."""
    table = np.frombuffer(base64.b64decode(packed), dtype=np.uint8).reshape(-1, 2 * KEPT)
    log_shares = np.full((len(table), vocabulary), FLOOR, dtype=np.float32)
    np.put_along_axis(log_shares, table[:, :KEPT].astype(np.int64), -STEP * table[:, KEPT:].astype(np.float32), axis=1)
    return log_shares


def spot(heard: Sequence[str], phonemes: Sequence[int], vocabulary: int) -> tuple[np.ndarray, np.ndarray]:
    """How surely phonemes are heard in clips, and where.

    Args:
        heard: of each clip, as pack() wrote it.
        phonemes: ids of what is looked for.
        vocabulary: of the model.

    Returns:
        matches: float32 [clips] from 0 to 1, the geometric mean over phonemes of the odds against the likeliest ones in their
        frames; frames: int64 [clips, 2], the first one and the one after the last.
    """
    order = sorted(range(len(heard)), key=lambda i: len(heard[i]))
    matches, frames = np.zeros(len(heard), dtype=np.float32), np.zeros((len(heard), 2), dtype=np.int64)
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        matches[rows], frames[rows] = _spot([unpack(heard[i], vocabulary) for i in rows], phonemes)
    return matches, frames


def _spot(clips: list[np.ndarray], phonemes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([len(clip) for clip in clips])
    symbols = np.zeros(2 * len(phonemes) + 1, dtype=np.int64)
    symbols[1::2] = phonemes
    odds = np.full((len(clips), counts.max(), len(symbols)), FLOOR, dtype=np.float32)
    for row, clip in enumerate(clips):
        odds[row, : len(clip)] = clip[:, symbols] - clip.max(axis=1, keepdims=True)
    may_skip = np.zeros(len(symbols), dtype=bool)
    may_skip[3::2] = symbols[3::2] != symbols[1:-2:2]

    paths = np.full((len(clips), len(symbols)), -np.inf, dtype=np.float32)
    begins = np.zeros((len(clips), len(symbols)), dtype=np.int64)
    best, spans = np.full(len(clips), -np.inf, dtype=np.float32), np.zeros((len(clips), 2), dtype=np.int64)
    for frame in range(odds.shape[1]):
        ways = np.full((4, *paths.shape), -np.inf, dtype=np.float32)
        ways[0], ways[1, :, 1:] = paths, paths[:, :-1]
        ways[2, :, may_skip] = paths[:, np.flatnonzero(may_skip) - 2].T
        ways[3, :, 1] = 0.0
        way = ways.argmax(axis=0)
        before = np.stack([begins, np.roll(begins, 1, 1), np.roll(begins, 2, 1), np.full_like(begins, frame)])
        begins = np.take_along_axis(before, way[None], axis=0)[0]
        paths = ways.max(axis=0) + odds[:, frame]
        paths[:, 0] = -np.inf
        ends = (paths[:, -2] > best) & (frame < counts)
        best[ends] = paths[ends, -2]
        spans[ends] = np.stack([begins[ends, -2], np.full(ends.sum(), frame + 1)], axis=1)
    return np.exp(best / len(phonemes)), spans
