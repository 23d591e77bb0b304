"""Acoustic measures of recordings for training labels: pitch, loudness, rate, noise, room, timbre, voice quality.

Everything is measured in speech (Silero VAD), and pitch and measures that depend on it in voiced frames.
"""

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pyloudnorm
from scipy.fft import irfft, rfft
from scipy.ndimage import binary_dilation, gaussian_filter1d, label
from scipy.signal import find_peaks

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.audio.vad import CHUNK, SPEECH, SileroVad

MIN_SPEECH_SECONDS = 0.3
"""Least length of speech for measures other than loudness."""
MIN_VOICED_FRAMES = 15
"""Least number of voiced frames of 10 ms for a pitch."""
QUANTISATION = 1e-10
"""Power below the resolution of 16 bits."""
SYLLABLE_BINS = slice(10, 80)
"""Bins of the intensity whose peaks are syllables: 312 to 2500 Hz."""
BAND_EDGES = np.array([8, 10, 13, 17, 23, 30, 40, 52, 68, 89, 117, 152, 200])
"""Edges of the bands in which decays are measured, in bins: 250 to 6250 Hz."""
DECAY_FRAMES = 25
"""Length of a decay in frames of 10 ms."""
DECAYS_TO_RT60 = ([0.31, 0.33, 0.37, 0.475, 0.59, 0.735, 0.875, 1.17, 1.6], [0.15, 0.22, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0])
"""First quartiles of the measured decays (s), and the RT60 of each (s), from clean speech in simulated rooms."""


@dataclass(frozen=True)
class Measures:
    """Measures of a recording; None where undefined: without speech, voicing (a whisper), pauses or decays.

    speech_seconds: length of the speech. pitch_hz: median F0. pitch_range_semitones: standard deviation of F0,
    creak and octave errors left out. loudness_lufs: integrated and gated (ITU-R BS.1770-4). syllables_per_second: syllable
    nuclei a second of speech. snr_db: speech over noise in pauses. rt60_seconds: blind estimate of the room's
    reverberation time. centroid_hz: centre of gravity of the power spectrum of voiced frames. hnr_db:
    harmonics-to-noise ratio. jitter_percent, shimmer_percent: mean change of a cycle's length and amplitude from one to the
    next.
    """

    speech_seconds: float
    pitch_hz: float | None = None
    pitch_range_semitones: float | None = None
    loudness_lufs: float | None = None
    syllables_per_second: float | None = None
    snr_db: float | None = None
    rt60_seconds: float | None = None
    centroid_hz: float | None = None
    hnr_db: float | None = None
    jitter_percent: float | None = None
    shimmer_percent: float | None = None


def measure(samples: np.ndarray) -> Measures:
    """Measure a recording: float32 samples in -1..1, mono, 16 kHz, of any length (a few seconds of speech are best)."""
    sound = samples.astype(np.float64)
    speaking = speech_chunks(sound)
    seconds = float(np.count_nonzero(speaking) * CHUNK / SAMPLE_RATE)
    measured = Measures(seconds, loudness_lufs=loudness(sound))
    if seconds < MIN_SPEECH_SECONDS:
        return measured
    spectrum = magnitudes(sound)
    speech = np.repeat(speaking, CHUNK)[np.minimum(np.arange(len(spectrum)) * HOP, len(speaking) * CHUNK - 1)]
    measured = replace(measured, rt60_seconds=reverberation(spectrum, speech))
    f0, periodicity = pitch(sound, speech)
    voiced = f0 > 0
    if np.count_nonzero(voiced) < MIN_VOICED_FRAMES:
        return measured
    jitter, shimmer = perturbation(sound, f0)
    return replace(
        measured,
        pitch_hz=float(np.median(f0[voiced])),
        pitch_range_semitones=_spread(f0[voiced]),
        syllables_per_second=syllables(spectrum, speech, voiced) / seconds,
        snr_db=signal_to_noise(sound, speaking),
        centroid_hz=centroid(spectrum[voiced]),
        hnr_db=float(np.mean(10 * np.log10(periodicity[voiced] / (1 - periodicity[voiced])))),
        jitter_percent=jitter,
        shimmer_percent=shimmer,
    )


def _spread(f0: np.ndarray) -> float:
    """Return the standard deviation in semitones, without creak and octave errors far from the median."""
    semitones = 12 * np.log2(f0 / np.median(f0))
    return float(np.std(semitones[(semitones > -7.5) & (semitones < 11)]))


@cache
def _vad() -> SileroVad:
    return SileroVad()


def speech_chunks(sound: np.ndarray) -> np.ndarray:
    """Detect speech in every CHUNK: bool [chunks]."""
    return np.array(list(_vad().probabilities(sound))) >= SPEECH


def magnitudes(sound: np.ndarray) -> np.ndarray:
    """Return magnitude spectra of 32 ms around every 10 ms: float32 [frames, 257]."""
    return np.abs(rfft(frames_of(sound, np.arange(0, len(sound), HOP), 512) * np.hanning(512).astype(np.float32)))


def loudness(sound: np.ndarray) -> float | None:
    """Return the loudness in LUFS (ITU-R BS.1770-4, pyloudnorm); None below the gate of -70 or for less than 0.4 s."""
    meter = pyloudnorm.Meter(SAMPLE_RATE)
    if len(sound) < meter.block_size * SAMPLE_RATE:
        return None
    level = float(meter.integrated_loudness(sound))
    return level if np.isfinite(level) else None


def syllables(spectrum: np.ndarray, speech: np.ndarray, voiced: np.ndarray) -> int:
    """Count syllable nuclei: voiced peaks of intensity with a prominence of 2 dB (de Jong and Wempe 2009)."""
    intensity = 20 * np.log10(gaussian_filter1d(spectrum[:, SYLLABLE_BINS].sum(axis=1), 1.2) + 1e-9)
    peaks, _ = find_peaks(intensity, height=np.percentile(intensity[speech], 95) - 25, prominence=2)
    return int(np.count_nonzero(binary_dilation(voiced)[peaks]))


def signal_to_noise(sound: np.ndarray, speaking: np.ndarray) -> float | None:
    """Return the mean power of speech over the median power of pauses in dB; None without 0.1 s of pause.

    Digital silence at the ends is not a pause. The VAD misses whispers, for which this measure is unreliable.
    """
    power = np.square(sound[: len(speaking) * CHUNK]).reshape(-1, CHUNK).mean(axis=1)
    pauses = ~binary_dilation(speaking, iterations=2) & (power.cumsum() > 0) & (power[::-1].cumsum()[::-1] > 0)
    if np.count_nonzero(pauses) < 3:
        return None
    noise = max(float(np.median(power[pauses])), QUANTISATION)
    return float(10 * np.log10(max(np.mean(power[speaking]) / noise - 1, 1e-3)))


def centroid(spectrum: np.ndarray) -> float:
    """Return the spectral centroid in Hz, averaged over frames; of power, which noise affects less than magnitudes."""
    hz, power = np.linspace(0, SAMPLE_RATE / 2, spectrum.shape[1]), spectrum**2
    return float(np.mean(power @ hz / (power.sum(axis=1) + 1e-12)))


def reverberation(spectrum: np.ndarray, speech: np.ndarray) -> float | None:
    """Return the reverberation time in seconds, from decays in frequency bands; None with fewer than 10 decays.

    As Prego et al., "A blind algorithm for reverberation-time estimation using subband decomposition of speech signals"
    (2012): linear regression of decays of a quarter of a second, some of which speech slows down, and a table from their
    first quartile to RT60. Dry speech itself decays at about 0.3 s.
    """
    first, last = BAND_EDGES[0], BAND_EDGES[-1]
    level = 10 * np.log10(np.add.reduceat(spectrum[:, first:last] ** 2, BAND_EDGES[:-1] - first, axis=1) + 1e-10)
    if len(level) < DECAY_FRAMES:
        return None
    decays = np.lib.stride_tricks.sliding_window_view(level, DECAY_FRAMES, axis=0)
    seconds = (np.arange(DECAY_FRAMES) - (DECAY_FRAMES - 1) / 2) * HOP / SAMPLE_RATE
    slope = decays @ seconds / (seconds @ seconds)
    straight = slope**2 * (seconds @ seconds) > 0.9 * DECAY_FRAMES * decays.var(axis=-1)
    steep = slope < -6 / (DECAY_FRAMES * HOP / SAMPLE_RATE)
    above_noise = decays[..., -1] > np.percentile(level, 5, axis=0) + 6
    loud = decays[..., 0] > np.percentile(level, 98, axis=0) - 35
    near_speech = binary_dilation(speech, iterations=20)[: len(decays), None]
    slopes = slope[straight & steep & above_noise & loud & near_speech]
    return float(np.interp(np.percentile(-60 / slopes, 25), *DECAYS_TO_RT60)) if len(slopes) >= 10 else None


HOP = 160
"""Samples between frames: 10 ms."""
MIN_CYCLES = 30
"""Least number of glottal cycles for jitter and shimmer."""
SHORTEST_LAG, LONGEST_LAG = SAMPLE_RATE // 500, SAMPLE_RATE // 60
"""Range of a voice's periods, in samples."""
CANDIDATES, VOICING_THRESHOLD, VOICING_COST, OCTAVE_COST, OCTAVE_JUMP_COST = 5, 0.45, 0.14, 0.01, 0.35
"""Parameters of the F0 path, with the values of Boersma's paper and of Praat."""


def frames_of(sound: np.ndarray, centres: np.ndarray, width: int) -> np.ndarray:
    """Cut frames around `centres`: float32 [centres, width], with zeros beyond the ends."""
    padded = np.pad(sound, width // 2).astype(np.float32)
    return np.lib.stride_tricks.sliding_window_view(padded, width)[centres]


def pitch(sound: np.ndarray, speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Track F0 in Hz, 0 where unvoiced, and the autocorrelation at its period, 0..0.9999: both [frames].

    Boersma, "Accurate short-term analysis of the fundamental frequency and the harmonics-to-noise ratio of a sampled sound"
    (1993): peaks of the autocorrelation divided by the window's, and the cheapest path through them (Viterbi).
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
    """Return the window-corrected autocorrelation of 48 ms around each centre: float32 [centres, lags of 500 to 60 Hz + 2]."""
    width, size = 768, 1080
    window = np.hanning(width).astype(np.float32)
    frames = frames_of(sound, centres, width)
    frames = (frames - frames.mean(axis=1, keepdims=True)) * window
    lags = slice(SHORTEST_LAG - 1, LONGEST_LAG + 2)
    expected = irfft(np.abs(rfft(window, size)) ** 2)
    correlation = irfft(np.abs(rfft(frames, size)) ** 2)
    return correlation[:, lags] / (correlation[:, :1] + 1e-9) * (expected[0] / expected[lags])


def _cheapest_path(frames: np.ndarray, strength: np.ndarray, octave: np.ndarray) -> np.ndarray:
    """Return the candidate of each frame, CANDIDATES where unvoiced, by Viterbi with costs of jumps and changes of voicing."""
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
    """Return offset from `best` and height of the peak of a parabola through column `best` of each row and its neighbours."""
    before, at, after = (values[np.arange(len(values)), best + step].astype(np.float64) for step in (-1, 0, 1))
    bend = before - 2 * at + after
    offset = np.where(bend < 0, (before - after) / np.where(bend < 0, 2 * bend, 1), 0).clip(-0.5, 0.5)
    return offset, at - (before - after) * offset / 4


def perturbation(sound: np.ndarray, f0: np.ndarray) -> tuple[float | None, float | None]:
    """Return local jitter and shimmer in percent, as in Praat, over all voiced stretches of 80 ms or more."""
    stretches, count = label(f0 > 0)
    cycles = [_cycles(sound, np.flatnonzero(stretches == i + 1), f0) for i in range(count)]
    cycles = [found for found in cycles if len(found[0]) >= 3]
    if sum(len(periods) for periods, _ in cycles) < MIN_CYCLES:
        return None, None
    periods, peaks = zip(*cycles, strict=True)
    return 100 * _mean_change(list(periods)), 100 * _mean_change(list(peaks))


def _mean_change(runs: list[np.ndarray]) -> float:
    """Return the mean relative change between neighbours, without changes of half or more."""
    changes = np.concatenate([np.abs(np.diff(run)) / (run[:-1] + run[1:]) * 2 for run in runs])
    return float(np.mean(changes[changes < 0.5])) if (changes < 0.5).any() else 0.5


def _cycles(sound: np.ndarray, frames: np.ndarray, f0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths in samples and peak-to-peak amplitudes of the cycles of a voiced stretch, by cross-correlation."""
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
