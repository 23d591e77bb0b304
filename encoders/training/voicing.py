"""Where a voice is periodic, at what pitch, and how steadily: F0, harmonicity, jitter and shimmer."""

import numpy as np
from scipy.fft import irfft, rfft
from scipy.ndimage import label

from voxdex.encoders.audio.reader import SAMPLE_RATE

HOP = 160
"""Samples between frames: 10 ms."""
LEAST_CYCLES = 30
SHORTEST_LAG, LONGEST_LAG = SAMPLE_RATE // 500, SAMPLE_RATE // 60
"""Samples: a voice's periods lie between."""
CANDIDATES, VOICING_THRESHOLD, VOICING_COST, OCTAVE_COST, OCTAVE_JUMP_COST = 5, 0.45, 0.14, 0.01, 0.35
"""How F0 is chosen, with the values of Boersma's paper and of Praat."""


def frames_of(sound: np.ndarray, centres: np.ndarray, width: int) -> np.ndarray:
    """float32 [centres, width], zeros beyond the ends."""
    padded = np.pad(sound, width // 2).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded, width)[centres]


def pitch(sound: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz, 0 where unvoiced, and how well each frame correlates with itself a period later, 0..0.9999; both [frames].

    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound"
    (1993): peaks of the autocorrelation divided by the window's, and the cheapest path through them.
    """
    frames = np.flatnonzero(speech)
    correlation = _autocorrelation(sound, frames * HOP)
    inner = correlation[:, 1:-1]
    peaks = np.where((inner >= correlation[:, :-2]) & (inner > correlation[:, 2:]), inner, 0)
    lags = np.arange(SHORTEST_LAG, SHORTEST_LAG + inner.shape[1])
    favoured = peaks - OCTAVE_COST * np.log2(lags / SHORTEST_LAG)
    best = np.argpartition(-favoured, CANDIDATES, axis=1)[:, :CANDIDATES]
    offset, height = zip(*(_peak(correlation, column + 1) for column in best.T), strict=True)
    lag, height = lags[best] + np.stack(offset, 1), np.stack(height, 1) * (np.take_along_axis(peaks, best, 1) > 0)
    chosen = _cheapest_path(frames, height - OCTAVE_COST * np.log2(lag / SHORTEST_LAG), np.log2(lag))
    voiced, row = chosen < CANDIDATES, np.arange(len(frames))
    f0, periodicity = np.zeros(len(speech)), np.zeros(len(speech))
    f0[frames[voiced]] = SAMPLE_RATE / lag[row, chosen % CANDIDATES][voiced]
    periodicity[frames[voiced]] = height[row, chosen % CANDIDATES][voiced].clip(0.01, 0.9999)
    return f0, periodicity


def _autocorrelation(sound: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Of the 48 ms around each centre, 1 at lag 0, as if they went on for ever: float32 [centres, lags of 500 to 60 Hz + 2]."""
    width, size = 768, 1080
    window = np.hanning(width).astype(np.float32)
    frames = frames_of(sound, centres, width)
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    lags = slice(SHORTEST_LAG - 1, LONGEST_LAG + 2)
    expected = irfft(np.abs(rfft(window, size)) ** 2)
    correlation = irfft(np.abs(rfft(frames, size)) ** 2)
    return correlation[:, lags] / (correlation[:, :1] + 1e-9) * (expected[0] / expected[lags])


def _cheapest_path(frames: np.ndarray, strength: np.ndarray, octave: np.ndarray) -> np.ndarray:
    """The candidate of each frame, CANDIDATES where unvoiced. Jumps of pitch and changes of voicing cost (Viterbi)."""
    strength = np.column_stack([strength, np.full(len(frames), VOICING_THRESHOLD)])
    octave = np.column_stack([octave, np.zeros(len(frames))])
    unvoiced = np.arange(CANDIDATES + 1) == CANDIDATES
    change = VOICING_COST * (unvoiced[:, None] != unvoiced)
    jump = OCTAVE_JUMP_COST * (~unvoiced[:, None] & ~unvoiced)
    total, origin = strength[0], np.zeros(strength.shape, dtype=int)
    for i in range(1, len(frames)):
        adjacent = frames[i] == frames[i - 1] + 1
        cost = change + jump * np.abs(octave[i - 1][:, None] - octave[i]) if adjacent else np.zeros_like(change)
        score = total[:, None] - cost
        origin[i] = score.argmax(axis=0)
        total = score.max(axis=0) + strength[i]
    chosen = np.zeros(len(frames), dtype=int)
    chosen[-1] = total.argmax()
    for i in range(len(frames) - 1, 0, -1):
        chosen[i - 1] = origin[i, chosen[i]]
    return chosen


def _peak(values: np.ndarray, best: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(offset from `best`, height) of the parabola through the column `best` of each row and its neighbours."""
    before, at, after = (values[np.arange(len(values)), best + step].astype(np.float64) for step in (-1, 0, 1))
    bend = before - 2 * at + after
    offset = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, 1), 0).clip(-0.5, 0.5)
    return offset, at - (before - after) * offset / 4


def perturbation(sound: np.ndarray, f0: np.ndarray) -> tuple[float | None, float | None]:
    """(jitter, shimmer) in percent: local ones, as in Praat, over all voiced stretches of 80 ms or more."""
    stretches, count = label(f0 > 0)
    cycles = [_cycles(sound, np.flatnonzero(stretches == i + 1), f0) for i in range(count)]
    cycles = [found for found in cycles if len(found[0]) >= 3]
    if sum(len(periods) for periods, _ in cycles) < LEAST_CYCLES:
        return None, None
    return tuple(100 * _mean_change([found[kind] for found in cycles]) for kind in (0, 1))


def _mean_change(runs: list[np.ndarray]) -> float:
    """Mean absolute difference of neighbours over the mean; neighbours that differ by half are not of one kind."""
    changes = np.concatenate([np.abs(np.diff(run)) / (run[:-1] + run[1:]) * 2 for run in runs])
    return float(np.mean(changes[changes < 0.5])) if (changes < 0.5).any() else 0.5


def _cycles(sound: np.ndarray, frames: np.ndarray, f0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(lengths in samples, peak-to-peak amplitudes) of the cycles of one voiced stretch, by matching each with the next."""
    if len(frames) < 8:
        return np.zeros(0), np.zeros(0)
    samples = np.arange(frames[0] * HOP, frames[-1] * HOP)
    phase = np.cumsum(np.interp(samples, frames * HOP, f0[frames])) / SAMPLE_RATE
    period = round(SAMPLE_RATE / np.median(f0[frames]))
    centres = samples[np.flatnonzero(np.diff(np.floor(phase)))]
    centres = centres[(centres > period) & (centres < len(sound) - 3 * period)]
    if len(centres) < 3:
        return np.zeros(0), np.zeros(0)
    shortest, longest = int(0.75 * period), int(1.33 * period) + 1
    spans = np.lib.stride_tricks.sliding_window_view(sound, period + longest)[centres - period // 2]
    later = np.lib.stride_tricks.sliding_window_view(spans, period, axis=1)[:, shortest:]
    now = spans[:, :period]
    likeness = np.einsum("cw,clw->cl", now, later) / np.sqrt(
        (now**2).sum(axis=1, keepdims=True) * np.einsum("clw,clw->cl", later, later) + 1e-12
    )
    best = likeness.argmax(axis=1).clip(1, likeness.shape[1] - 2)
    return shortest + best + _peak(likeness, best)[0], np.ptp(now, axis=1)
