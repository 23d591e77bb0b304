"""Edited copies of recordings: what a vocoder makes whispered, breathy, creaky, deeper, flatter or faster, and its labels."""

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioError, AudioReader
from voxdex.encoders.errors import Failure
from voxdex.encoders.tables import CAPTION_SEPARATOR
from voxdex.encoders.training.acoustics import CHUNK, measure, speech_chunks
from voxdex.encoders.training.annotate import COLUMNS, Annotations, in_processes, make_row, read_beginning, write_captions
from voxdex.encoders.training.vocoder_edits import EDITS, analyse, synthesise

EDIT_SECONDS, LEAST_SECONDS = 4.0, 1.0
FORGOTTEN = ("emotion", "intensity", "loudness", "style", "style_not")
"""What is not known of any edited copy."""


def write_edit(samples: np.ndarray, path: Path, name: str, seed: int) -> np.ndarray | None:
    """Writes a copy of the first 4 s of `samples` (float, 16 kHz) after the edit `name`: its samples, or None below 1 s."""
    samples = samples[: int(EDIT_SECONDS * SAMPLE_RATE)]
    if len(samples) < LEAST_SECONDS * SAMPLE_RATE:
        return None
    sound = synthesise(EDITS[name].apply(analyse(samples), np.random.default_rng(seed)))
    soundfile.write(path, sound, SAMPLE_RATE)
    return sound


def edited_labels(name: str, pitch: str) -> dict[str, str]:
    """The cells that an edit changes: what it makes true, "" for what is no longer known. pitch: as measured afterwards."""
    recipe = EDITS[name]
    changed = dict.fromkeys((*recipe.forget, *FORGOTTEN), "")
    if name in ("deeper", "higher"):
        changed["pitch"] = pitch
    return changed | recipe.claims


def edited_copies(
    rows: Sequence[Mapping[str, str]],
    folder: Path,
    edits_per_kind: int,
    seed: int = 1,
    captions: int = 3,
    on_row: Callable[[int], object] = lambda total: None,
    processes: int | None = None,
) -> Annotations:
    """Writes edited copies of annotated recordings as FLAC, and annotates them; the same for the same rows and seed.

    Args:
        rows: what `annotate` found; each kind of edit takes others of them, all before one again.
        folder: where the copies go; it is made if there is none.
        edits_per_kind: how many copies to make by each of EDITS.
        seed, captions, on_row, processes: as in `annotate`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    sources = [row for row in rows if float(row["duration"]) >= LEAST_SECONDS]
    tasks = []
    for name in EDITS if sources else ():
        order = rng.sample(range(len(sources)), len(sources))
        for i in range(edits_per_kind):
            path = folder.absolute() / f"{name}-{len(tasks):05d}.flac"
            tasks.append((sources[order[i % len(order)]], path, name, rng.getrandbits(32)))
    found = Annotations()
    for row, failure in in_processes(partial(_copy, captions), tasks, processes):
        found.rows.extend(row)
        found.failed.extend(failure)
        on_row(len(tasks))
    return found


def _copy(captions: int, task: tuple[Mapping[str, str], Path, str, int]) -> tuple[list[dict[str, str]], list[Failure]]:
    """(the row of a copy, why there is none): each a list of none or one."""
    source, path, name, seed = task
    try:
        samples, _ = read_beginning(AudioReader(source["path"]))
    except AudioError as error:
        return [], [Failure(source["path"], str(error))]
    sound = write_edit(samples[CHUNK * int(speech_chunks(samples).argmax()) :], path, name, seed)
    if sound is None:
        return [], [Failure(source["path"], "too little is left of it from where somebody speaks to make an edited copy")]
    row = make_row(
        {"path": str(path), "source": source["path"], "dataset": f"edit-{name}", "speaker": source["speaker"]}, measure(sound)
    )
    changed = edited_labels(name, row["pitch"])
    row |= {column: label for column, label in changed.items() if column in COLUMNS}
    row["duration"] = f"{len(sound) / SAMPLE_RATE:.2f}"
    row["caption"] = CAPTION_SEPARATOR.join(write_captions(row, captions, random.Random(seed)))
    return [row], []
