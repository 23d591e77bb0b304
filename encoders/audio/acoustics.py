"""Fast acoustic measures of every clip: pitch, loudness, speaking rate, noise, at a thousand times real time.

encoders.training.annotate.acoustics measures more, and more precisely, at a tenth of the speed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE

WINDOW, HOP = 1024, 400
"""Length and distance of frames in samples: 64 ms every 25 ms."""
MIN_POWER = 1e-10
"""Power below the resolution of 16 bits."""
LOWEST_HZ, BINS_PER_OCTAVE, OCTAVES = 60.0, 48, 3
HARMONICS, HARMONIC_DECAY, INTERHARMONIC_WEIGHT = 8, 0.84, 0.5
"""Subharmonic summation: number of harmonics, decay per harmonic, weight of the inter-harmonic bins."""
VOICED = 8.0
"""Least salience of a voiced frame, over the mean of all pitches."""
FLOOR = 1e-4
"""Added to power relative to the loudest bin of a frame: a floor 40 dB below it."""
MIN_VOICED_FRAMES = 6
"""Least number of voiced frames for a pitch."""
CREAK, SQUEAK = -7.5, 11.0
"""Semitones from the median beyond which a pitch is considered creak or an octave error."""
SYLLABLE_HZ, PROMINENCE_DB, QUIET_DB = (300, 2500), 2.0, 25.0
"""Syllable nuclei: band of the intensity, prominence of its peaks over the dips beside them, and range below the maximum."""
BLOCK, STEP = 16, 4
"""Length and distance of the gating blocks of loudness, in frames: 400 ms every 100 ms."""
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
"""Gates of loudness: LUFS, and LU relative to the ungated loudness."""


@dataclass(frozen=True)
class AcousticMeasures:
    """Measures of a clip; None where undefined: in silence, or without voicing, such as in a whisper.

    pitch_hz: median F0. pitch_range_semitones: standard deviation of F0. loudness_lufs: integrated and gated (ITU-R
    BS.1770-4). syllables_per_second: syllable nuclei a second, pauses included. snr_db: mean power over that of the
    quietest tenth of the clip.
    """

    pitch_hz: float | None = None
    pitch_range_semitones: float | None = None
    loudness_lufs: float | None = None
    syllables_per_second: float | None = None
    snr_db: float | None = None


def measure(samples: np.ndarray) -> AcousticMeasures:
    """Measure a clip: float32 [samples] in -1..1, mono, 16 kHz."""
    power = _power(samples)
    total = power.sum(axis=1)
    if total.max() < MIN_POWER:
        return AcousticMeasures()
    octaves = _pitch(power)
    quietest = max(float(np.sort(total)[: max(1, len(total) // 10)].mean()), MIN_POWER)
    measured = {
        "loudness_lufs": _loudness(power),
        "syllables_per_second": _syllables(power, ~np.isnan(octaves)) / (len(samples) / SAMPLE_RATE),
        "snr_db": 10 * math.log10(max(float(total.mean()) / quietest, 1.0)),
    }
    voiced = octaves[~np.isnan(octaves)]
    if len(voiced) >= MIN_VOICED_FRAMES:
        median = float(np.median(voiced))
        semitones = 12 * (voiced - median)
        measured["pitch_hz"] = LOWEST_HZ * 2**median
        near = semitones[(semitones > CREAK) & (semitones < SQUEAK)]
        measured["pitch_range_semitones"] = float(near.std()) if len(near) >= MIN_VOICED_FRAMES else None
    return AcousticMeasures(**{name: _finite(value) for name, value in measured.items()})


def voiced_fraction(samples: np.ndarray) -> float:
    """Return the fraction of a sound, 0 to 1, that has a pitch: float32 [samples], mono, 16 kHz."""
    octaves = _pitch(_power(samples))
    return float(np.mean(~np.isnan(octaves))) if len(octaves) else 0.0


def _finite(value: float | None) -> float | None:
    """Round a measure to two decimals; None if it is not finite, which an index cannot store."""
    return None if value is None or not math.isfinite(value) else round(value, 2)


def _power(samples: np.ndarray) -> np.ndarray:
    """Return power spectra whose sum over bins is the mean square of the frame: float32 [frames, WINDOW // 2 + 1]."""
    padded = np.pad(samples, WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: len(samples) + 1 : HOP] * _window()
    spectrum = np.fft.rfft(frames, norm="forward")  # with any other norm, numpy computes in double precision
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    power[:, 1:-1] *= 2
    return power


@cache
def _window() -> np.ndarray:
    """Return a power-preserving Hann window, float32 [WINDOW]."""
    window = np.hanning(WINDOW + 1)[:-1]
    return (window * np.sqrt(WINDOW / np.square(window).sum())).astype(np.float32)


def _pitch(power: np.ndarray) -> np.ndarray:
    """Return the pitch of each frame in octaves over LOWEST_HZ, NaN where unvoiced: [frames]."""
    weights = _combs()
    power = power[:, : len(weights)]
    salience = np.log(power / (power.max(axis=1, keepdims=True) + MIN_POWER) + FLOOR) @ weights
    best = salience.argmax(axis=1)
    stands_out = salience.max(axis=1) - salience.mean(axis=1) > VOICED
    return np.where(stands_out & (power.sum(axis=1) > MIN_POWER), best / BINS_PER_OCTAVE, np.nan)


@cache
def _combs() -> np.ndarray:
    """Return the weights of subharmonic summation (Hermes 1988), float32 [bins, pitches]."""
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
    """Return the loudness in LUFS; None below the gate or for less than 400 ms."""
    weighted = power @ _k_weighting()
    if len(weighted) < BLOCK:
        return None
    blocks = np.lib.stride_tricks.sliding_window_view(weighted, BLOCK)[::STEP].mean(axis=1)
    gated = blocks[_lufs(blocks) > ABSOLUTE_GATE]
    if len(gated) == 0:
        return None
    return float(_lufs(gated[_lufs(gated) > _lufs(gated.mean()) + RELATIVE_GATE].mean()))


def _lufs(power: np.ndarray) -> np.ndarray:
    return -0.691 + 10 * np.log10(power + 1e-12)


@cache
def _k_weighting() -> np.ndarray:
    """Return the K-weighting: gain of power at each bin (ITU-R BS.1770-4, the filters given for 48 kHz), float32 [bins]."""
    z = np.exp(-2j * np.pi * np.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1) / 48_000)
    shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], z) / np.polyval(
        [0.73248077421585, -1.69065929318241, 1.0], z
    )
    high_pass = np.polyval([1.0, -2.0, 1.0], z) / np.polyval([0.99007225036621, -1.99004745483398, 1.0], z)
    return (np.abs(shelf * high_pass) ** 2).astype(np.float32)


def _syllables(power: np.ndarray, voiced: np.ndarray) -> int:
    """Count syllable nuclei: voiced peaks of intensity with some prominence (de Jong and Wempe 2009)."""
    low, high = (round(hz * WINDOW / SAMPLE_RATE) for hz in SYLLABLE_HZ)
    intensity = 10 * np.log10(power[:, low:high].sum(axis=1) + 1e-12)
    least = intensity.max() - QUIET_DB
    near = np.convolve(voiced, np.ones(3), "same") > 0
    count, peak, position, dip = 0, -np.inf, 0, intensity[0]
    for i, value in enumerate(intensity):
        if value > peak:
            peak, position = value, i
        if peak - value >= PROMINENCE_DB and peak - dip >= PROMINENCE_DB:
            count += bool(peak > least and near[position])
            peak, dip = -np.inf, value
        if value < dip:
            dip, peak, position = value, value, i
    return count
