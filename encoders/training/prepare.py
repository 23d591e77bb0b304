"""The labelled speech that `mini` is trained on -> one manifest: measured pitch and speed, edited copies, a split.

    python -m encoders.training.prepare CLIPS.csv --root DIR --out DIR

CLIPS.csv has a row a clip: path, dataset, licence, speaker, gender, emotion, intensity, style, transcript, duration.
The manifest has a column per attribute (attributes.toml). A cell names the label that holds, or several that it could be
("neutral|calm"); an empty cell is unknown. `style` keeps only words that hold, `style_not` those that do not.
"""

import csv
import hashlib
import multiprocessing
from collections import Counter, defaultdict
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from encoders.attributes import load_attributes
from encoders.audio import SAMPLE_RATE, read_audio
from encoders.training.copies import edited_labels, write_edit
from encoders.training.edits import EDITS, pitch_track
from encoders.training.measured import load_measured

COLUMNS = (
    "path dataset licence speaker split gender age emotion intensity pitch intonation speed phonation style style_not duration"
).split()
HELD_OUT_DATASETS = {"vctk", "ljspeech"}
HELD_OUT_SHARE = {"librispeech-libritts-p": 0.15, "nemo": 0.25, "ravdess": 0.17, "emotiontts-ko": 0.15}
READ_SPEECH = set("librispeech-libritts-p cmu-arctic kerstin kathleen nathalie flemishguy ljspeech vctk fsdd".split())


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


def style_votes(style: str) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """LibriTTS-P's three listeners -> (labels that two or more chose, labels that none chose), by attribute."""
    listeners = [part.split(": ", 1)[-1].split(", ") for part in style.split(" || ")]
    votes = Counter(word.removeprefix("very ").removeprefix("slightly ") for words in listeners for word in words)
    holds, fails = defaultdict(set), defaultdict(set)
    for attribute in ("style", "age"):
        for label in load_attributes()[attribute].labels:
            if votes[label.name] >= 2:
                holds[attribute].add(label.name)
            elif votes[label.name] == 0:
                fails[attribute].add(label.name)
    return holds, fails


def measure(task: tuple[Path, dict]) -> dict:
    """A row with its median F0 (Hz), the spread of its F0 (semitones) and its characters a second."""
    root, row = task
    samples = read_audio(root / row["path"])
    f0 = pitch_track(samples)
    voiced = f0[f0 > 0]
    seconds = max(0.3, 0.01 * np.count_nonzero(np.abs(samples[: len(samples) // 160 * 160].reshape(-1, 160)).max(1) > 0.02))
    return row | {
        "f0": float(np.median(voiced)) if len(voiced) > 20 else None,
        "spread": float(np.std(12 * np.log2(voiced))) if len(voiced) > 20 else None,
        "rate": len(row["transcript"]) / seconds if len(row["transcript"]) > 15 else None,
    }


def pitch_label(f0: float | None) -> str:
    """The label for a median F0 in Hz."""
    return load_measured()["pitch"].label({"pitch_hz": f0})


def extremes(rows: list[dict], key: str, low: str, high: str, share: float) -> dict[str, str]:
    """Path -> `low` or `high` for the lowest and highest `share` of rows by `key`."""
    values = sorted((row[key], row["path"]) for row in rows if row[key] is not None)
    count = int(share * len(values))
    return {path: low for _, path in values[:count]} | {path: high for _, path in values[len(values) - count :]}


def describe(row: dict, held_out: set[str], spread: dict[str, str], speed: dict[str, str]) -> dict:
    """One row of the manifest."""
    holds, fails = style_votes(row["style"]) if row["dataset"] == "librispeech-libritts-p" else ({}, {})
    rough = holds.get("style", set()) & {"raspy", "wild"}
    return {
        **{column: row.get(column, "") for column in COLUMNS},
        "split": "valid" if row["speaker"] in held_out else "train",
        "age": "|".join(sorted(holds.get("age", ()))),
        "emotion": row["emotion"] or ("neutral|calm" if row["dataset"] in READ_SPEECH else ""),
        "pitch": pitch_label(row["f0"]),
        "intonation": spread.get(row["path"], ""),
        "speed": speed.get(row["path"], ""),
        "phonation": "" if rough else "modal",
        "style": "|".join(sorted(holds.get("style", ()))),
        "style_not": "|".join(sorted(fails.get("style", ()))),
    }


def edit(task: tuple[Path, Path, dict, str, int]) -> dict | None:
    """Writes an edited copy of the first seconds of a clip; its row, or None where the clip is too short."""
    root, out, row, name, seed = task
    path = out / "edits" / f"{name}-{seed:05d}.flac"
    sound = write_edit(read_audio(root / row["path"]), path, name, seed)
    if sound is None:
        return None
    f0 = pitch_track(sound)
    pitch = pitch_label(float(np.median(f0[f0 > 0])) if (f0 > 0).any() else None)
    return row | edited_labels(name, pitch) | {
        "path": str(path), "dataset": f"edit-{name}", "duration": f"{len(sound) / SAMPLE_RATE:.2f}"
    }  # fmt: skip


@click.command()
@click.argument("clips", type=click.Path(exists=True, path_type=Path))
@click.option("--root", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@click.option("--edits", default=450, show_default=True, help="Copies of each kind of edit.")
@click.option("--seed", default=1, show_default=True)
def main(clips: Path, root: Path, out: Path, edits: int, seed: int) -> None:
    """Measure, edit and split the labelled speech."""
    (out / "edits").mkdir(parents=True, exist_ok=True)
    root, out = root.absolute(), out.absolute()
    with clips.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["licence"].startswith("demo page")]
    held_out = held_out_speakers(rows)
    with multiprocessing.Pool(2) as pool:
        tasks = [(root, row) for row in rows]
        rows = list(tqdm(pool.imap(measure, tasks, chunksize=32), total=len(tasks), desc="measure", mininterval=10))
        spread = extremes(rows, "spread", "monotone", "expressive", 0.15)
        speed = {}
        for dataset in {row["dataset"] for row in rows}:
            speed |= extremes([row for row in rows if row["dataset"] == dataset], "rate", "slow", "fast", 0.15)
        manifest = [describe(row, held_out, spread, speed) | {"path": str(root / row["path"])} for row in rows]

        by_speaker = defaultdict(list)
        for row in manifest:
            if row["phonation"] == "modal" and row["dataset"] != "fsdd":
                by_speaker[row["speaker"]].append(row)
        rng = np.random.default_rng(seed)
        speakers = sorted(by_speaker)
        tasks = []
        for name in EDITS:
            for speaker in rng.choice(speakers, edits):
                source = by_speaker[speaker]
                tasks.append((root, out, source[rng.integers(len(source))], name, len(tasks)))
        edited = tqdm(pool.imap(edit, tasks, chunksize=8), total=len(tasks), desc="edit", mininterval=10)
        manifest.extend(row for row in edited if row)

    with (out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(manifest)
    print(f"{len(manifest)} clips in {out / 'manifest.csv'}, {len(held_out)} speakers held out")


if __name__ == "__main__":
    main()
