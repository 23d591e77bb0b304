"""Connectionist temporal classification (CTC; Graves et al. 2006): likelihood, alignment and spotting of phonemes in clips.

A clip is a posteriorgram: log probabilities of BLANK and of each phoneme, frame by frame. A sequence of phonemes becomes a row
of symbols with BLANK before, between and after them; a path through the frames stays on a symbol, advances to the next one, or
skips the BLANK between two different phonemes.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLANK = 0
"""Symbol of frames without a phoneme; among phoneme ids, that of padding."""
IMPOSSIBLE = -1e30
"""Log probability of an impossible path."""
PMI_FLOOR = -15.0
"""Nats for each phoneme, at least: the PMI of a sequence with more phonemes than the clip has frames for."""
KEPT = 8
"""Phonemes of each frame in a packed posteriorgram: the most probable ones."""
LOG_STEP = 0.06
"""Nats between two levels of a packed log probability, which takes a byte."""
PADDING_LOG_ODDS = -15.0
"""Log odds of every symbol in the frames after a clip's end."""
MIN_REMAINDER = 1e-6
"""Least probability of all phonemes that a packed frame leaves out."""
CLIPS_AT_ONCE = 512
"""Clips in one batch of a search."""


@dataclass(frozen=True)
class PhoneticEmbedding:
    """The output of a phonetic model for one clip.

    vector: float32 [dimension], of unit length. log_probs: the posteriorgram, float32 [frames, vocabulary].
    """

    vector: np.ndarray
    log_probs: np.ndarray


def expand_symbols(sequences: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Interleave phonemes with BLANK.

    Returns:
        symbols: BLANK before, between and after the phonemes of each sequence, int64 [sequences, 2 x longest + 1].
        skips: whether the symbol two before may precede, which is true of two different phonemes; bool of the same shape.
    """
    symbols = np.full((len(sequences), 2 * max(map(len, sequences)) + 1), BLANK, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        symbols[row, 1 : 2 * len(sequence) : 2] = sequence
    skips = np.zeros_like(symbols, dtype=bool)
    skips[:, 2:] = (symbols[:, 2:] != BLANK) & (symbols[:, 2:] != symbols[:, :-2])
    return symbols, skips


def predecessors(paths: np.ndarray, skips: np.ndarray, impossible: float) -> np.ndarray:
    """Return the log probabilities of the paths that can precede each symbol.

    Args:
        paths: log probability of ending in each symbol at the frame before, [..., symbols].
        skips: see expand_symbols; [..., symbols].
        impossible: log probability of a transition that does not exist.

    Returns:
        [3, ..., symbols]: staying, advancing by one symbol, skipping a BLANK.
    """
    before = np.full((3, *paths.shape), impossible, dtype=paths.dtype)
    before[0], before[1, ..., 1:] = paths, paths[..., :-1]
    before[2, ..., 2:] = np.where(skips[..., 2:], paths[..., :-2], impossible)
    return before


def log_likelihoods(log_probs: np.ndarray, sequences: Sequence[Sequence[int]]) -> np.ndarray:
    """Return log p(sequence | clip), summed over all paths through all frames.

    Args:
        log_probs: a posteriorgram [frames, vocabulary].
        sequences: phoneme ids, one at least in each.

    Returns:
        Nats, float32 [sequences]; -inf where there are too few frames.
    """
    symbols, skips = expand_symbols(sequences)
    paths = np.full(symbols.shape, IMPOSSIBLE, dtype=np.float32)
    paths[:, :2] = log_probs[0, symbols[:, :2]]
    for frame in log_probs[1:]:
        paths = _log_sum(predecessors(paths, skips, IMPOSSIBLE)) + frame[symbols]
    ends = np.array([2 * len(sequence) for sequence in sequences])
    rows = np.arange(len(sequences))
    total = _log_sum(np.stack([paths[rows, ends], paths[rows, ends - 1]]))
    return np.where(total > IMPOSSIBLE / 2, total, -np.inf)


def pmi(spoken: PhoneticEmbedding, sequences: Sequence[Sequence[int]], prior: np.ndarray) -> np.ndarray:
    """Return the pointwise mutual information log p(sequence | clip) - log p(sequence).

    Args:
        spoken: the clip.
        sequences: phoneme ids, one at least in each.
        prior: probability of each phoneme id [vocabulary]; log p(sequence) is the sum of its logarithms.

    Returns:
        Nats, float32 [sequences]; about 2 for each phoneme that is clearly spoken, negative for phonemes that are not.
    """
    likelihoods = log_likelihoods(spoken.log_probs, sequences)
    log_prior = np.log(prior)
    expected = np.array([log_prior[list(sequence)].sum() for sequence in sequences])
    return np.maximum(likelihoods - expected, [PMI_FLOOR * len(sequence) for sequence in sequences]).astype(np.float32)


def align(log_probs: np.ndarray, frames: Sequence[int], sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """Return the frame of each phoneme: the one where it is most probable, on the most probable path.

    Args:
        log_probs: posteriorgrams [clips, longest, vocabulary].
        frames: number of valid frames of each clip.
        sequences: phoneme ids of each clip; none is BLANK.

    Returns:
        For each clip, ascending frame numbers [phonemes]; empty where it has fewer frames than the path needs.
    """
    symbols, skips = expand_symbols(sequences)
    emissions = np.take_along_axis(log_probs, symbols[:, None, :], axis=2)
    best = np.full(emissions.shape, -np.inf, dtype=np.float32)
    steps = np.zeros(emissions.shape, dtype=np.int8)
    best[:, 0, :2] = emissions[:, 0, :2]
    for frame in range(1, emissions.shape[1]):
        before = predecessors(best[:, frame - 1], skips, -np.inf)
        steps[:, frame] = before.argmax(axis=0)
        best[:, frame] = before.max(axis=0) + emissions[:, frame]
    return [
        _trace(emissions[row], best[row], steps[row], int(frames[row]), len(sequence)) for row, sequence in enumerate(sequences)
    ]


def pack_posteriorgram(log_probs: np.ndarray) -> str:
    """Pack log probabilities [frames, vocabulary] as text, 16 bytes a frame; vocabularies of up to 256 phonemes."""
    best = np.argpartition(-log_probs, KEPT, axis=1)[:, :KEPT]
    values = np.take_along_axis(log_probs, best, axis=1)
    levels = np.clip(np.round(-values / LOG_STEP), 0, 255)
    return base64.b64encode(np.concatenate([best, levels], axis=1).astype(np.uint8).tobytes()).decode()


def unpack_posteriorgram(packed: str, vocabulary: int) -> np.ndarray:
    """Unpack to float32 [frames, vocabulary]; the phonemes left out share the remaining probability evenly."""
    table = np.frombuffer(base64.b64decode(packed), dtype=np.uint8).reshape(-1, 2 * KEPT)
    kept = -LOG_STEP * table[:, KEPT:].astype(np.float32)
    rest = np.maximum(1 - np.exp(kept).sum(axis=1, keepdims=True), MIN_REMAINDER) / (vocabulary - KEPT)
    log_probs = np.repeat(np.log(rest), vocabulary, axis=1)
    np.put_along_axis(log_probs, table[:, :KEPT].astype(np.int64), kept, axis=1)
    return log_probs


def match(packed: Sequence[str], phonemes: Sequence[int], vocabulary: int) -> np.ndarray:
    """Score how probable phonemes are anywhere in clips, float32 [clips] from 0 to 1.

    The score is the geometric mean, over the phonemes, of their probability relative to the most probable symbol of the frame,
    on the best path from any frame to any other.

    Args:
        packed: posteriorgrams of the clips, from pack_posteriorgram.
        phonemes: ids of the phonemes to find.
        vocabulary: number of phoneme ids.
    """
    order = sorted(range(len(packed)), key=lambda i: len(packed[i]))
    matches = np.zeros(len(packed), dtype=np.float32)
    for start in range(0, len(order), CLIPS_AT_ONCE):
        rows = order[start : start + CLIPS_AT_ONCE]
        matches[rows] = np.exp(
            _best_odds([unpack_posteriorgram(packed[i], vocabulary) for i in rows], phonemes) / len(phonemes)
        )
    return matches


def locate(packed: str, phonemes: Sequence[int], vocabulary: int) -> tuple[int, int]:
    """Return the span of a clip where phonemes are most probable: its first frame and the one after its last; see match."""
    symbols, skips = (side[0] for side in expand_symbols([phonemes]))
    odds = _log_odds(unpack_posteriorgram(packed, vocabulary), symbols)
    paths, begins = np.full(len(symbols), -np.inf), np.zeros(len(symbols), dtype=np.int64)
    start = np.where(np.arange(len(symbols)) == 1, 0.0, -np.inf)
    best, span = -np.inf, (0, 0)
    for frame, step in enumerate(odds):
        ways = np.concatenate([predecessors(paths, skips, -np.inf), start[None]])
        origins = np.stack([begins, np.roll(begins, 1), np.roll(begins, 2), np.full_like(begins, frame)])
        begins = np.take_along_axis(origins, ways.argmax(axis=0)[None], axis=0)[0]
        paths = ways.max(axis=0) + step
        paths[0] = -np.inf
        if paths[-2] > best:
            best, span = paths[-2], (int(begins[-2]), frame + 1)
    return span


def _best_odds(clips: list[np.ndarray], phonemes: Sequence[int]) -> np.ndarray:
    """Return the log odds of the best path through each clip, from any frame to any other, float32 [clips].

    The transitions are those of predecessors(), in place and with clips innermost, which is several times faster.
    """
    symbols, skips = (side[0] for side in expand_symbols([phonemes]))
    skips = np.flatnonzero(skips)
    counts = np.array([len(clip) for clip in clips])
    odds = np.full((counts.max(), len(symbols), len(clips)), PADDING_LOG_ODDS, dtype=np.float32)
    for row, clip in enumerate(clips):
        odds[: len(clip), :, row] = _log_odds(clip, symbols)
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


def _log_odds(log_probs: np.ndarray, symbols: np.ndarray) -> np.ndarray:
    """Return log probabilities of symbols relative to the most probable one of each frame, [frames, symbols]."""
    return log_probs[:, symbols] - log_probs.max(axis=1, keepdims=True)


def _log_sum(logs: np.ndarray) -> np.ndarray:
    """Return log(sum(exp(logs))) over the first axis."""
    largest = logs.max(axis=0)
    return largest + np.log(np.exp(logs - largest).sum(axis=0))


def _trace(emissions: np.ndarray, best: np.ndarray, steps: np.ndarray, frames: int, phonemes: int) -> np.ndarray:
    """Follow the best path backwards; see align."""
    last = 2 * phonemes
    symbol = last if best[frames - 1, last] > best[frames - 1, last - 1] else last - 1
    if not np.isfinite(best[frames - 1, symbol]):
        return np.zeros(0, dtype=np.int64)
    positions, highest = np.zeros(phonemes, dtype=np.int64), np.full(phonemes, -np.inf)
    for frame in range(frames - 1, -1, -1):
        if symbol % 2 and emissions[frame, symbol] > highest[symbol // 2]:
            positions[symbol // 2], highest[symbol // 2] = frame, emissions[frame, symbol]
        symbol -= int(steps[frame, symbol])
    return positions
