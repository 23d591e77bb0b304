"""A manifest of labelled clips -> batches of sound and what is known to be true of it."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from encoders.attributes import load_attributes
from encoders.audio import SAMPLE_RATE, read_audio
from encoders.training.captions import Claim

CLAIMS: tuple[Claim, ...] = tuple((name, label.name) for name, a in load_attributes().items() for label in a.labels)
"""Everything a caption can claim, in the order of the columns of a truth table."""


@dataclass(frozen=True)
class Clips:
    """Labelled clips in memory.

    sound: int16 samples at 16 kHz of all clips, one after another (a memory map).
    starts, lengths: where each clip lies in it, in samples.
    truth: int8 [clips, claims]; 1 the claim holds, -1 it does not, 0 unknown.
    rows: the manifest's rows.
    """

    sound: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    truth: np.ndarray
    rows: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.rows)

    def samples(self, clip: int, start: int = 0, length: int | None = None) -> np.ndarray:
        """float32 samples in -1..1 of a clip, or of a part of it."""
        first = self.starts[clip] + start
        length = self.lengths[clip] - start if length is None else length
        return self.sound[first : first + length].astype(np.float32) / 32768

    def select(self, chosen: list[int]) -> "Clips":
        """The clips at these rows."""
        rows = [self.rows[i] for i in chosen]
        return Clips(self.sound, self.starts[chosen], self.lengths[chosen], self.truth[chosen], rows)

    def batch(self, clips: list[int], seconds: float | None, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Waveforms [clips, longest] zero-padded and lengths [clips]; random crops of `seconds`, or whole clips."""
        most = int(seconds * SAMPLE_RATE) if seconds else max(self.lengths[clip] for clip in clips)
        lengths = [min(most, int(self.lengths[clip])) for clip in clips]
        waveform = np.zeros((len(clips), max(lengths)), dtype=np.float32)
        for row, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
            start = int(rng.integers(self.lengths[clip] - length + 1))
            waveform[row, :length] = self.samples(clip, start, length)
        return torch.from_numpy(waveform), torch.tensor(lengths)


def load_clips(manifest: Path, cache: Path, most_seconds: float = 10.0) -> Clips:
    """Reads a manifest and decodes its clips, once: `cache` keeps the sound of a manifest with the same content and place."""
    text = str(manifest.parent.absolute()).encode() + manifest.read_bytes()
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    stem = cache / hashlib.sha256(text).hexdigest()[:16]
    if not stem.with_suffix(".npy").exists():
        cache.mkdir(parents=True, exist_ok=True)
        lengths = []
        with stem.with_suffix(".partial").open("wb") as file:
            for row in tqdm(rows, desc="decode", unit="clip", mininterval=10):
                samples = read_audio(manifest.parent / row["path"])[: int(most_seconds * SAMPLE_RATE)]
                file.write((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())
                lengths.append(len(samples))
        stem.with_suffix(".partial").rename(stem.with_suffix(".pcm"))
        np.save(stem.with_suffix(".npy"), np.array(lengths))
    lengths = np.load(stem.with_suffix(".npy"))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    sound = np.memmap(stem.with_suffix(".pcm"), dtype=np.int16, mode="r")
    return Clips(sound, starts, lengths, np.stack([truth_of(row) for row in rows]), rows)


def truth_of(row: dict[str, str]) -> np.ndarray:
    """What a manifest row says of every claim: int8 [claims] of 1, -1 or 0.

    One label in a cell of an exclusive attribute: it holds and the others do not. Several ("neutral|calm"): one of them
    holds, the others do not. A cell of any other attribute lists what holds, NAME_not what does not.
    """
    truth = np.zeros(len(CLAIMS), dtype=np.int8)
    attributes = load_attributes()
    for column, (name, label) in enumerate(CLAIMS):
        named = set(filter(None, (row.get(name) or "").split("|")))
        if label in named and (len(named) == 1 or not attributes[name].exclusive):
            truth[column] = 1
        elif label not in named and named and attributes[name].exclusive:
            truth[column] = -1
        elif label in (row.get(f"{name}_not") or "").split("|"):
            truth[column] = -1
    return truth


def sampling_weights(rows: list[dict[str, str]], shares: dict[str, float]) -> np.ndarray:
    """Chance of each clip to be drawn: by its data set's share, then evenly over speakers, then over their clips."""
    share = [next((value for name, value in shares.items() if row["dataset"].startswith(name)), 1.0) for row in rows]
    datasets = {row["dataset"] for row in rows}
    speakers = {name: len({row["speaker"] for row in rows if row["dataset"] == name}) for name in datasets}
    clips = Counter((row["dataset"], row["speaker"]) for row in rows)
    weights = np.array(
        [part / speakers[row["dataset"]] / clips[row["dataset"], row["speaker"]] for part, row in zip(share, rows, strict=True)]
    )
    return weights / weights.sum()


def endless_batches(clips: Clips, size: int, weights: np.ndarray, rng: np.random.Generator) -> Iterator[list[int]]:
    """Endless lists of `size` different clips drawn with `weights`."""
    while True:
        yield rng.choice(len(clips), size, replace=False, p=weights).tolist()
