"""The manifest of the labelled speech of `mini`: measured attributes, edited copies, and a split.

    python -m voxdex.encoders.training.scripts.prepare SPEECH --out DIR [--add FOLDER]

SPEECH and every further FOLDER are in a format of encoders.training.scripts.corpora: with a clips.csv, or CREMA-D as
distributed.
The manifest has a column per attribute (attributes.toml). A cell has the label that holds, or several possible ones
("neutral|calm"); an empty cell is unknown. `style` has labels that hold, `style_not` labels that do not. Further columns are
the measures (encoders.training.annotate.acoustics) that labels are derived from, also after a change of speed in training.
"""

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

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio
from voxdex.encoders.tables import ManifestError, write_csv
from voxdex.encoders.training.annotate.acoustics import measure
from voxdex.encoders.training.annotate.annotation import MEASURES, MOST_SECONDS, in_processes, make_row
from voxdex.encoders.training.annotate.label_rules import load_measured
from voxdex.encoders.training.scripts.corpora import read_corpus
from voxdex.encoders.training.scripts.vocoder_edits import EDITS, edited_labels, write_edit

Task = TypeVar("Task")
Done = TypeVar("Done")

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
SINGLE_READERS = {"cmu-arctic", "kerstin", "kathleen", "nathalie", "flemishguy"}
"""Data sets of hours by one or two readers, of whom little more is learned after the first hundreds of clips."""
READER_SHARE = 0.25
"""Fraction of the clips of such data sets that are used."""
TELEPHONE_BAND = {"fsdd"}
UNKNOWN_BAND = {"indian-emospeech"}
UNEVEN_LEVELS = {"indian-emospeech", "turev", "sdap-voices"}
"""Data sets whose level is unrelated to vocal effort."""
NOT_ALL_MODAL = {"sdap-voices"}
UNKNOWN_ACCENT = {"fsdd", "indian-emospeech"}
"""Data sets of too few words, or in a variety of English that is native where it is spoken."""
MIN_ACCENT_STRENGTH = 3
"""Strength of an accent, of 10 by the speaker's own judgement, from which on it counts as foreign."""
NEVER_TRAINED_ON = "evaluation only"
"""Words of licences that are not used."""
STRETCH_SECONDS = 8.0
"""Maximum length of a clip in seconds; longer recordings are cut into equal clips, each with its own labels."""
VOTED = {
    "clear": ("clarity", "clear"),
    "muffled": ("clarity", "muffled"),
    "fluent": ("rhythm", "fluent"),
    "halting": ("rhythm", "halting"),
    "raspy": ("texture", "rough"),
}
"""Listeners' words that are labels of an exclusive attribute."""
EFFORT_DB = 7.0
"""Distance from the speaker's median level at which an acted clip is labelled quiet or loud, in LU."""


def held_out_speakers(rows: list[dict[str, str]]) -> set[str]:
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
    """Convert LibriTTS-P's three listeners to cells: words that two or more chose, and in `style_not` words that none did."""
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
    """Label acted clips "quiet" or "loud" that are far from the median level of their actor, by path."""
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
    """Return "native" or "foreign" for English, by the language of a clip ("en-US", "en, Hindi accent"); "" if unknown."""
    language = row.get("language", "")
    if not language.lower().startswith("en") or row["dataset"] in UNKNOWN_ACCENT:
        return ""
    if "accent" not in language:
        return "native"
    strength = re.search(r"accent strength (\d+)/10", row["style"])
    return "" if strength and int(strength[1]) < MIN_ACCENT_STRENGTH else "foreign"


def describe(held_out: set[str], folder: Path, row: dict[str, str]) -> list[dict[str, str]]:
    """Return a row for each clip of a recording; clips that are cut are written to `folder`."""
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
    """Return a row with the measures of its samples, and its data set's labels in the manifest's columns."""
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
    """Write an edited copy of the first seconds of a clip, and return its row; None if the clip is too short."""
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
    """Yield `work(task)` for each task, in order, reusing the results that an interrupted run of the same tasks has logged."""
    digest = hashlib.sha256(repr(tasks).encode()).hexdigest()
    first, *notes = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.exists() else [""]
    if first != digest:
        journal.write_text(f"{digest}\n", encoding="utf-8")
        notes = []
    yield from map(json.loads, notes)
    with journal.open("r+", encoding="utf-8") as file:
        file.truncate(sum(len(line.encode()) + 1 for line in (digest, *notes)))  # drop a truncated line
        file.seek(0, os.SEEK_END)
        for done in in_processes(work, tasks[len(notes) :]):
            file.write(json.dumps(done) + "\n")
            file.flush()
            yield done


def _is_used(row: dict[str, str]) -> bool:
    """Return whether a recording is used, by a hash of its path for data sets of which a fraction is used."""
    draw = int(hashlib.sha256(row["path"].encode()).hexdigest()[:8], 16) / 2**32
    return row["dataset"] not in SINGLE_READERS or draw < READER_SHARE


@click.command()
@click.argument("speech", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--add", "added", type=click.Path(exists=True, file_okay=False, path_type=Path), multiple=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--edits", default=200, show_default=True, help="Number of copies for each kind of edit.")
@click.option("--seed", default=1, show_default=True)
def main(speech: Path, added: tuple[Path, ...], out: Path, edits: int, seed: int) -> None:
    """Measure, edit and split the labelled speech of SPEECH and of every --add.

    An interrupted run resumes when the same command is run again.
    """
    try:
        corpora = [read_corpus(folder) for folder in (speech, *added)]
    except ManifestError as error:
        raise click.ClickException(str(error)) from error
    out = out.absolute()
    for folder in ("edits", "stretches"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    rows = [row for corpus in corpora for row in corpus if NEVER_TRAINED_ON not in row["licence"] and _is_used(row)]
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
    tasks: list[tuple[Path, dict[str, str], str, int]] = []
    for name in EDITS:
        for speaker in rng.choice(speakers, edits):
            source = by_speaker[speaker]
            path = out / "edits" / f"{name}-{len(tasks):05d}.flac"
            tasks.append((path, source[rng.integers(len(source))], name, len(tasks)))
    edited = tqdm(resumed(edit, tasks, out / "edited.jsonl"), total=len(tasks), desc="edit", mininterval=10)
    manifest.extend(row for row in edited if row)

    write_csv(out / "manifest.csv", manifest, COLUMNS)
    held_out = {row["speaker"] for row in manifest if row["split"] == "valid"}
    print(f"{len(manifest)} clips in {out / 'manifest.csv'}, {len(held_out)} speakers held out")


if __name__ == "__main__":
    main()
