"""Parity of exported graphs with torch, and their speed on this machine."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import MEDIA_SUFFIXES, SAMPLE_RATE, read_audio
from voxdex.encoders.model import Model
from voxdex.encoders.networks.dual_encoder import DualEncoder

MIN_COSINE = {"fp32": 0.99999, "fp16": 0.9999, "compact": 0.99, "int8": 0.99, "int8-static": 0.99}
BATCH_SECONDS = 160.0
"""Seconds of sound in a batch of the comparison."""
CAPTIONS = (
    "a sad woman",
    "Deep, calm male voice, speaking slowly.",
    "she sounds terrified",
    "whispered",
    "A person with a deep, raspy voice is speaking in a whispered style, hesitating between the words as if in doubt.",
)
PHONEMES = (
    "kɪdz ɑːɹ tɔːkɪŋ baɪ ðə doːɹ",
    "ɡuːtən taːk",
    "dʑɛɲ dɔbrɨ",
    "ə",
    "ðɪ ɑːɹkaɪv hoʊldz foːɹɾi jɪɹz ʌv ɪntɚvjuːz ænd noʊbɑːdi hɐz lɪsənd tʊ ɔːl ʌvðɛm",
)


@dataclass(frozen=True)
class Parity:
    """Cosines of ONNX with torch in fp32 over clips and captions; `batched` for clips embedded in batches.

    sounds: kind of clips, "recordings" or "synthetic". shortest, longest: lengths of the clips in seconds.
    """

    precision: str
    sounds: str
    clips: int
    captions: int
    shortest: float
    longest: float
    speech_worst: float
    speech_mean: float
    text_worst: float
    text_mean: float
    batched_worst: float
    batched_mean: float

    @property
    def worst(self) -> float:
        """The lowest cosine."""
        return min(self.speech_worst, self.text_worst, self.batched_worst)

    @property
    def holds(self) -> bool:
        """Whether the lowest cosine reaches the minimum of its precision."""
        return self.worst >= MIN_COSINE[self.precision]


def measure_parity(network: DualEncoder, model: Model, sounds: str, clips: Sequence[np.ndarray]) -> Parity:
    """Compare embeddings of clips (float32 mono at 16 kHz, of many lengths) and texts by torch and by ONNX Runtime."""
    network = network.eval()
    alone = np.stack([next(model.embed_speech([clip])) for clip in clips])
    batched = np.stack(list(model.embed_speech(clips, batch_seconds=BATCH_SECONDS)))
    texts = PHONEMES if model.card.text == "phonemes" else CAPTIONS
    text = np.stack(list(model.embed_text(texts)))
    with torch.inference_mode():
        speech_torch = [network.embed_speech(torch.from_numpy(clip)[None], torch.tensor([len(clip)])).numpy() for clip in clips]
        encodings = [model.tokenizer.encode(each) for each in texts]
        text_torch = [network.embed_text(torch.tensor([e.ids]), torch.tensor([e.attention_mask])).numpy() for e in encodings]
    pairs = {"speech": (alone, speech_torch), "text": (text, text_torch), "batched": (batched, speech_torch)}
    cosines = {name: (a * np.concatenate(b)).sum(axis=1) for name, (a, b) in pairs.items()}
    metrics = {f"{name}_worst": float(found.min()) for name, found in cosines.items()}
    metrics |= {f"{name}_mean": float(found.mean()) for name, found in cosines.items()}
    seconds = [len(clip) / SAMPLE_RATE for clip in clips]
    return Parity(
        precision=model.card.precision,
        sounds=sounds,
        clips=len(clips),
        captions=len(texts),
        shortest=round(min(seconds), 3),
        longest=round(max(seconds), 3),
        **metrics,
    )


def recorded_clips(folder: Path, most: int = 64, seconds: float = 10.0) -> list[np.ndarray]:
    """Read the beginnings of up to `most` recordings of a folder.

    Raises:
        AudioError: none of them can be read.
    """
    clips = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in MEDIA_SUFFIXES):
        try:
            clips.append(read_audio(path, seconds))
        except AudioError:
            continue
        if len(clips) == most:
            break
    if not clips:
        raise AudioError(f"{folder} holds no recording that can be read")
    return clips


def synthetic_clips(count: int = 12, seconds: float = 10.0) -> list[np.ndarray]:
    """Synthesise voice-like clips of 0.02 s to `seconds`: buzzes with noise and pauses."""
    rng = np.random.default_rng(0)
    clips = []
    for length in np.geomspace(0.02, seconds, count):
        time = np.arange(int(length * SAMPLE_RATE)) / SAMPLE_RATE
        phase = 2 * np.pi * np.cumsum(120 * (1 + 0.2 * np.sin(2 * np.pi * 0.7 * time))) / SAMPLE_RATE
        buzz = sum(np.sin(k * phase) / k for k in range(1, 20))
        syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1)
        sound = 0.1 * (syllables + 0.01) * buzz + 0.01 * rng.standard_normal(len(time))
        clips.append(sound.astype(np.float32))
    return clips


CLIPS, CLIP_SECONDS = 4, 10.0
MIN_SECONDS = 0.5
"""Least time for which each graph is run, in seconds."""
CAPTION = "a breathy, sad female voice"


@dataclass(frozen=True)
class Speed:
    """Speed on `cores` processor cores: seconds of audio a second, and milliseconds for a caption."""

    cores: int
    audio_seconds_per_second: float
    caption_milliseconds: float


def measure_speed(model: Model) -> Speed:
    """Measure the best of several runs after a warm-up, for clips of ten seconds in memory."""
    noise = 0.1 * np.random.default_rng(0).standard_normal((CLIPS, int(CLIP_SECONDS * SAMPLE_RATE)), dtype=np.float32)
    speech = _best_seconds(lambda: list(model.embed_speech(noise)))
    text = _best_seconds(lambda: list(model.embed_text([CAPTION])))
    return Speed(os.cpu_count() or 1, round(CLIPS * CLIP_SECONDS / speech, 1), round(1000 * text, 2))


def _best_seconds(work: Callable[[], object]) -> float:
    work()
    times: list[float] = []
    while sum(times) < MIN_SECONDS:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
