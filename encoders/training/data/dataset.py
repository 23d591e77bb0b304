"""Labelled clips from manifests: decoded audio, and the truth of every claim about each clip."""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio
from voxdex.encoders.errors import Failure, short
from voxdex.encoders.paths import replace_file, replaced
from voxdex.encoders.tables import CAPTION_SEPARATOR, ManifestError, read_manifest
from voxdex.encoders.training.data.caption_templates import Claim

CLAIMS = tuple(Claim(name, label.name) for name, attribute in load_attributes().items() for label in attribute.labels)
"""All claims that a caption can make, in the order of the columns of a truth table."""
Numbers = Sequence[float] | np.ndarray
"""A number for each clip."""
LONGEST_SECONDS = 60.0
"""Length of a recording that is kept, in seconds; training takes random crops of it."""


@dataclass(frozen=True)
class Clips:
    """Labelled clips, with their audio on disk.

    sound: for each manifest, a memory map of the concatenated int16 samples at 16 kHz of its clips.
    starts, lengths: position of each clip in its manifest's sound, in samples. source: index of each clip's manifest.
    truth: int8 [clips, claims]; 1 the claim holds, -1 it does not, 0 unknown.
    captions: captions of each clip from the manifest; empty where they are composed from labels.
    rows: rows of the manifests.
    """

    sound: tuple[np.ndarray, ...]
    starts: np.ndarray
    lengths: np.ndarray
    source: np.ndarray
    truth: np.ndarray
    captions: list[tuple[str, ...]]
    rows: list[dict[str, str]]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, chosen: Sequence[int]) -> "Clips":
        """Return the clips at these rows."""
        rows = list(chosen)
        return Clips(
            sound=self.sound,
            starts=self.starts[rows],
            lengths=self.lengths[rows],
            source=self.source[rows],
            truth=self.truth[rows],
            captions=[self.captions[i] for i in rows],
            rows=[self.rows[i] for i in rows],
        )

    def relabel(self, cells: Sequence[dict[str, str]]) -> "Clips":
        """Return the clips with some cells of each row replaced, and their truth updated."""
        rows = [row | changed for row, changed in zip(self.rows, cells, strict=True)]
        truth = [truth_of(row) if cells[i] else self.truth[i] for i, row in enumerate(rows)]
        return replace(self, rows=rows, truth=np.stack(truth))

    def samples(self, clip: int, start: int = 0, length: int | None = None) -> np.ndarray:
        """Return float32 samples in -1..1 of a clip, or of a part of it."""
        first = self.starts[clip] + start
        length = self.lengths[clip] - start if length is None else length
        return self.sound[self.source[clip]][first : first + length].astype(np.float32) / 32768

    def crops(
        self, clips: Sequence[int], seconds: float, places: Numbers, speeds: Numbers | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return a crop of each clip as zero-padded waveforms [clips, longest] and lengths [clips]; shorter clips are whole.

        Args:
            clips: row numbers.
            seconds: length of the crops.
            places: relative position of each crop, from 0 (start) to below 1 (end).
            speeds: playback speed of each clip, which also scales its pitch; None for 1.
        """
        most = int(seconds * SAMPLE_RATE)
        found = []
        for i, clip in enumerate(clips):
            speed = 1.0 if speeds is None else speeds[i]
            length = min(int(most * speed), int(self.lengths[clip]))
            start = int(places[i] * (self.lengths[clip] - length + 1))
            samples = self.samples(clip, start, length)
            found.append(samples if speed == 1 else soxr.resample(samples, SAMPLE_RATE * speed, SAMPLE_RATE, "MQ")[:most])
        lengths = torch.tensor([len(samples) for samples in found])
        return pad_sequence(list(map(torch.from_numpy, found)), batch_first=True), lengths


def load_clips(
    manifests: Sequence[Path], cache: Path, root: Path | None = None, on_clip: Callable[[int], object] = lambda _: None
) -> tuple[Clips, list[Failure]]:
    """Read manifests and decode their recordings; decoded audio is cached.

    Args:
        manifests: CSV files with captions in `caption` (several separated by " | ") and labels in columns named like the
            attributes, as names of labels or other words for them; other columns are kept.
        cache: a folder for decoded audio (115 MB an hour).
        root: the folder of the manifests' paths; None for each manifest's own.
        on_clip: called with the number of recordings after each decoded one.

    Raises:
        ManifestError: a manifest cannot be used or has unknown labels, or none of its recordings can be read.
    """
    parts, failed = [], []
    for source, manifest in enumerate(manifests):
        rows = with_known_labels(read_manifest(manifest), manifest)
        base = root or manifest.parent
        sound, lengths, reasons = _decode(manifest, rows, base, cache, on_clip)
        failed += [Failure(str(base / rows[int(i)]["path"]), reason) for i, reason in reasons.items()]
        read = np.flatnonzero(lengths)
        if not len(read):
            first = failed[-len(rows)]
            raise ManifestError(f"None of the {len(rows)} recordings of {manifest} can be read; {first.path}: {first.reason}.")
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        parts.append((sound, starts[read], lengths[read], np.full(len(read), source), [rows[i] for i in read]))
    sounds, starts, lengths, sources, rows = zip(*parts, strict=True)
    rows = [row for part in rows for row in part]
    captions = [tuple(filter(None, map(str.strip, row.get("caption", "").split(CAPTION_SEPARATOR)))) for row in rows]
    truth = np.stack([truth_of(row) for row in rows])
    clips = Clips(
        sound=sounds,
        starts=np.concatenate(starts),
        lengths=np.concatenate(lengths),
        source=np.concatenate(sources),
        truth=truth,
        captions=captions,
        rows=rows,
    )
    return clips, failed


def with_known_labels(rows: Sequence[dict[str, str]], manifest: Path) -> list[dict[str, str]]:
    """Return rows whose cells of attributes are names of labels, for other words of the labels and other cases, too.

    Raises:
        ManifestError: a cell has a word that stands for no label, or for several.
    """
    columns = [(name, column) for name in load_attributes() for column in (name, f"{name}_not") if rows and column in rows[0]]
    return [row | {column: _known(row, name, column, manifest) for name, column in columns if row[column]} for row in rows]


def _known(row: dict[str, str], name: str, column: str, manifest: Path) -> str:
    attribute, labels = load_attributes()[name], []
    for word in filter(None, map(str.strip, row[column].split("|"))):
        label = attribute.find(word)
        if label is None:
            known = ", ".join(label.name for label in attribute.labels)
            raise ManifestError(
                f"{manifest}: {short(word)}, in the column {column} of {row['path']}, is no label and no word for one. Labels "
                f"of {name}: {known}. Leave the cell empty where none of them holds."
            )
        labels.append(label.name)
    return "|".join(labels)


def _decode(
    manifest: Path, rows: list[dict[str, str]], base: Path, cache: Path, on_clip: Callable[[int], object]
) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Return audio, length of each recording in samples, and reasons of failed ones by row, from the cache if possible."""
    paths = [base / row["path"] for row in rows]
    key = f"{manifest.stem}-{hashlib.sha256(repr([_state(path) for path in paths]).encode()).hexdigest()[:16]}"
    about, pcm = (cache / f"{key}.{suffix}" for suffix in ("json", "pcm"))
    lengths: list[int] = []
    reasons: dict[str, str] = {}
    if about.exists():
        lengths = json.loads(about.read_text())["lengths"]
    else:
        cache.mkdir(parents=True, exist_ok=True)
        with replaced(pcm) as new, new.open("wb") as file, ThreadPoolExecutor(os.cpu_count()) as pool:
            for i, read in enumerate(pool.map(_read, paths)):
                if isinstance(read, str):
                    reasons[str(i)] = read
                    lengths.append(0)
                else:
                    file.write(read.tobytes())
                    lengths.append(len(read))
                on_clip(len(rows))
        if not reasons:
            replace_file(about, json.dumps({"lengths": lengths}))
    sound = np.memmap(pcm, dtype=np.int16, mode="r") if any(lengths) else np.zeros(0, dtype=np.int16)
    return sound, np.array(lengths), reasons


def _state(path: Path) -> tuple[str, int, int]:
    """Return values that change with the content of a recording."""
    try:
        found = path.stat()
    except OSError:
        return str(path.absolute()), 0, 0
    return str(path.absolute()), found.st_size, found.st_mtime_ns


def _read(path: Path) -> np.ndarray | str:
    """Return int16 samples, or the reason why there are none."""
    try:
        samples = read_audio(path, LONGEST_SECONDS)
    except AudioError as error:
        return str(error)
    return (np.clip(samples, -1, 1) * 32767).astype(np.int16)


def truth_of(row: dict[str, str]) -> np.ndarray:
    """Return the truth of every claim for a manifest row: int8 [claims] of 1, -1 or 0 (unknown).

    One label in a cell of an exclusive attribute holds and the others do not. Of several labels ("neutral|calm") one holds, and
    the others do not. A cell of any other attribute lists labels that hold, and NAME_not labels that do not.
    """
    truth = np.zeros(len(CLAIMS), dtype=np.int8)
    attributes = load_attributes()
    for column, (name, label, _) in enumerate(CLAIMS):
        named = set(filter(None, (row.get(name) or "").split("|")))
        if label in named and (len(named) == 1 or not attributes[name].exclusive):
            truth[column] = 1
        elif label not in named and named and attributes[name].exclusive:
            truth[column] = -1
        elif label in (row.get(f"{name}_not") or "").split("|"):
            truth[column] = -1
    return truth


def filter_by_licence(rows: Sequence[dict[str, str]], licences: Sequence[str]) -> list[int]:
    """Return the numbers of rows under one of the licences; all if `licences` is empty.

    Raises:
        ManifestError: there are none.
    """
    chosen = [i for i, row in enumerate(rows) if not licences or row.get("licence") in licences]
    if not chosen:
        found = sorted({row.get("licence") or "none" for row in rows})
        raise ManifestError(f"No clip has one of the licences {', '.join(licences)}. The manifests name: {', '.join(found)}.")
    return chosen


def split(rows: Sequence[dict[str, str]], leave_out: Sequence[str] = (), share: float = 0.1) -> tuple[list[int], list[int]]:
    """Split rows into numbers of rows to train on and to validate on.

    With `leave_out` (prefixes of names), those data sets are validated on; neither they nor other recordings of their speakers
    are trained on. Else the column `split` decides ("train", or anything else to validate on). Without one, about a fraction
    `share` of the clips is validated on: whole speakers if there are five or more, by a hash of their names, else single
    recordings (with the edited copies whose column `source` names them), by a hash of their paths.
    """
    if leave_out:
        left = [i for i, row in enumerate(rows) if row.get("dataset", "").startswith(tuple(leave_out))]
        if not left:
            found = ", ".join(sorted({row.get("dataset") or "none" for row in rows}))
            raise ManifestError(f"No clip is of the data sets {', '.join(leave_out)} (sampling.leave_out). There are: {found}.")
        speakers = {rows[i].get("speaker", "") for i in left} - {""}
        known = [row.get("speaker", "") in speakers for row in rows]
        return [i for i in sorted(set(range(len(rows))) - set(left)) if not known[i]], left
    if any(row.get("split") for row in rows):
        held = {i for i, row in enumerate(rows) if row.get("split") != "train"}
    else:
        speakers = {row.get("speaker", "") for row in rows}
        by_speaker = len(speakers) >= 5 and "" not in speakers
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(row["speaker"] if by_speaker else row.get("source") or row["path"], []).append(i)
        held = set()
        for name in sorted(groups, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
            if len(held) < share * len(rows):
                held.update(groups[name])
    return [i for i in range(len(rows)) if i not in held], sorted(held)
