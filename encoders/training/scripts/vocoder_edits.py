"""Vocoder edits of speech: whispered, breathy, creaky, deeper, higher, monotone, expressive, slower or faster.

Morise et al., "WORLD: a vocoder-based high-quality speech synthesis system" (2016), through pyworld. The labels
that an edit makes true are known, and others become unknown.
"""

import importlib.metadata
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioReader
from voxdex.encoders.audio.vad import CHUNK
from voxdex.encoders.errors import Failure
from voxdex.encoders.tables import CAPTION_SEPARATOR
from voxdex.encoders.training.annotate.acoustics import measure, speech_chunks
from voxdex.encoders.training.annotate.annotation import (
    COLUMNS,
    Annotations,
    in_processes,
    make_row,
    read_beginning,
    write_captions,
)


def _import_pyworld() -> ModuleType:
    """Import pyworld with a stand-in for pkg_resources, which it asks for its version and recent setuptools lack."""
    asked = "pkg_resources"
    former, stand_in = sys.modules.get(asked), ModuleType(asked)
    vars(stand_in)["get_distribution"] = importlib.metadata.distribution
    sys.modules[asked] = stand_in
    try:
        import pyworld
    finally:
        if former is None:
            del sys.modules[asked]
        else:
            sys.modules[asked] = former
    return pyworld


pyworld = _import_pyworld()

FRAME_MS = 5.0


@dataclass(frozen=True)
class Voice:
    """A WORLD analysis: f0 in Hz [frames] (0 = unvoiced), power spectrum and aperiodicity in 0..1 [frames, bins]."""

    f0: np.ndarray
    spectrum: np.ndarray
    aperiodicity: np.ndarray
    frame_ms: float = FRAME_MS

    @property
    def hz(self) -> np.ndarray:
        return np.linspace(0, SAMPLE_RATE / 2, self.spectrum.shape[1])

    @property
    def voiced(self) -> np.ndarray:
        return self.f0 > 0


def analyse(samples: np.ndarray) -> Voice:
    """Analyse float samples at 16 kHz with WORLD."""
    sound = samples.astype(np.float64)
    f0, times = pyworld.dio(sound, SAMPLE_RATE, f0_floor=60, f0_ceil=500, frame_period=FRAME_MS, speed=4)
    f0 = pyworld.stonemask(sound, f0, times, SAMPLE_RATE)
    return Voice(f0, pyworld.cheaptrick(sound, f0, times, SAMPLE_RATE), pyworld.d4c(sound, f0, times, SAMPLE_RATE))


def synthesise(voice: Voice) -> np.ndarray:
    """Synthesise a WORLD analysis: float32 samples at 16 kHz, with a peak of 0.7."""
    parts = (np.ascontiguousarray(part) for part in (voice.f0, voice.spectrum, voice.aperiodicity))
    sound = pyworld.synthesize(*parts, SAMPLE_RATE, voice.frame_ms)
    return (0.7 * sound / max(1e-6, np.abs(sound).max())).astype(np.float32)


def move_formants(voice: Voice, ratio: float) -> Voice:
    """Stretch the spectral envelope along frequency: a ratio above 1 is a shorter vocal tract."""
    spectrum = np.stack([np.interp(voice.hz / ratio, voice.hz, frame) for frame in voice.spectrum])
    return replace(voice, spectrum=spectrum)


def whispered(voice: Voice, rng: np.random.Generator) -> Voice:
    """Remove voicing, attenuate low frequencies and vowels, and raise the formants slightly."""
    gain_db = np.interp(voice.hz, [0, 300, 1200, 8000], [-30, -22, 0, 4])[None, :]
    gain_db = gain_db - rng.uniform(8, 16) * voice.voiced[:, None]
    moved = move_formants(voice, rng.uniform(1.03, 1.12))
    noise = np.ones_like(voice.aperiodicity)
    return replace(moved, f0=np.zeros_like(voice.f0), spectrum=moved.spectrum * 10 ** (gain_db / 10), aperiodicity=noise)


def breathy(voice: Voice, rng: np.random.Generator) -> Voice:
    """Replace harmonics above about 1 kHz by noise, and boost high frequencies."""
    corner = rng.uniform(500, 1500)
    floor = np.interp(voice.hz, [0, corner, 2.5 * corner, 8000], [0.05, 0.5, 0.95, 1.0])[None, :]
    gain_db = np.interp(voice.hz, [0, 2000, 8000], [0, 0, rng.uniform(3, 9)])[None, :]
    return replace(voice, spectrum=voice.spectrum * 10 ** (gain_db / 10), aperiodicity=np.maximum(voice.aperiodicity, floor))


def creaky(voice: Voice, rng: np.random.Generator) -> Voice:
    """Lower F0 to irregular pulses."""
    jitter = np.exp(rng.normal(0, 0.18, len(voice.f0)))
    return replace(voice, f0=np.where(voice.voiced, np.clip(voice.f0 * 0.45 * jitter, 30, 90), 0))


def deeper(voice: Voice, rng: np.random.Generator) -> Voice:
    """Lower the pitch and lengthen the vocal tract slightly."""
    return replace(move_formants(voice, rng.uniform(0.9, 0.97)), f0=voice.f0 * rng.uniform(0.62, 0.8))


def higher(voice: Voice, rng: np.random.Generator) -> Voice:
    """Raise the pitch and shorten the vocal tract slightly."""
    return replace(move_formants(voice, rng.uniform(1.03, 1.1)), f0=voice.f0 * rng.uniform(1.3, 1.7))


def monotone(voice: Voice, rng: np.random.Generator) -> Voice:
    """Reduce pitch movement to a tenth."""
    return _intonation(voice, rng.uniform(0.05, 0.15))


def expressive(voice: Voice, rng: np.random.Generator) -> Voice:
    """Nearly double pitch movement."""
    return _intonation(voice, rng.uniform(1.7, 2.1))


def slow(voice: Voice, rng: np.random.Generator) -> Voice:
    """Slow down without changing the pitch."""
    return replace(voice, frame_ms=FRAME_MS * rng.uniform(1.35, 1.7))


def fast(voice: Voice, rng: np.random.Generator) -> Voice:
    """Speed up without changing the pitch."""
    return replace(voice, frame_ms=FRAME_MS * rng.uniform(0.6, 0.72))


def _intonation(voice: Voice, factor: float) -> Voice:
    if not voice.voiced.any():
        return voice
    pitch = np.log(voice.f0[voice.voiced])
    f0 = voice.f0.copy()
    f0[voice.voiced] = np.clip(np.exp(pitch.mean() + factor * (pitch - pitch.mean())), 60, 600)
    return replace(voice, f0=f0)


@dataclass(frozen=True)
class Edit:
    """An edit. claims: labels that it makes true. forget: attributes that become unknown."""

    apply: Callable[[Voice, np.random.Generator], Voice]
    claims: dict[str, str]
    forget: tuple[str, ...] = ()


EDITS = {
    "whispered": Edit(whispered, {"phonation": "whispered"}, ("pitch", "intonation")),
    "breathy": Edit(breathy, {"phonation": "breathy"}),
    "creaky": Edit(creaky, {"phonation": "creaky"}, ("pitch", "intonation")),
    "deeper": Edit(deeper, {}, ("pitch",)),
    "higher": Edit(higher, {}, ("pitch",)),
    "monotone": Edit(monotone, {"intonation": "monotone"}),
    "expressive": Edit(expressive, {"intonation": "expressive"}),
    "slow": Edit(slow, {"speed": "slow"}),
    "fast": Edit(fast, {"speed": "fast"}),
}


EDIT_SECONDS, LEAST_SECONDS = 4.0, 1.0
UNKNOWN = ("emotion", "intensity", "loudness", "style", "style_not")
"""Columns that are unknown for all edited copies."""


def write_edit(samples: np.ndarray, path: Path, name: str, seed: int) -> np.ndarray | None:
    """Write the first 4 s of `samples` (float, 16 kHz) after an edit, and return the result; None for less than 1 s."""
    samples = samples[: int(EDIT_SECONDS * SAMPLE_RATE)]
    if len(samples) < LEAST_SECONDS * SAMPLE_RATE:
        return None
    sound = synthesise(EDITS[name].apply(analyse(samples), np.random.default_rng(seed)))
    soundfile.write(path, sound, SAMPLE_RATE)
    return sound


def edited_labels(name: str, pitch: str) -> dict[str, str]:
    """Return the cells that an edit changes, "" for unknown labels. pitch: the label measured after the edit."""
    recipe = EDITS[name]
    changed = dict.fromkeys((*recipe.forget, *UNKNOWN), "")
    if name in ("deeper", "higher"):
        changed["pitch"] = pitch
    return changed | recipe.claims


def edited_copies(
    rows: Sequence[Mapping[str, str]],
    folder: Path,
    edits_per_kind: int,
    seed: int = 1,
    captions: int = 3,
    on_row: Callable[[int], object] = lambda _: None,
    processes: int | None = None,
) -> Annotations:
    """Write edited copies of annotated recordings as FLAC, and annotate them; deterministic for the same rows and seed.

    Args:
        rows: the rows of `annotate`; each kind of edit draws from them without repetition as long as possible.
        folder: the folder of the copies, which is created if necessary.
        edits_per_kind: number of copies for each of EDITS.
        seed, captions, on_row, processes: see `annotate`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    sources = [row for row in rows if float(row["duration"]) >= LEAST_SECONDS]
    tasks: list[tuple[Mapping[str, str], Path, str, int]] = []
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
    """Return the row of a copy, and the reason why there is none: lists of at most one."""
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
