"""The labelled speech that `mini` is trained on -> one manifest: measured attributes, edited copies, a split.

    python -m encoders.training.prepare SPEECH --out DIR [--add FOLDER]

SPEECH and every further FOLDER are as encoders.training.corpora knows them: with a clips.csv, or as CREMA-D is distributed.
The manifest has a column per attribute (attributes.toml). A cell names the label that holds, or several that it could be
("neutral|calm"); an empty cell is unknown. `style` keeps only words that hold, `style_not` those that do not. Beside them are
the measures (encoders.training.measures) that labels follow from, and from which they change when a clip is played faster.
"""

import csv
import hashlib
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import soundfile
from tqdm import tqdm

from encoders.attributes import load_attributes
from encoders.audio import SAMPLE_RATE, read_audio
from encoders.manifest import ManifestError
from encoders.training.annotate import MEASURES, MOST_SECONDS, in_processes, make_row
from encoders.training.copies import edited_labels, write_edit
from encoders.training.corpora import read_corpus
from encoders.training.edits import EDITS
from encoders.training.measured import load_measured
from encoders.training.measures import measure

Task, Done = TypeVar("Task"), TypeVar("Done")

COLUMNS = (*"path dataset licence speaker split duration".split(), *load_attributes(), "style_not", *MEASURES)
HELD_OUT_DATASETS = {"vctk", "ljspeech"}
HELD_OUT_SHARE = {
    "librispeech-libritts-p": 0.15, "nemo": 0.25, "ravdess": 0.17, "emotiontts-ko": 0.15, "speechocean762": 0.15,
    "duke-accents": 0.15, "turev": 0.17, "indian-emospeech": 0.15,
}  # fmt: skip
READ_SPEECH = set(
    """librispeech-libritts-p cmu-arctic kerstin kathleen nathalie flemishguy ljspeech vctk fsdd speechocean762
    duke-accents""".split()
)
TELEPHONE_BAND = {"fsdd"}
UNKNOWN_BAND = {"indian-emospeech"}
UNEVEN_LEVELS = {"indian-emospeech", "turev", "sdap-voices"}
"""Recordings whose level tells nothing of how loudly somebody spoke."""
NOT_ALL_MODAL = {"sdap-voices"}
ACCENTS_UNTOLD = {"fsdd", "indian-emospeech"}
"""Of too few words, or in a variety of English that is native where it is spoken."""
LEAST_ACCENT = 3
"""Of ten, by the speaker's own judgement, from which on an accent is called one."""
NEVER_TRAINED_ON = "evaluation only"
"""In a licence."""
STRETCH_SECONDS = 8.0
"""Longer recordings are cut into equal stretches of at most so much, each with labels of its own."""
VOTED = {
    "clear": ("clarity", "clear"),
    "muffled": ("clarity", "muffled"),
    "fluent": ("rhythm", "fluent"),
    "halting": ("rhythm", "halting"),
    "raspy": ("texture", "rough"),
}
"""Listeners' words that answer the question of an exclusive attribute."""
EFFORT_DB = 7.0
"""How far from a speaker's median level an acted clip is called quiet or loud."""


def held_out_speakers(rows: list[dict]) -> set[str]:
    """Speakers that are never trained on, chosen by a hash of their names and balanced by gender."""
    chosen = {row["speaker"] for row in rows if row["dataset"] in HELD_OUT_DATASETS}
    for dataset, share in HELD_OUT_SHARE.items():
        genders = defaultdict(set)
        for row in rows:
            if row["dataset"] == dataset:
                genders[row["gender"]].add(row["speaker"])
        for speakers in genders.values():
            ordered = sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
            chosen.update(ordered[: round(share * len(ordered))])
    return chosen


def style_votes(style: str) -> dict[str, str]:
    """LibriTTS-P's three listeners -> cells: words that two or more chose, and in `style_not` those that none chose."""
    listeners = [part.split(": ", 1)[-1].split(", ") for part in style.split(" || ")]
    votes = Counter(word.removeprefix("very ").removeprefix("slightly ") for words in listeners for word in words)
    labels = {name: [label.name for label in load_attributes()[name].labels] for name in ("style", "age")}
    cells = {name: "|".join(label for label in names if votes[label] >= 2) for name, names in labels.items()}
    cells["style_not"] = "|".join(label for label in labels["style"] if votes[label] == 0)
    for word, (attribute, label) in VOTED.items():
        others = [other for other, (name, _) in VOTED.items() if name == attribute and other != word]
        if votes[word] >= 2 and not any(votes[other] for other in others):
            cells[attribute] = label
    return cells


def efforts(rows: Sequence[dict[str, str]]) -> dict[str, str]:
    """Path -> "quiet" or "loud" for acted clips far from the level at which the same actor speaks elsewhere."""
    levels = defaultdict(list)
    for row in rows:
        if row["dataset"] not in READ_SPEECH | UNEVEN_LEVELS and row["loudness_lufs"]:
            levels[row["speaker"]].append(float(row["loudness_lufs"]))
    found = {}
    for row in rows:
        if row["speaker"] in levels and row["loudness_lufs"] and row["emotion"]:
            above = float(row["loudness_lufs"]) - np.median(levels[row["speaker"]])
            if abs(above) > EFFORT_DB:
                found[row["path"]] = "loud" if above > 0 else "quiet"
    return found


def accent(row: dict[str, str]) -> str:
    """Whether English is spoken as by a native, by how the language of a clip is named ("en-US", "en, Hindi accent")."""
    language = row.get("language", "")
    if not language.lower().startswith("en") or row["dataset"] in ACCENTS_UNTOLD:
        return ""
    if "accent" not in language:
        return "native"
    strength = re.search(r"accent strength (\d+)/10", row["style"])
    return "" if strength and int(strength[1]) < LEAST_ACCENT else "foreign"


def describe(held_out: set[str], folder: Path, row: dict[str, str]) -> list[dict[str, str]]:
    """A row for each stretch of a recording; one that is cut is written into `folder`."""
    samples = read_audio(Path(row["path"]), MOST_SECONDS)
    count = max(1, math.ceil(len(samples) / SAMPLE_RATE / STRETCH_SECONDS))
    if count == 1:
        return [_describe(held_out, row, samples)]
    found = []
    for number, stretch in enumerate(np.array_split(samples, count)):
        path = folder / f"{row['dataset']}-{Path(row['path']).stem}-{number}.flac"
        soundfile.write(path, stretch, SAMPLE_RATE)
        cut = row | {"path": str(path), "duration": f"{len(stretch) / SAMPLE_RATE:.2f}"}
        found.append(_describe(held_out, cut, stretch))
    return found


def _describe(held_out: set[str], row: dict[str, str], samples: np.ndarray) -> dict[str, str]:
    """A row with what was measured of its samples, and with what its data set says put into the manifest's columns."""
    measured = make_row({}, measure(samples))
    kept = {name: measured[name] for name in (*load_measured(), *MEASURES)}
    listened = row["dataset"] == "librispeech-libritts-p"
    voted = style_votes(row["style"]) if listened else {"style": "", "age": row["age"]}
    return {
        **row,
        **kept,
        "split": "valid" if row["speaker"] in held_out else "train",
        "emotion": row["emotion"] or ("neutral|calm" if row["dataset"] in READ_SPEECH else ""),
        "loudness": "loud" if row["style"] == "shouted" else "",
        "accent": accent(row),
        "phonation": "" if voted.get("texture") or row["dataset"] in NOT_ALL_MODAL else "modal",
        "channel": "telephone" if row["dataset"] in TELEPHONE_BAND else "" if row["dataset"] in UNKNOWN_BAND else "full-band",
        **voted,
    }


def edit(task: tuple[Path, dict[str, str], str, int]) -> dict[str, str] | None:
    """Writes an edited copy of the first seconds of a clip; its row, or None where the clip is too short."""
    path, row, name, seed = task
    sound = write_edit(read_audio(Path(row["path"])), path, name, seed)
    if sound is None:
        return None
    measured = make_row({}, measure(sound))
    kept = {name: measured[name] for name in (*load_measured(), *MEASURES) if name not in ("noise", "reverberation")}
    return row | kept | edited_labels(name, measured["pitch"]) | {
        "path": str(path), "dataset": f"edit-{name}", "duration": f"{len(sound) / SAMPLE_RATE:.2f}"
    }  # fmt: skip


def resumed(work: Callable[[Task], Done], tasks: Sequence[Task], journal: Path) -> Iterator[Done]:
    """What `work` makes of each task, in their order; what an interrupted run has noted of the same tasks is not made again."""
    digest = hashlib.sha256(repr(tasks).encode()).hexdigest()
    first, *notes = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.exists() else [""]
    if first != digest:
        journal.write_text(f"{digest}\n", encoding="utf-8")
        notes = []
    yield from map(json.loads, notes)
    with journal.open("r+", encoding="utf-8") as file:
        file.truncate(sum(len(line.encode()) + 1 for line in (digest, *notes)))  # a line that was cut short goes
        file.seek(0, os.SEEK_END)
        for done in in_processes(work, tasks[len(notes) :]):
            file.write(json.dumps(done) + "\n")
            file.flush()
            yield done


@click.command()
@click.argument("speech", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--add", "added", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--edits", default=450, show_default=True, help="Copies of each kind of edit.")
@click.option("--seed", default=1, show_default=True)
def main(speech: Path, added: tuple[Path, ...], out: Path, edits: int, seed: int) -> None:
    """Measure, edit and split the labelled speech of SPEECH and of every --add: folders as read_corpus knows them.

    Interrupted, it goes on when it is run again.
    """
    try:
        corpora = [read_corpus(folder) for folder in (speech, *added)]
    except ManifestError as error:
        raise click.ClickException(str(error)) from error
    out = out.absolute()
    for folder in ("edits", "stretches"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows = [row for corpus in corpora for row in corpus if NEVER_TRAINED_ON not in row["licence"]]
    done = resumed(partial(describe, held_out_speakers(rows), out / "stretches"), rows, out / "measured.jsonl")
    manifest = [row for found in tqdm(done, total=len(rows), desc="measure", mininterval=10) for row in found]
    loudness = efforts(manifest)
    manifest = [row | {"loudness": loudness.get(row["path"], row["loudness"])} for row in manifest]

    by_speaker = defaultdict(list)
    for row in manifest:
        if row["phonation"] == "modal" and row["channel"] == "full-band":
            by_speaker[row["speaker"]].append(row)
    rng = np.random.default_rng(seed)
    speakers = sorted(by_speaker)
    tasks = []
    for name in EDITS:
        for speaker in rng.choice(speakers, edits):
            source = by_speaker[speaker]
            path = out / "edits" / f"{name}-{len(tasks):05d}.flac"
            tasks.append((path, source[rng.integers(len(source))], name, len(tasks)))
    edited = tqdm(resumed(edit, tasks, out / "edited.jsonl"), total=len(tasks), desc="edit", mininterval=10)
    manifest.extend(row for row in edited if row)

    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(manifest)
    held_out = {row["speaker"] for row in manifest if row["split"] == "valid"}
    print(f"{len(manifest)} clips in {out / 'manifest.csv'}, {len(held_out)} speakers held out")


if __name__ == "__main__":
    main()
