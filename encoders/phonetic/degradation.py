"""What makes speech hard to understand, added to clips: noise, other voices, rooms."""

from collections.abc import Sequence

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE

VOICES = 5
"""Other clips that make a babble."""
DECAY_SECONDS = 0.6
"""In which a room's sound falls by 60 dB."""


def mix(speech: np.ndarray, noise: np.ndarray, share: float) -> np.ndarray:
    """(1 - share) x speech + share x noise of the same power (SCRAPS); both float32 [samples], share from 0 to 1."""
    level = np.sqrt(np.mean(speech**2) / (np.mean(noise**2) + 1e-12))
    return ((1 - share) * speech + share * level * noise).astype(np.float32)


def add_noise(speech: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise; see mix."""
    return mix(speech, rng.standard_normal(len(speech)), share)


def add_babble(speech: np.ndarray, others: Sequence[np.ndarray], share: float, rng: np.random.Generator) -> np.ndarray:
    """Five of the other clips at once, at one level, each from a random place on and over again; see mix."""
    babble = np.zeros(len(speech))
    for i in rng.choice(len(others), min(VOICES, len(others)), replace=False):
        voice = others[i] / (np.sqrt(np.mean(others[i] ** 2)) + 1e-9)
        babble += np.resize(np.roll(voice, rng.integers(len(voice))), len(speech))
    return mix(speech, babble, share)


def add_room(speech: np.ndarray, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """A room of 0.6 s in which the direct sound is `direct_db` above the reverberant."""
    time = np.arange(int(DECAY_SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / DECAY_SECONDS)
    tail *= 10 ** (-direct_db / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    size = len(speech) + len(tail)
    return np.fft.irfft(np.fft.rfft(speech, size) * np.fft.rfft(tail, size), size)[: len(speech)].astype(np.float32)
