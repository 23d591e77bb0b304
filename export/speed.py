"""How fast a model embeds on the machine that exports it."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.model import Model

CLIPS, CLIP_SECONDS = 4, 10.0
LEAST_SECONDS = 0.5
"""For how long each graph runs at least."""
CAPTION = "a breathy, sad female voice"


@dataclass(frozen=True)
class Speed:
    """On `cores` processor cores: seconds of audio a second, and milliseconds for one caption."""

    cores: int
    audio_seconds_per_second: float
    caption_milliseconds: float


def measure_speed(model: Model) -> Speed:
    """The best run of several, after one that warms up, from clips of ten seconds in the memory to embeddings."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((CLIPS, int(CLIP_SECONDS * SAMPLE_RATE)), dtype=np.float32)
    speech = _best_seconds(lambda: list(model.embed_speech(noise)))
    text = _best_seconds(lambda: list(model.embed_text([CAPTION])))
    return Speed(os.cpu_count() or 1, round(CLIPS * CLIP_SECONDS / speech, 1), round(1000 * text, 2))


def _best_seconds(work: Callable[[], object]) -> float:
    work()
    times: list[float] = []
    while sum(times) < LEAST_SECONDS:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
