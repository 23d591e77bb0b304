"""Synthetic sounds, and writing of audio files in many formats."""

from pathlib import Path

import av
import numpy as np

RATE = 16_000


def tone(seconds: float, hz: float = 440.0, rate: int = RATE, level: float = 0.3) -> np.ndarray:
    """float32 samples of a sine."""
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


VOWELS = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)])
"""First three formants in Hz of a, i, u, e, o (Peterson and Barney 1952)."""


def voice(seconds: float, f0: float = 120.0, seed: int = 0) -> np.ndarray:
    """float32 samples at 16 kHz of connected vowels, four syllables a second, which pass for speech.

    f0: mean pitch in Hz, which wanders; up to about 200.
    """
    rng = np.random.default_rng(seed)
    count = int(seconds * RATE)
    places = np.linspace(0, count, max(2, int(5 * seconds) + 1))
    vowels = VOWELS[rng.integers(0, len(VOWELS), len(places))]
    formants = [np.interp(np.arange(count), places, column) for column in vowels.T]
    wander = np.interp(np.arange(count), places, rng.normal(0, 0.06, len(places)))
    phase = 2 * np.pi * np.cumsum(f0 * np.exp(wander)) / RATE
    sound = np.zeros(count)
    for k in range(1, int(4000 / f0)):
        gains = zip(formants, (1.0, 0.5, 0.2), (60, 90, 150), strict=True)
        sound += sum(gain / (1 + ((k * f0 - hz) / width) ** 2) for hz, gain, width in gains) * np.sin(k * phase) / k**0.5
    loudness = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * np.arange(count) / RATE)
    return (0.2 * loudness * sound + 0.002 * rng.standard_normal(count)).astype(np.float32)


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
    """Encode float samples, the same in every channel, at `rate` Hz. container: the format, if the suffix does not tell."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(channels, f"{channels} channels")
    with av.open(str(path), "w", format=container) as output:
        output.metadata.update(tags or {})
        if with_video:
            picture = output.add_stream("mpeg4", rate=10, width=64, height=48)
        stream = output.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = 64_000 * channels
        packed = np.repeat(samples.astype(np.float32), channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate = rate
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if with_video:
            for _ in range(5):
                output.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
            output.mux(picture.encode(None))
    return path


def two_pitches(gap: float = 0.05) -> np.ndarray:
    """Sound whose voiced frames lie half far below and half far above their median pitch."""

    def pulses(hz: float) -> np.ndarray:
        times = np.arange(RATE) / RATE
        return 0.1 * sum(np.sin(2 * np.pi * hz * k * times) / k for k in range(1, int(3800 / hz)))

    return np.concatenate([pulses(70), np.zeros(int(gap * RATE)), pulses(330)]).astype(np.float32)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * RATE), np.float32)


def music(seconds: float) -> np.ndarray:
    """Plucked broken chords, without speech."""
    rng, time = np.random.default_rng(0), np.arange(int(seconds * RATE)) / RATE
    sound = np.zeros(len(time))
    for begin in np.arange(0, seconds, 0.25):
        struck = np.where(time >= begin, np.exp(-4 * np.maximum(0, time - begin)), 0)
        hz = 110 * 2 ** (rng.choice([0, 4, 7, 12, 16, 19, 24]) / 12)
        sound += struck * sum(np.sin(2 * np.pi * hz * k * time) / k for k in range(1, 6))
    return (0.3 * sound / np.abs(sound).max()).astype(np.float32)
