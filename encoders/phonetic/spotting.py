"""Phonemes found in what was heard of clips, frame by frame: whole sentences, phrases and words, and where they are said.

What a model for what is said hears of a clip, the shares of phonemes in each frame, is kept in a few bytes a frame. A sequence
of phonemes is then laid along the frames as well as can be, from any one to any other (CTC's best path; Graves et al. 2006).
"""

import base64
from collections.abc import Sequence

import numpy as np

from voxdex.encoders.phonetic.ctc import lay_out

KEPT = 8
"""Phonemes that are kept of each frame, the likeliest ones."""
STEP = 0.06
"""Of log shares, as they are kept in a byte."""
FLOOR = -15.0
"""Log share of what lies beyond a clip's end."""
LEAST_REST = 1e-6
"""Share that is left, at least, for the phonemes that are not kept."""
AT_ONCE = 512
"""Clips that are searched together."""


def pack(log_shares: np.ndarray) -> str:
    """Log shares [frames, vocabulary] in 16 bytes a frame, as text; vocabularies of up to 256 phonemes."""
    best = np.argpartition(-log_shares, KEPT, axis=1)[:, :KEPT]
    values = np.take_along_axis(log_shares, best, axis=1)
    levels = np.clip(np.round(-values / STEP), 0, 255)
    return base64.b64encode(np.concatenate([best, levels], axis=1).astype(np.uint8).tobytes()).decode()


def unpack(packed: str, vocabulary: int) -> np.ndarray:
    """What pack() was given, float32 [frames, vocabulary]; what was not kept has even parts of the rest."""
    table = np.frombuffer(base64.b64decode(packed), dtype=np.uint8).reshape(-1, 2 * KEPT)
    kept = -STEP * table[:, KEPT:].astype(np.float32)
    rest = np.maximum(1 - np.exp(kept).sum(axis=1, keepdims=True), LEAST_REST) / (vocabulary - KEPT)
    log_shares = np.repeat(np.log(rest), vocabulary, axis=1)
    np.put_along_axis(log_shares, table[:, :KEPT].astype(np.int64), kept, axis=1)
    return log_shares


def match(heard: Sequence[str], phonemes: Sequence[int], vocabulary: int) -> np.ndarray:
    """How surely phonemes are heard in clips, float32 [clips] from 0 to 1.

    It is the geometric mean over the phonemes of their odds against the likeliest ones in their frames, on the best path.

    Args:
        heard: of each clip, as pack() wrote it.
        phonemes: ids of what is looked for.
        vocabulary: of the model.
    """
    order = sorted(range(len(heard)), key=lambda i: len(heard[i]))
    matches = np.zeros(len(heard), dtype=np.float32)
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        matches[rows] = np.exp(_best([unpack(heard[i], vocabulary) for i in rows], phonemes) / len(phonemes))
    return matches


def locate(heard: str, phonemes: Sequence[int], vocabulary: int) -> tuple[int, int]:
    """Where in a clip phonemes are heard most surely: the first frame and the one after the last; see match."""
    symbols, skips = _laid_out(phonemes)
    odds = _odds(unpack(heard, vocabulary), symbols)
    paths, begins = np.full(len(symbols), -np.inf), np.zeros(len(symbols), dtype=np.int64)
    best, found = -np.inf, (0, 0)
    for frame, step in enumerate(odds):
        ways = np.full((4, len(symbols)), -np.inf)
        ways[0], ways[1, 1:], ways[2, skips], ways[3, 1] = paths, paths[:-1], paths[skips - 2], 0.0
        origins = np.stack([begins, np.roll(begins, 1), np.roll(begins, 2), np.full_like(begins, frame)])
        way = ways.argmax(axis=0)
        begins = np.take_along_axis(origins, way[None], axis=0)[0]
        paths = ways.max(axis=0) + step
        paths[0] = -np.inf
        if paths[-2] > best:
            best, found = paths[-2], (int(begins[-2]), frame + 1)
    return found


def _best(clips: list[np.ndarray], phonemes: Sequence[int]) -> np.ndarray:
    """The log odds of the best path through each clip, from any frame to any other."""
    symbols, skips = _laid_out(phonemes)
    counts = np.array([len(clip) for clip in clips])
    odds = np.full((counts.max(), len(symbols), len(clips)), FLOOR, dtype=np.float32)
    for row, clip in enumerate(clips):
        odds[: len(clip), :, row] = _odds(clip, symbols)
    paths = np.full(odds.shape[1:], -np.inf, dtype=np.float32)
    best = np.full(len(clips), -np.inf, dtype=np.float32)
    for frame, step in enumerate(odds):
        ways = paths.copy()
        np.maximum(ways[1:], paths[:-1], out=ways[1:])
        ways[skips] = np.maximum(ways[skips], paths[skips - 2])
        np.maximum(ways[1], 0.0, out=ways[1])
        paths = ways + step
        paths[0] = -np.inf
        np.maximum(best, paths[-2], out=best, where=frame < counts)
    return best


def _laid_out(phonemes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The symbols of one sequence, and the places of those that may follow the one two before them; see ctc.lay_out."""
    symbols, skips = lay_out([phonemes])
    return symbols[0], np.flatnonzero(skips[0])


def _odds(log_shares: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """[frames, symbols]"""
    return log_shares[:, symbols] - log_shares.max(axis=1, keepdims=True)
