"""Which frames say which phoneme, by the most probable path through CTC's shares (Graves et al. 2006)."""

from collections.abc import Sequence

import numpy as np

from voxdex.encoders.phonetic.ctc import lay_out


def align(log_shares: np.ndarray, frames: Sequence[int], sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """The frame in which each phoneme is heard most surely on the best path.

    Args:
        log_shares: [clips, longest, vocabulary].
        frames: how many of each clip are valid.
        sequences: phoneme ids of each clip; none is ctc.BLANK.

    Returns:
        For each clip, rising frame numbers [phonemes]; empty where it has fewer frames than the path needs.
    """
    symbols, skips = lay_out(sequences)
    heard = np.take_along_axis(log_shares, symbols[:, None, :], axis=2)
    best, steps = _walk(heard, skips)
    return [
        _trace(heard[row], best[row], steps[row], int(frames[row]), len(sequence)) for row, sequence in enumerate(sequences)
    ]


def _walk(heard: np.ndarray, skips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best log probability of ending in a symbol at a frame, and how many symbols the path advanced to it there."""
    clips, count, symbols = heard.shape
    best = np.full((clips, count, symbols), -np.inf, dtype=np.float32)
    steps = np.zeros((clips, count, symbols), dtype=np.int8)
    best[:, 0, :2] = heard[:, 0, :2]
    ways = np.full((3, clips, symbols), -np.inf, dtype=np.float32)
    for frame in range(1, count):
        before = best[:, frame - 1]
        ways[0], ways[1, :, 1:] = before, before[:, :-1]
        ways[2, :, 2:] = np.where(skips[:, 2:], before[:, :-2], -np.inf)
        steps[:, frame] = ways.argmax(axis=0)
        best[:, frame] = ways.max(axis=0) + heard[:, frame]
    return best, steps


def _trace(heard: np.ndarray, best: np.ndarray, steps: np.ndarray, frames: int, phonemes: int) -> np.ndarray:
    last = 2 * phonemes
    symbol = last if best[frames - 1, last] > best[frames - 1, last - 1] else last - 1
    if not np.isfinite(best[frames - 1, symbol]):
        return np.zeros(0, dtype=np.int64)
    found, surest = np.zeros(phonemes, dtype=np.int64), np.full(phonemes, -np.inf)
    for frame in range(frames - 1, -1, -1):
        if symbol % 2 and heard[frame, symbol] > surest[symbol // 2]:
            found[symbol // 2], surest[symbol // 2] = frame, heard[frame, symbol]
        symbol -= int(steps[frame, symbol])
    return found
