"""Who speaks: errors of diarisation, of speakers across an archive, and of search by voice, on made conversations.

    python -m benchmarks.speakers MANIFEST [--dataset NAME]... [--conversations 20] [--threshold recording=0.4]...

Conversations of two to four speakers are put together from the clips of speakers that the speaker model was not trained on
(split "valid", or a licence that is not free for any use), with pauses of 0.3 to 1.5 s, so that each speaker is in several of
them; they are indexed with their speakers as any archive is. The baseline is one speaker for each recording. Prints a table,
then one JSON object as the last line.

der: diarisation error rate (missed, false and confused speech over speech, without a collar), in percent, speakers mapped
within each conversation. confused: the part of it where another speaker is heard. archive_der: as der, speakers mapped once for
the whole archive. found: speakers found, of those there are. voice: share of the first ten hits of a search by a clip's voice,
in other recordings, that are the same person's.
"""

import csv
import json
import tempfile
import wave
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.speaker import SpeakerModel, open_speaker_model
from voxdex.encoders.training.scripts.speaker import is_trained_on
from voxdex.indexer.index import index
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.speakers import SPEAKER, SpeakerSpace, list_speakers, update_speakers
from voxdex.indexer.store.base import CLIP, KIND
from voxdex.search.engine import search_index
from voxdex.search.query import ClipId, Query, QueryError, Ranking

TURNS, MOST_SPEAKERS, LEAST_SECONDS = 16, 4, 0.8
"""Turns of a conversation, its most speakers, and the shortest turn."""
FRAMES = 100
"""Frames a second in which speech is compared."""
HITS = 10

Turn = tuple[float, float, str]
"""Start and end in seconds, and the speaker."""


@dataclass(frozen=True)
class Errors:
    """The errors on one data set; see the module."""

    dataset: str
    conversations: int
    minutes: float
    der: float
    confused: float
    one_speaker_der: float
    archive_der: float
    speakers: int
    found: int
    voice: float
    voice_chance: float


def make_conversations(rows: Sequence[dict[str, str]], root: Path, folder: Path, count: int) -> dict[str, list[Turn]]:
    """Write conversations as wave files, and return who speaks when in each, by its name."""
    rng = np.random.default_rng(0)
    clips: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        if float(row["duration"]) >= LEAST_SECONDS:
            clips[row["speaker"]].append(row)
    names = sorted(name for name, own in clips.items() if len(own) >= 2)
    truth = {}
    for number in range(count):
        speaking = rng.choice(names, min(len(names), int(rng.integers(2, MOST_SPEAKERS + 1))), replace=False)
        parts, turns, position = [], [], 0.0
        for _ in range(TURNS):
            speaker = str(rng.choice(speaking))
            row = clips[speaker][int(rng.integers(len(clips[speaker])))]
            sound = read_audio(root / row["path"])
            sound = sound * (0.1 / max(1e-4, float(np.sqrt(np.square(sound).mean()))))
            pause = rng.uniform(0.3, 1.5)
            parts += [sound, (1e-4 * rng.standard_normal(int(pause * SAMPLE_RATE))).astype(np.float32)]
            loud = np.flatnonzero(np.abs(sound) > 0.01)
            turns.append((position + loud[0] / SAMPLE_RATE, position + loud[-1] / SAMPLE_RATE, speaker))
            position += len(sound) / SAMPLE_RATE + len(parts[-1]) / SAMPLE_RATE
        with wave.open(str(folder / f"{number:03d}.wav"), "wb") as file:
            file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
            file.writeframes((np.concatenate(parts).clip(-1, 1) * 32767).astype("<i2").tobytes())
        truth[f"{number:03d}.wav"] = turns
    return truth


def confusion(truth: Sequence[Turn], heard: Sequence[Turn]) -> tuple[dict[tuple[str, str], int], int, int]:
    """Return the frames of each pair of true and heard speaker ("" for nobody), those of speech, and those heard by mistake."""
    end = max(end for _, end, _ in (*truth, *heard))
    lines = []
    for turns in (truth, heard):
        line = np.full(int(end * FRAMES) + 1, "", dtype=object)
        for start, stop, speaker in turns:
            line[int(start * FRAMES) : int(stop * FRAMES)] = speaker
        lines.append(line)
    pairs: dict[tuple[str, str], int] = defaultdict(int)
    for pair in zip(*lines, strict=True):
        pairs[pair] += 1
    speech = sum(count for (true, _), count in pairs.items() if true)
    mistaken = sum(count for (true, other), count in pairs.items() if other and not true)
    return pairs, speech, mistaken


def error_rate(pairs: dict[tuple[str, str], int], speech: int, mistaken: int) -> float:
    """Return the diarisation error rate in percent, with the mapping of speakers that makes it least."""
    true = sorted({name for name, _ in pairs if name})
    heard = sorted({name for _, name in pairs if name})
    together = np.array([[pairs.get((one, other), 0) for other in heard] for one in true]).reshape(len(true), len(heard))
    right = together[linear_sum_assignment(-together)].sum()
    return 100 * (speech - int(right) + mistaken) / speech


def unheard(pairs: dict[tuple[str, str], int], speech: int, mistaken: int) -> float:
    """Return the part of the error rate that no speaker explains, in percent: missed speech, and what was heard by mistake."""
    missed = sum(count for (true, heard), count in pairs.items() if true and not heard)
    return 100 * (missed + mistaken) / speech


def measure(dataset: str, truth: dict[str, list[Turn]], folder: Path, model: Model, speaker: SpeakerModel) -> Errors:
    """Index conversations and their speakers, and compare them with the truth."""
    location = LocalIndex(folder.parent / "index")
    with location.create(model.card.space, str(model.folder), model.card.dimension) as store:
        index(find_recordings([folder]), store, model)
        update_speakers(store, location.speakers, speaker)
        clips = [(point.id, point.payload) for point in store.points({KIND: CLIP})]
        heard: dict[str, list[Turn]] = defaultdict(list)
        with location.speakers.read() as speakers:
            for turn in speakers.payloads(CLIP, ("recording", "turn", SPEAKER)):
                heard[Path(turn["recording"]).name].append((*turn["turn"], turn[SPEAKER]))
        confusions = {name: confusion(turns, heard[name]) for name, turns in truth.items()}
        alone = {name: confusion(turns, [(*turn[:2], "one") for turn in heard[name]]) for name, turns in truth.items()}
        whole: dict[tuple[str, str], int] = defaultdict(int)
        for pairs, _, _ in confusions.values():
            for pair, count in pairs.items():
                whole[pair] += count
        speech, mistaken = (sum(each[part] for each in confusions.values()) for part in (1, 2))
        owner = {id: _speaker_of(clip, truth) for id, clip in clips}
        with location.speakers.read() as speakers:
            found, chance = _voice_precision(owner, clips, lambda query: search_index(
                query, store, model, speakers=SpeakerSpace(speakers, speaker)
            ))  # fmt: skip
            count = len(list_speakers(speakers))
    return Errors(
        dataset,
        len(truth),
        round(speech / FRAMES / 60, 1),
        round(float(np.mean([error_rate(*each) for each in confusions.values()])), 1),
        round(float(np.mean([error_rate(*each) - unheard(*each) for each in confusions.values()])), 1),
        round(float(np.mean([error_rate(*each) for each in alone.values()])), 1),
        round(error_rate(whole, speech, mistaken), 1),
        len({name for turns in truth.values() for _, _, name in turns}),
        count,
        round(100 * found, 1),
        round(100 * chance, 1),
    )


def _speaker_of(clip: dict[str, object], truth: dict[str, list[Turn]]) -> str:
    """Return who speaks longest in a clip."""
    seconds: dict[str, float] = defaultdict(float)
    for start, end, speaker in truth[Path(str(clip["recording"])).name]:
        seconds[speaker] += max(0.0, min(end, float(clip["end"])) - max(start, float(clip["start"])))  # type: ignore[arg-type]
    return max(seconds, key=lambda name: seconds[name])


def _voice_precision(
    owner: dict[str, str], clips: Sequence[tuple[str, dict[str, object]]], search: Callable[[Query], Sequence[object]]
) -> tuple[float, float]:
    """Return the share of right ones among the first hits in other recordings of every fifth clip's voice, and by chance."""
    recordings = {id: clip["recording"] for id, clip in clips}
    right, chance = [], []
    for id, _ in clips[::5]:
        others = [other for other in owner if recordings[other] != recordings[id]]
        wanted = sum(owner[other] == owner[id] for other in others)
        if wanted < HITS:
            continue
        with suppress(QueryError):
            hits = search(Query(voice=[ClipId(id)], limit=len(owner), ranking=Ranking(fold=1.0)))
            first = [hit.id for hit in hits if recordings[hit.id] != recordings[id]][:HITS]  # type: ignore[attr-defined]
            right.append(np.mean([owner[other] == owner[id] for other in first]))
            chance.append(wanted / len(others))
    return (float(np.mean(right)), float(np.mean(chance))) if right else (float("nan"), float("nan"))


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--dataset", "datasets", multiple=True, help="Data set of the manifest; repeatable.  [default: all with six held out]"
)
@click.option("--conversations", default=20, show_default=True, type=click.IntRange(1), help="Number of conversations of each.")
@click.option("--threshold", "thresholds", multiple=True, metavar="NAME=COSINE", help="Another threshold than the model's.")
@click.option("--train", is_flag=True, help="Take the speakers that were trained on, to choose thresholds.")
def main(manifest: Path, datasets: tuple[str, ...], conversations: int, thresholds: tuple[str, ...], **options: bool) -> None:
    """Measure who speaks on made conversations."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["speaker"] and is_trained_on(row) == options["train"]]
    model, speaker = open_model("mini-open", bulk=True), open_speaker_model()
    changes = {name: float(value) for name, _, value in (each.partition("=") for each in thresholds)}
    speaker.thresholds = replace(speaker.thresholds, **changes)
    found = []
    for dataset in datasets or sorted({row["dataset"] for row in rows}):
        own = [row for row in rows if row["dataset"] == dataset]
        if dataset.startswith("edit-") or len({row["speaker"] for row in own}) < 6:
            continue
        with tempfile.TemporaryDirectory() as work:
            folder = Path(work) / "conversations"
            folder.mkdir()
            truth = make_conversations(own, manifest.parent, folder, conversations)
            found.append(measure(dataset, truth, folder, model, speaker))
    columns = list(asdict(found[0])) if found else []
    table = Table(*columns)
    for errors in found:
        table.add_row(*(str(getattr(errors, name)) for name in columns))
    Console().print(table)
    print(json.dumps({"thresholds": asdict(speaker.thresholds), "sets": [asdict(errors) for errors in found]}))


if __name__ == "__main__":
    main()
