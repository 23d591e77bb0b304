"""Best of N: the takes of a speech synthesiser, ranked by how well they follow a caption or a reference (ParaSpeechCLAP)."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioError, Failure, read_short
from voxdex.encoders.audio.remote import is_folder
from voxdex.encoders.model import Model
from voxdex.search.embed import embed_recording
from voxdex.search.intelligibility import IntelligibilityReward
from voxdex.search.query import QueryError
from voxdex.search.scoring import caption_vector

DESCRIPTIONS, ITERATION = "input_descriptions.txt", "iter_"
TAKES = " | "
"""Between the takes of one caption in a table."""

Sounds = Sequence[np.ndarray | Path | str]


class Reward:
    """How well speech follows a caption, a reference recording or both: for rerankers and training loops.

    What captions and references sound like is kept, so that each is embedded once.

    Args:
        model: embeds both.
        likeness: how much a reference counts over a caption where both are given, 0 to 1.

    Raises:
        QueryError: likeness is not from 0 to 1.
    """

    def __init__(self, model: Model, likeness: float = 0.5) -> None:
        if not 0 <= likeness <= 1:
            raise QueryError(f"A reference counts from 0 to 1 beside the caption, not {likeness:g}.")
        self._model, self._likeness = model, likeness
        self._longest = int(model.card.max_seconds * SAMPLE_RATE)
        self._captions: dict[str, np.ndarray] = {}
        self._references: dict[Path | str, np.ndarray] = {}

    def __call__(self, audio: np.ndarray | Path | str, caption: str = "", reference: Path | str | None = None) -> float:
        """The reward of one take, -1 to 1: its cosine with what is wanted.

        Args:
            audio: float32 [samples], mono at 16 kHz in -1..1, or the path of a recording.
            caption: how it should sound; "" for no matter how.
            reference: a recording that it should sound like.

        Raises:
            QueryError: there is neither a caption nor a reference.
            AudioError: a recording cannot be read.
        """
        return float(self.many([audio], [caption], [reference])[0])

    def many(
        self, audios: Sounds, captions: Sequence[str], references: Sequence[Path | str | None] | None = None
    ) -> np.ndarray:
        """The rewards of many takes at once, float32 [takes]; see __call__."""
        wanted = np.stack(
            [
                self._wanted(caption, reference)
                for caption, reference in zip(captions, references or [None] * len(captions), strict=True)
            ]
        )
        return np.einsum("td,td->t", self._embed(audios), wanted).astype(np.float32)

    def read(self, path: Path) -> np.ndarray | Path:
        """A recording as sound, where it is no longer than a clip; else its path, as it is embedded piece by piece.

        Raises:
            AudioError: it cannot be read.
        """
        sound = read_short(path, self._longest / SAMPLE_RATE)
        return path if sound is None else sound

    def refer(self, reference: Path | str) -> np.ndarray:
        """The voice of a reference, a unit vector [dimension].

        Raises:
            AudioError: it cannot be read.
        """
        if reference not in self._references:
            self._references[reference] = embed_recording(self._model, Path(reference)).voice
        return self._references[reference]

    def _embed(self, audios: Sounds) -> np.ndarray:
        sounds = [audio if isinstance(audio, np.ndarray) else self.read(Path(audio)) for audio in audios]
        for sound in sounds:
            if isinstance(sound, np.ndarray) and not 0 < len(sound) <= self._longest:
                raise AudioError(f"it has {len(sound)} samples; give 1 to {self._longest}, at 16 kHz")
        batch = self._model.embed_speech(sound for sound in sounds if isinstance(sound, np.ndarray))
        return np.stack(
            [next(batch) if isinstance(sound, np.ndarray) else embed_recording(self._model, sound).voice for sound in sounds]
        )

    def _wanted(self, caption: str, reference: Path | str | None) -> np.ndarray:
        if caption and caption not in self._captions:
            self._captions[caption] = caption_vector(caption, self._model)
        if caption and reference:
            return (1 - self._likeness) * self._captions[caption] + self._likeness * self.refer(reference)
        if not caption and not reference:
            raise QueryError("There is nothing to rank takes by: give a caption, or a reference with --like.")
        return self._captions[caption] if caption else self.refer(reference)


@dataclass(frozen=True)
class TakeSet:
    """What a synthesiser was asked for, and the takes that it gave. text: what they should say; "" for no matter what."""

    name: str
    caption: str
    takes: tuple[Path, ...]
    reference: Path | None = None
    text: str = ""


@dataclass(frozen=True)
class RankedTakes:
    """A prompt's takes with their rewards, best first, and those that could not be read.

    intelligibility: of each take, where it was asked for.
    """

    prompt: TakeSet
    takes: list[tuple[Path, float]]
    failed: list[Failure]
    intelligibility: dict[Path, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What programs are told."""
        return {
            "name": self.prompt.name,
            "caption": self.prompt.caption,
            "like": str(self.prompt.reference) if self.prompt.reference else None,
            "text": self.prompt.text,
            "takes": [
                {"rank": place, "score": round(score, 4), "recording": str(take)}
                | ({"intelligibility": self.intelligibility[take]} if take in self.intelligibility else {})
                for place, (take, score) in enumerate(self.takes, 1)
            ],
        }


def rank(prompt: TakeSet, reward: Reward, clarity: IntelligibilityReward | None = None) -> RankedTakes:
    """Ranks the takes of a prompt by how they sound and, where it has a text, by how clearly they say it.

    Their score is then (1 - weight) x reward + weight x intelligibility; without a caption and a reference, the latter alone.

    Raises:
        QueryError: there is nothing to rank by, or the reference cannot be read.
    """
    if prompt.reference:
        try:
            reward.refer(prompt.reference)
        except AudioError as error:
            raise QueryError(f"The reference {prompt.reference} cannot be read: {error}.") from error
    sounds, clear, failed = {}, {}, []
    for take in prompt.takes:
        try:
            sound = reward.read(take)
            if clarity and prompt.text:
                clear[take] = clarity.of(take, prompt.text)
            sounds[take] = sound
        except AudioError as error:
            failed.append(Failure(str(take), str(error)))
    if not prompt.takes:
        failed.append(Failure(prompt.caption or str(prompt.reference), "there are no takes of it"))
    scores = _scores(prompt, sounds, reward, clear, clarity.weight if clarity else 0.0)
    return RankedTakes(prompt, sorted(scores.items(), key=lambda pair: -pair[1]), failed, clear)


def _scores(
    prompt: TakeSet, sounds: dict[Path, np.ndarray | Path], reward: Reward, clear: dict[Path, float], weight: float
) -> dict[Path, float]:
    if clear and not (prompt.caption or prompt.reference):
        return clear
    count = len(sounds)
    rewards = reward.many(list(sounds.values()), [prompt.caption] * count, [prompt.reference] * count) if sounds else []
    scores = dict(zip(sounds, map(float, rewards), strict=True))
    return {take: (1 - weight) * score + weight * clear[take] if clear else score for take, score in scores.items()}


def read_take_sets(place: Path) -> list[TakeSet]:
    """The prompts of a table, or of a folder as ParaSpeechCLAP's best-of-N leaves it.

    A table is CSV with the columns `caption` and `takes` (paths from its folder on, separated by " | "), and perhaps
    `reference`, `text` and `name`. A folder holds iter_1/input_descriptions.txt, a caption a line, and iter_1/audios/0.wav,
    iter_2/audios/0.wav and so on: take by take, a file for each caption, numbered from 0.

    Raises:
        QueryError: it cannot be read, or is of neither form.
    """
    return _from_folder(place) if is_folder(place) else _from_table(place)


def _from_table(file: Path) -> list[TakeSet]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QueryError(f"{file} cannot be read as CSV in UTF-8 ({error}).") from error
    if not rows or not {"caption", "takes"} <= rows[0].keys():
        raise QueryError(f"{file} needs the columns 'caption' and 'takes', and rows.")
    return [
        TakeSet(
            row.get("name") or str(number),
            row["caption"] or "",
            tuple(file.parent / take.strip() for take in (row["takes"] or "").split(TAKES.strip()) if take.strip()),
            file.parent / row["reference"] if row.get("reference") else None,
            row.get("text") or "",
        )
        for number, row in enumerate(rows)
    ]


def _from_folder(folder: Path) -> list[TakeSet]:
    places = [folder / f"{ITERATION}1" / DESCRIPTIONS, folder / DESCRIPTIONS]
    descriptions = next((place for place in places if place.exists()), places[0])
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
    """Puts the best take of each prompt into a folder, by the prompt's name; put(take, to) copies or links it."""
    kept = []
    for each in ranked:
        if each.takes:
            best = each.takes[0][0]
            target = folder / f"{each.prompt.name}{best.suffix}"
            target.unlink(missing_ok=True)
            put(best, target)
            kept.append(target)
    return kept
