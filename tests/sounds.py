"""Sounds that the tests make themselves, and files of many formats to put them in."""

from pathlib import Path

import av
import numpy as np

RATE = 16_000


def tone(seconds: float, hz: float = 440.0, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    """float32 samples of a sine."""
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def voice(seconds: float, f0: float = 120.0, seed: int = 0) -> np.ndarray:
    """float32 samples at 16 kHz of a buzzing vowel with a wandering pitch and a little noise: not speech, but near it."""
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    wander = np.interp(np.arange(count), np.linspace(0, count, 8), rng.normal(0, 0.06, 8))
    phase = 2 * np.pi * np.cumsum(f0 * np.exp(wander)) / RATE
    sound = sum(np.sin(k * phase) / k for k in range(1, int(7000 / f0)))
    loudness = 0.6 + 0.4 * np.sin(2 * np.pi * 3 * np.arange(count) / RATE)
    return (0.1 * loudness * sound + 0.003 * rng.standard_normal(count)).astype(np.float32)


def write_sound(
    path: Path,
    samples: np.ndarray,
    rate: int = RATE,
    codec: str = "pcm_s16le",
    channels: int = 1,
    container: str | None = None,
    with_video: bool = False,
    tags: dict[str, str] | None = None,
) -> Path:
    """Encodes float samples, the same in every channel, at `rate` Hz. `container` names the format where the suffix can't."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(tags or {})
        if with_video:
            picture = output.add_stream("mpeg4", rate=10, width=64, height=48)
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64_000 * channels
        frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)).astype(np.float32), format="fltp", layout=layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if with_video:
            for _ in range(5):
                output.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
            output.mux(picture.encode(None))
    return path
