"""What is measured of every clip on the way: pitch, loudness, speaking rate, noise. Quick, at a thousand times real time.

encoders.training.acoustics measures more, and more carefully, at a tenth of the speed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE

WINDOW, HOP = 1024, 400
"""Samples: 64 ms every 25 ms."""
QUIETEST = 1e-10
"""Power that 16 bits cannot tell from silence."""
LOWEST_HZ, BINS_PER_OCTAVE, OCTAVES = 60.0, 48, 3
HARMONICS, HARMONIC_DECAY, INTERHARMONIC_WEIGHT = 8, 0.84, 0.5
"""Subharmonic summation: number of harmonics, decay per harmonic, weight of the inter-harmonic bins."""
VOICED = 8.0
"""How far a pitch must stand out to be one."""
FLOOR = 1e-4
"""Power, relative to the loudest of a frame, below which a harmonic is not told from noise."""
LEAST_VOICED_FRAMES = 6
CREAK, SQUEAK = -7.5, 11.0
"""Semitones from the median beyond which a pitch is taken for creak or an octave error."""
SYLLABLE_HZ, PROMINENCE_DB, QUIET_DB = (300, 2500), 2.0, 25.0
"""A syllable's nucleus: a peak of the power in this band that stands out from the dips beside it, not far below the loudest."""
BLOCK, STEP = 16, 4
"""Frames of the blocks over which loudness is gated, 400 ms, and of the step from one to the next."""
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
"""LUFS, and LU below the ungated loudness."""


@dataclass(frozen=True)
class AcousticMeasures:
    """What was measured; None where it cannot be: silence, or nothing voiced, such as a whisper.

    pitch_hz: median F0. pitch_range_semitones: standard deviation of F0. loudness_lufs: integrated and gated (ITU-R
    BS.1770-4). syllables_per_second: syllable nuclei a second, pauses counted. snr_db: the mean power over that of the
    quietest tenth of the clip, its pauses.
    """

    pitch_hz: float | None = None
    pitch_range_semitones: float | None = None
    loudness_lufs: float | None = None
    syllables_per_second: float | None = None
    snr_db: float | None = None


def measure(samples: np.ndarray) -> AcousticMeasures:
    """Measures a clip: float32 [samples] in -1..1, mono, 16 kHz."""
    power = _power(samples)
    total = power.sum(axis=1)
    if total.max() < QUIETEST:
        return AcousticMeasures()
    octaves = _pitch(power)
    quietest = max(float(np.sort(total)[: max(1, len(total) // 10)].mean()), QUIETEST)
    measured = {
        "loudness_lufs": _loudness(power),
        "syllables_per_second": _syllables(power, ~np.isnan(octaves)) / (len(samples) / SAMPLE_RATE),
        "snr_db": 10 * math.log10(max(float(total.mean()) / quietest, 1.0)),
    }
    voiced = octaves[~np.isnan(octaves)]
    if len(voiced) >= LEAST_VOICED_FRAMES:
        median = float(np.median(voiced))
        semitones = 12 * (voiced - median)
        measured["pitch_hz"] = LOWEST_HZ * 2**median
        near = semitones[(semitones > CREAK) & (semitones < SQUEAK)]
        measured["pitch_range_semitones"] = float(near.std()) if len(near) >= LEAST_VOICED_FRAMES else None
    return AcousticMeasures(**{name: _finite(value) for name, value in measured.items()})


def _finite(value: float | None) -> float | None:
    """A measure to two decimals; None where it is no number, as an index holds none that is not finite."""
    return None if value is None or not math.isfinite(value) else round(value, 2)


def _power(samples: np.ndarray) -> np.ndarray:
    """Power around every HOP, so that the sum over bins is the mean square: float32 [frames, WINDOW // 2 + 1]."""
    padded = np.pad(samples, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: len(samples) + 1 : HOP] * _window()
    spectrum = np.fft.rfft(frames, norm="forward")  # of any other norm, numpy computes in double precision
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power[:, 1:-1] *= 2
    return power


@cache
def _window() -> np.ndarray:
    """Hann's, such that the power of what is seen through it stays what it is, float32 [WINDOW]."""
    window = np.hanning(WINDOW + 1)[:-1]
    return (window * np.sqrt(WINDOW / np.square(window).sum())).astype(np.float32)


def _pitch(power: np.ndarray) -> np.ndarray:
    """Octaves over LOWEST_HZ of each frame, NaN where unvoiced, [frames]: where its harmonics stand out most."""
    weights = _combs()
    power = power[:, : len(weights)]
    salience = np.log(power / (power.max(axis=1, keepdims=True) + QUIETEST) + FLOOR) @ weights
    best = salience.argmax(axis=1)
    stands_out = salience.max(axis=1) - salience.mean(axis=1) > VOICED
    return np.where(stands_out & (power.sum(axis=1) > QUIETEST), best / BINS_PER_OCTAVE, np.nan)


@cache
def _combs() -> np.ndarray:
    """What each bin of the spectrum says for each pitch (Hermes 1988), float32 [bins, pitches]."""
    pitches = LOWEST_HZ * 2 ** (np.arange(OCTAVES * BINS_PER_OCTAVE) / BINS_PER_OCTAVE)
    bins = round(4000 * WINDOW / SAMPLE_RATE)
    weights = np.zeros((bins, len(pitches)), np.float32)
    for column, hz in enumerate(pitches):
        for multiple, weight in harmonic_comb():
            position = multiple * hz * WINDOW / SAMPLE_RATE
            below, rest = int(position), position % 1
            if below < bins - 1:
                weights[below : below + 2, column] += weight * (1 - rest), weight * rest
    return weights


def harmonic_comb() -> Iterator[tuple[float, float]]:
    """Yield multiples of F0 and their weights in subharmonic summation (Hermes 1988): harmonics, and midpoints between them."""
    for harmonic in range(1, HARMONICS + 1):
        weight = HARMONIC_DECAY ** (harmonic - 1)
        yield harmonic, weight
        yield harmonic - 0.5, -INTERHARMONIC_WEIGHT * weight


def _loudness(power: np.ndarray) -> float | None:
    """LUFS, None below the gate or for less than 400 ms."""
    weighted = power @ _k_weighting()
    if len(weighted) < BLOCK:
        return None
    blocks = np.lib.stride_tricks.sliding_window_view(weighted, BLOCK)[::STEP].mean(axis=1)
    heard = blocks[_lufs(blocks) > ABSOLUTE_GATE]
    if len(heard) == 0:
        return None
    return float(_lufs(heard[_lufs(heard) > _lufs(heard.mean()) + RELATIVE_GATE].mean()))


def _lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10 * np.log10(power + 1e-12)


@cache
def _k_weighting() -> np.ndarray:
    """Gain of power at each bin (ITU-R BS.1770-4, the filters given for 48 kHz), float32 [bins]."""
    z = np.exp(-2j * np.pi * np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1) / 48_000)
    shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], z) / np.polyval(
        [0.73248077421585, -1.69065929318241, 1.0], z
    )
    high_pass = np.polyval([1.0, -2.0, 1.0], z) / np.polyval([0.99007225036621, -1.99004745483398, 1.0], z)
    return (np.abs(shelf * high_pass) ** 2).astype(np.float32)


def _syllables(power: np.ndarray, voiced: np.ndarray) -> int:
    """Syllable nuclei: voiced peaks of intensity that stand out from the dips beside them (de Jong and Wempe 2009)."""
    low, high = (round(hz * WINDOW / SAMPLE_RATE) for hz in SYLLABLE_HZ)
    intensity = 10 * np.log10(power[:, low:high].sum(axis=1) + 1e-12)
    least = intensity.max() - QUIET_DB
    near = np.convolve(voiced, np.ones(3), "same") > 0
    count, peak, place, dip = 0, -np.inf, 0, intensity[0]
    for i, value in enumerate(intensity):
        if value > peak:
            peak, place = value, i
        if peak - value >= PROMINENCE_DB and peak - dip >= PROMINENCE_DB:
            count += bool(peak > least and near[place])
            peak, dip = -np.inf, value
        if value < dip:
            dip, peak, place = value, value, i
    return count
