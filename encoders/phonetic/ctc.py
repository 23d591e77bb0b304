"""Phonemes and the frames in which they are heard, after connectionist temporal classification (Graves et al. 2006)."""

from collections.abc import Sequence

import numpy as np

BLANK = 0
"""The symbol for no new phoneme; of phoneme ids, that of padding."""
NEVER = np.float32(-1e30)
"""The log probability of what cannot be."""


def lay_out(sequences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Phonemes as the symbols that frames may say one after another.

    Returns:
        symbols: with BLANK before, between and after the phonemes of each, [sequences, 2 x longest + 1].
        skips: whether a symbol may follow the one two before it, that is a phoneme another phoneme; of the same shape.
    """
    symbols = np.full((len(sequences), 2 * max(map(len, sequences)) + 1), BLANK, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        symbols[row, 1 : 2 * len(sequence) : 2] = sequence
    skips = np.zeros_like(symbols, dtype=bool)
    skips[:, 2:] = (symbols[:, 2:] != BLANK) & (symbols[:, 2:] != symbols[:, :-2])
    return symbols, skips


def log_likelihoods(log_shares: np.ndarray, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """The log probability of each sequence given a clip, over all ways of laying it along all frames.

    Args:
        log_shares: of BLANK and the phonemes in each frame, [frames, vocabulary].
        sequences: phoneme ids, one at least.

    Returns:
        float32 [sequences], nats; -inf where there are too few frames.
    """
    symbols, skips = lay_out(sequences)
    before = np.full((3, *symbols.shape), NEVER, dtype=np.float32)
    paths = np.full(symbols.shape, NEVER, dtype=np.float32)
    paths[:, :2] = log_shares[0, symbols[:, :2]]
    for frame in log_shares[1:]:
        before[0], before[1, :, 1:] = paths, paths[:, :-1]
        before[2, :, 2:] = np.where(skips[:, 2:], paths[:, :-2], NEVER)
        paths = _add(before) + frame[symbols]
    last, rows = 2 * np.array([len(sequence) for sequence in sequences]), np.arange(len(sequences))
    found = _add(np.stack([paths[rows, last], paths[rows, last - 1]]))
    return np.where(found > NEVER / 2, found, -np.inf)


def _add(logs: np.ndarray) -> np.ndarray:
    """The log of the sum over the first axis of what has these logs."""
    most = logs.max(axis=0)
    return most + np.log(np.exp(logs - most).sum(axis=0))
