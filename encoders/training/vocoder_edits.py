"""WORLD edits: real speech made whispered, breathy, creaky, deeper, higher, flatter, livelier, slower or faster.

Morise et al., "WORLD: a vocoder-based high-quality speech synthesis system" (2016), through pyworld. Each edit makes
claims about the result that a caption may then use.
"""

import importlib.metadata
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE


def _import_pyworld() -> ModuleType:
    """pyworld, which asks pkg_resources for its version and for nothing else; setuptools no longer has that."""
    asked = "pkg_resources"
    former, stand_in = sys.modules.get(asked), ModuleType(asked)
    stand_in.get_distribution = importlib.metadata.distribution
    sys.modules[asked] = stand_in
    try:
        import pyworld
    finally:
        if former is None:
            del sys.modules[asked]
        else:
            sys.modules[asked] = former
    return pyworld


pyworld = _import_pyworld()

FRAME_MS = 5.0


@dataclass(frozen=True)
class Voice:
    """A WORLD analysis: f0 in Hz [frames] (0 = unvoiced), power spectrum and aperiodicity in 0..1 [frames, bins]."""

    f0: np.ndarray
    spectrum: np.ndarray
    aperiodicity: np.ndarray
    frame_ms: float = FRAME_MS

    @property
    def hz(self) -> np.ndarray:
        return np.linspace(0, SAMPLE_RATE / 2, self.spectrum.shape[1])

    @property
    def voiced(self) -> np.ndarray:
        return self.f0 > 0


def pitch_track(samples: np.ndarray) -> np.ndarray:
    """F0 in Hz every 10 ms, 0 where unvoiced (DIO), for float samples at 16 kHz."""
    return pyworld.dio(samples.astype(np.float64), SAMPLE_RATE, f0_floor=60, f0_ceil=500, frame_period=10.0, speed=8)[0]


def analyse(samples: np.ndarray) -> Voice:
    """Float samples at 16 kHz -> their WORLD analysis."""
    sound = samples.astype(np.float64)
    f0, times = pyworld.dio(sound, SAMPLE_RATE, f0_floor=60, f0_ceil=500, frame_period=FRAME_MS, speed=4)
    f0 = pyworld.stonemask(sound, f0, times, SAMPLE_RATE)
    return Voice(f0, pyworld.cheaptrick(sound, f0, times, SAMPLE_RATE), pyworld.d4c(sound, f0, times, SAMPLE_RATE))


def synthesise(voice: Voice) -> np.ndarray:
    """A WORLD analysis -> float32 samples at 16 kHz, peak 0.7."""
    parts = (np.ascontiguousarray(part) for part in (voice.f0, voice.spectrum, voice.aperiodicity))
    sound = pyworld.synthesize(*parts, SAMPLE_RATE, voice.frame_ms)
    return (0.7 * sound / max(1e-6, np.abs(sound).max())).astype(np.float32)


def move_formants(voice: Voice, ratio: float) -> Voice:
    """Stretches the spectral envelope along frequency: a ratio above 1 is a shorter vocal tract."""
    spectrum = np.stack([np.interp(voice.hz / ratio, voice.hz, frame) for frame in voice.spectrum])
    return replace(voice, spectrum=spectrum)


def whispered(voice: Voice, rng: np.random.Generator) -> Voice:
    """No voicing, weak lows, vowels well below the consonants, formants a little higher."""
    gain_db = np.interp(voice.hz, [0, 300, 1200, 8000], [-30, -22, 0, 4])[None, :]
    gain_db = gain_db - rng.uniform(8, 16) * voice.voiced[:, None]
    moved = move_formants(voice, rng.uniform(1.03, 1.12))
    noise = np.ones_like(voice.aperiodicity)
    return replace(moved, f0=np.zeros_like(voice.f0), spectrum=moved.spectrum * 10 ** (gain_db / 10), aperiodicity=noise)


def breathy(voice: Voice, rng: np.random.Generator) -> Voice:
    """Turbulent noise takes the place of the harmonics from about 1 kHz up, and highs are lifted."""
    corner = rng.uniform(500, 1500)
    floor = np.interp(voice.hz, [0, corner, 2.5 * corner, 8000], [0.05, 0.5, 0.95, 1.0])[None, :]
    gain_db = np.interp(voice.hz, [0, 2000, 8000], [0, 0, rng.uniform(3, 9)])[None, :]
    return replace(voice, spectrum=voice.spectrum * 10 ** (gain_db / 10), aperiodicity=np.maximum(voice.aperiodicity, floor))


def creaky(voice: Voice, rng: np.random.Generator) -> Voice:
    """Pulses far apart and irregular."""
    jitter = np.exp(rng.normal(0, 0.18, len(voice.f0)))
    return replace(voice, f0=np.where(voice.voiced, np.clip(voice.f0 * 0.45 * jitter, 30, 90), 0))


def deeper(voice: Voice, rng: np.random.Generator) -> Voice:
    """Lower pitch and a slightly longer vocal tract."""
    return replace(move_formants(voice, rng.uniform(0.9, 0.97)), f0=voice.f0 * rng.uniform(0.62, 0.8))


def higher(voice: Voice, rng: np.random.Generator) -> Voice:
    """Higher pitch and a slightly shorter vocal tract."""
    return replace(move_formants(voice, rng.uniform(1.03, 1.1)), f0=voice.f0 * rng.uniform(1.3, 1.7))


def monotone(voice: Voice, rng: np.random.Generator) -> Voice:
    """Pitch movement reduced to a tenth."""
    return _intonation(voice, rng.uniform(0.05, 0.15))


def expressive(voice: Voice, rng: np.random.Generator) -> Voice:
    """Pitch movement nearly doubled."""
    return _intonation(voice, rng.uniform(1.7, 2.1))


def slow(voice: Voice, rng: np.random.Generator) -> Voice:
    """Stretched in time."""
    return replace(voice, frame_ms=FRAME_MS * rng.uniform(1.35, 1.7))


def fast(voice: Voice, rng: np.random.Generator) -> Voice:
    """Squeezed in time."""
    return replace(voice, frame_ms=FRAME_MS * rng.uniform(0.6, 0.72))


def _intonation(voice: Voice, factor: float) -> Voice:
    if not voice.voiced.any():
        return voice
    pitch = np.log(voice.f0[voice.voiced])
    f0 = voice.f0.copy()
    f0[voice.voiced] = np.clip(np.exp(pitch.mean() + factor * (pitch - pitch.mean())), 60, 600)
    return replace(voice, f0=f0)


@dataclass(frozen=True)
class Edit:
    """An edit, what it makes true, and what is no longer known afterwards."""

    apply: Callable[[Voice, np.random.Generator], Voice]
    claims: dict[str, str]
    forget: tuple[str, ...] = ()


EDITS = {
    "whispered": Edit(whispered, {"phonation": "whispered"}, ("pitch", "intonation")),
    "breathy": Edit(breathy, {"phonation": "breathy"}),
    "creaky": Edit(creaky, {"phonation": "creaky"}, ("pitch", "intonation")),
    "deeper": Edit(deeper, {}, ("pitch",)),
    "higher": Edit(higher, {}, ("pitch",)),
    "monotone": Edit(monotone, {"intonation": "monotone"}),
    "expressive": Edit(expressive, {"intonation": "expressive"}),
    "slow": Edit(slow, {"speed": "slow"}),
    "fast": Edit(fast, {"speed": "fast"}),
}
