"""Best of N: ranking the takes of a speech synthesiser by a caption or a reference recording (ParaSpeechCLAP)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.audio.remote import is_folder
from voxdex.encoders.errors import Failure
from voxdex.encoders.model import Model
from voxdex.encoders.tables import read_csv
from voxdex.search.embed import embed_recording
from voxdex.search.intelligibility import IntelligibilityReward
from voxdex.search.query import QueryError
from voxdex.search.scoring import caption_vector

DESCRIPTIONS, ITERATION = "input_descriptions.txt", "iter_"
"""File of captions, and prefix of the folders of takes, in ParaSpeechCLAP's best-of-N output."""
TAKE_SEPARATOR = "|"
"""Separates the takes of a caption in a table."""

Takes = Sequence[np.ndarray | Path | str]
"""float32 [samples] each, mono at 16 kHz in -1..1, or paths of recordings."""


class Reward:
    """Reward of speech by a caption, a reference recording or both, for rerankers and training loops.

    Each caption and reference is embedded once.

    Args:
        model: the model.
        reference_weight: weight of the reference against the caption where both are given, 0 to 1.

    Raises:
        QueryError: reference_weight is not from 0 to 1.
    """

    def __init__(self, model: Model, reference_weight: float = 0.5) -> None:
        if not 0 <= reference_weight <= 1:
            raise QueryError(f"The weight of a reference is from 0 to 1, not {reference_weight:g}.")
        self._model, self._reference_weight = model, reference_weight
        self._max_samples = int(model.card.max_seconds * SAMPLE_RATE)
        self._captions: dict[str, np.ndarray] = {}
        self._references: dict[Path | str, np.ndarray] = {}

    def __call__(self, audio: np.ndarray | Path | str, caption: str = "", reference: Path | str | None = None) -> float:
        """Return the reward of one take, -1 to 1: its cosine with the caption, the reference, or their weighted mean.

        Args:
            audio: float32 [samples], mono at 16 kHz in -1..1, or the path of a recording.
            caption: the caption; "" for none.
            reference: a recording that the take should sound like; None for none.

        Raises:
            QueryError: there is neither a caption nor a reference.
            AudioError: a recording cannot be read.
        """
        return float(self.many([audio], [caption], [reference])[0])

    def many(self, takes: Takes, captions: Sequence[str], references: Sequence[Path | str | None] | None = None) -> np.ndarray:
        """Return the rewards of many takes, float32 [takes]; see __call__."""
        return self.score(np.stack([*map(self.embed, takes)]), captions, references)

    def embed(self, take: np.ndarray | Path | str) -> np.ndarray:
        """Embed a take, float32 [dimension] of unit length: samples as they are, of a recording the clips of speech.

        Raises:
            AudioError: it cannot be read, nobody speaks in it, or the samples are too many or none.
        """
        if not isinstance(take, np.ndarray):
            return embed_recording(self._model, Path(take)).voice
        if not 0 < len(take) <= self._max_samples:
            raise AudioError(f"it has {len(take)} samples; give 1 to {self._max_samples}, at 16 kHz")
        return next(self._model.embed_speech([take]))

    def score(
        self, voices: np.ndarray, captions: Sequence[str], references: Sequence[Path | str | None] | None = None
    ) -> np.ndarray:
        """Return the rewards of embedded takes, [takes, dimension] -> float32 [takes]; see __call__."""
        pairs = zip(captions, references or [None] * len(captions), strict=True)
        targets = np.stack([self._target(caption, reference) for caption, reference in pairs])
        return np.einsum("td,td->t", voices, targets).astype(np.float32)

    def reference_vector(self, reference: Path | str) -> np.ndarray:
        """Embed a reference, float32 [dimension] of unit length.

        Raises:
            AudioError: it cannot be read.
        """
        if reference not in self._references:
            self._references[reference] = embed_recording(self._model, Path(reference)).voice
        return self._references[reference]

    def _target(self, caption: str, reference: Path | str | None) -> np.ndarray:
        if caption and caption not in self._captions:
            self._captions[caption] = caption_vector(caption, self._model)
        if not reference:
            if not caption:
                raise QueryError("There is nothing to rank takes by: give a caption, or a reference with --like.")
            return self._captions[caption]
        if not caption:
            return self.reference_vector(reference)
        weight = self._reference_weight
        return (1 - weight) * self._captions[caption] + weight * self.reference_vector(reference)


@dataclass(frozen=True)
class TakeSet:
    """The takes of a synthesiser for one request. text: transcript; "" if it is unknown."""

    name: str
    caption: str
    takes: tuple[Path, ...]
    reference: Path | None = None
    text: str = ""


@dataclass(frozen=True)
class RankedTakes:
    """The takes of a set with their scores, best first, and those that could not be read.

    intelligibility: of each take, if it was scored.
    """

    take_set: TakeSet
    takes: list[tuple[Path, float]]
    failed: list[Failure]
    intelligibility: dict[Path, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Build the JSON document."""
        return {
            "name": self.take_set.name,
            "caption": self.take_set.caption,
            "like": str(self.take_set.reference) if self.take_set.reference else None,
            "text": self.take_set.text,
            "takes": [
                {"rank": rank, "score": round(score, 4), "recording": str(take)}
                | ({"intelligibility": self.intelligibility[take]} if take in self.intelligibility else {})
                for rank, (take, score) in enumerate(self.takes, 1)
            ],
        }


def rank(takes: TakeSet, reward: Reward, intelligibility: IntelligibilityReward | None = None) -> RankedTakes:
    """Rank takes by their reward and, if their text is known, their intelligibility.

    The score is (1 - weight) x reward + weight x intelligibility; without a caption and a reference, intelligibility alone.

    Raises:
        QueryError: there is nothing to rank by, or the reference cannot be read.
    """
    if takes.reference:
        try:
            reward.reference_vector(takes.reference)
        except AudioError as error:
            raise QueryError(f"The reference {takes.reference} cannot be read: {error}.") from error
    voices, clear, failed = {}, {}, []
    for take in takes.takes:
        try:
            voice = reward.embed(take)
            if intelligibility and takes.text:
                clear[take] = intelligibility.of(take, takes.text)
            voices[take] = voice
        except AudioError as error:
            failed.append(Failure(str(take), str(error)))
    if not takes.takes:
        failed.append(Failure(takes.caption or str(takes.reference), "there are no takes of it"))
    scores = clear
    if not clear or takes.caption or takes.reference:
        count, weight = len(voices), intelligibility.weight if intelligibility and clear else 0.0
        rewards = (
            reward.score(np.stack([*voices.values()]), [takes.caption] * count, [takes.reference] * count) if voices else ()
        )
        scores = {
            take: (1 - weight) * float(each) + weight * clear.get(take, 0.0) for take, each in zip(voices, rewards, strict=True)
        }
    return RankedTakes(takes, sorted(scores.items(), key=lambda pair: -pair[1]), failed, clear)


def read_take_sets(path: Path) -> list[TakeSet]:
    """Read takes from a table, or from a folder of ParaSpeechCLAP's best-of-N.

    A table is CSV with the columns `caption` and `takes` (paths relative to its folder, separated by " | "), and optionally
    `reference`, `text` and `name`. A folder holds iter_1/input_descriptions.txt, a caption a line, and iter_1/audios/0.wav,
    iter_2/audios/0.wav and so on: take by take, a file for each caption, numbered from 0.

    Raises:
        QueryError: it cannot be read, or has another form.
    """
    return _from_folder(path) if is_folder(path) else _from_table(path)


def _from_table(file: Path) -> list[TakeSet]:
    rows = read_csv(file)
    if not rows or not {"caption", "takes"} <= rows[0].keys():
        raise QueryError(f"{file} needs the columns 'caption' and 'takes', and rows.")
    return [
        TakeSet(
            row.get("name") or str(number),
            row["caption"] or "",
            tuple(file.parent / take.strip() for take in (row["takes"] or "").split(TAKE_SEPARATOR) if take.strip()),
            file.parent / row["reference"] if row.get("reference") else None,
            row.get("text") or "",
        )
        for number, row in enumerate(rows)
    ]


def _from_folder(folder: Path) -> list[TakeSet]:
    candidates = [folder / f"{ITERATION}1" / DESCRIPTIONS, folder / DESCRIPTIONS]
    descriptions = next((path for path in candidates if path.exists()), candidates[0])
    try:
        lines = descriptions.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise QueryError(f"{descriptions} cannot be read as text in UTF-8 ({error}).") from error
    takes: dict[str, list[Path]] = {}
    for audios in sorted(folder.glob(f"{ITERATION}*/audios"), key=_number_of):
        for file in sorted(audios.iterdir()):
            takes.setdefault(file.stem, []).append(file)
    captions = list(filter(None, map(str.strip, lines)))
    if not captions or not takes:
        raise QueryError(f"{folder} has no captions in {descriptions}, or no recordings in {ITERATION}1/audios.")
    return [TakeSet(str(number), caption, tuple(takes.get(str(number), ()))) for number, caption in enumerate(captions)]


def _number_of(audios: Path) -> tuple[int, str]:
    number = audios.parent.name.removeprefix(ITERATION)
    return int(number) if number.isdigit() else 0, number


def keep_best(ranked: Sequence[RankedTakes], folder: Path, put: Callable[[Path, Path], object]) -> list[Path]:
    """Put the best take of each set into a folder, named by the set; put(take, target) copies or links it."""
    kept = []
    for each in ranked:
        if each.takes:
            best = each.takes[0][0]
            target = folder / f"{each.take_set.name}{best.suffix}"
            target.unlink(missing_ok=True)
            put(best, target)
            kept.append(target)
    return kept
