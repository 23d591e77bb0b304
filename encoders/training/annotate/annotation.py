"""Manifests of unlabelled recordings: acoustic measures, labels from them, and captions composed from the labels."""

import multiprocessing
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioReader
from voxdex.encoders.errors import Failure
from voxdex.encoders.tables import CAPTION_SEPARATOR
from voxdex.encoders.training.annotate.acoustics import MIN_SPEECH_SECONDS, Measures, measure
from voxdex.encoders.training.annotate.label_rules import load_measured
from voxdex.encoders.training.data.caption_templates import Claim, choose_claims, write_caption

MOST_SECONDS = 60.0
"""Length of the beginning of a recording that is measured, in seconds; training keeps the same length."""
MEASURES = tuple(each.name for each in fields(Measures))
COLUMNS = ("path", "source", "dataset", "speaker", "duration", "caption", *load_measured(), "phonation", *MEASURES)
"""Columns of a row. Only edited copies have `phonation`, and `source`, the recording that was edited."""
MIN_TASKS = 8
"""Number of tasks from which more processes are started."""

Task = TypeVar("Task")
Done = TypeVar("Done")


@dataclass(frozen=True)
class Annotations:
    """Annotated recordings. rows: by column (COLUMNS). failed: recordings without a row. damaged: incomplete recordings."""

    rows: list[dict[str, str]] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)


def annotate(
    recordings: Sequence[Path],
    captions: int = 3,
    seed: int = 1,
    on_row: Callable[[int], object] = lambda _: None,
    processes: int | None = None,
) -> Annotations:
    """Measure recordings and compose captions; deterministic for the same paths and seed.

    Args:
        recordings: paths of the recordings.
        captions: maximum number of different captions for each.
        seed: of the wording.
        on_row: called with the number of recordings after each one.
        processes: number of processes; None for one a core.
    """
    found = Annotations()
    for failure, damage, row in in_processes(partial(_annotate, captions, seed), recordings, processes):
        found.failed.extend(failure)
        found.damaged.extend(damage)
        found.rows.extend(row)
        on_row(len(recordings))
    return found


def in_processes(work: Callable[[Task], Done], tasks: Sequence[Task], processes: int | None = None) -> Iterator[Done]:
    """Yield `work(task)` for each task, in order, computed in several processes. Both must be picklable."""
    processes = processes or os.cpu_count() or 1
    if processes == 1 or len(tasks) < MIN_TASKS:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, tasks, chunksize=1 + min(15, len(tasks) // (4 * processes)))


def _annotate(captions: int, seed: int, path: Path) -> tuple[list[Failure], list[Failure], list[dict[str, str]]]:
    """Return the failure, damage and row of a recording: lists of at most one."""
    name, reader = str(path.absolute()), AudioReader(path)
    try:
        samples, seconds = read_beginning(reader)
    except AudioError as error:
        return [Failure(name, str(error))], [], []
    measures = measure(samples)
    if measures.speech_seconds < MIN_SPEECH_SECONDS:
        return [Failure(name, f"no speech was found in its first {min(seconds, MOST_SECONDS):.1f} s")], [], []
    row = make_row({"path": name, "duration": f"{seconds:.2f}"}, measures)
    row["caption"] = CAPTION_SEPARATOR.join(write_captions(row, captions, random.Random(f"{seed} {name}")))
    return [], [Failure(name, reader.damage)] if reader.damage else [], [row]


def read_beginning(blocks: Iterable[np.ndarray]) -> tuple[np.ndarray, float]:
    """Return float32 samples of the first minute, and the length of the whole recording in seconds.

    Raises:
        AudioError: see AudioReader.
    """
    kept, count, most = [], 0, int(MOST_SECONDS * SAMPLE_RATE)
    for block in blocks:
        kept.append(block[: max(0, most - count)])
        count += len(block)
    return np.concatenate(kept), count / SAMPLE_RATE


def make_row(known: Mapping[str, str], measures: Measures) -> dict[str, str]:
    """Return a row of all COLUMNS: known cells, measures, and the labels from them."""
    values = asdict(measures)
    labels = {name: measured.label(values) for name, measured in load_measured().items()}
    numbers = {name: "" if value is None else f"{value:.4g}" for name, value in values.items()}
    return dict.fromkeys(COLUMNS, "") | labels | numbers | dict(known)


def write_captions(row: Mapping[str, str], count: int, rng: random.Random) -> list[str]:
    """Compose at most `count` different captions, each of one to four labels of a row."""
    claims = [Claim(name, row[name]) for name in (*load_measured(), "phonation") if row[name]]
    captions: dict[str, None] = {}
    for _ in range(5 * count if claims else 0):
        captions[write_caption(choose_claims(claims, rng), rng)] = None
        if len(captions) == count:
            break
    return list(captions)
