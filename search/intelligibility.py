"""How clearly a known text is spoken: for synthesisers, recordings and speakers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.reader import AudioError, read_short
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.errors import Failure
from voxdex.encoders.phonetic.g2p import to_phonemes
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.encoders.tables import read_csv
from voxdex.search.query import QueryError

COLUMNS = ("text", "phonemes")


@dataclass(frozen=True)
class Utterance:
    """A recording and what should be said in it, as text of a language or as phonemes (IPA)."""

    path: Path
    text: str = ""
    phonemes: str = ""
    language: str = "en-us"


@dataclass(frozen=True)
class IntelligibilityScore:
    """intelligibility: 0 to 1, see PhoneticModel.intelligibility. evidence: of the recording for its phonemes, nats."""

    recording: str
    text: str
    phonemes: str
    intelligibility: float
    evidence: float


@dataclass(frozen=True)
class IntelligibilityReward:
    """Intelligibility as a second reward of takes.

    model: hears them. weight: how much it counts beside how they sound, 0 to 1. language: of what should be said.
    """

    model: PhoneticModel
    weight: float = 0.5
    language: str = "en-us"

    def of(self, take: Path, text: str) -> float:
        """How clearly a take says a text, 0 to 1.

        Raises:
            AudioError: it cannot be read, or is longer than the model hears.
            QueryError: there is nothing to say in the text.
        """
        found = next(score_intelligibility([Utterance(take, text, language=self.language)], self.model))
        if isinstance(found, Failure):
            raise AudioError(found.reason)
        return found.intelligibility


def score_intelligibility(utterances: Sequence[Utterance], model: PhoneticModel) -> Iterator[IntelligibilityScore | Failure]:
    """Judges recordings, in order; those that cannot be read, or are too long, are failures.

    Raises:
        QueryError: there is nothing to say, or text of a language that espeak-ng does not know.
    """
    for utterance, phonemes in zip(utterances, spoken(utterances), strict=True):
        try:
            samples = read_utterance(utterance.path, model.card.max_seconds)
        except AudioError as error:
            yield Failure(str(utterance.path), str(error))
            continue
        evidence = float(model.pmi(next(model.listen([samples])), [phonemes])[0])
        clear = model.intelligibility(evidence, phonemes)
        yield IntelligibilityScore(str(utterance.path), utterance.text, phonemes, round(clear, 4), round(evidence, 2))


def spoken(utterances: Sequence[Utterance]) -> list[str]:
    """What should be said in each, as phonemes.

    Raises:
        QueryError: there is nothing to say, or text of a language that espeak-ng does not know.
    """
    found = [utterance.phonemes or "".join(to_phonemes([utterance.text], utterance.language)) for utterance in utterances]
    for utterance, phonemes in zip(utterances, found, strict=True):
        if not phonemes.strip():
            raise QueryError(f"There is nothing to say in {utterance.text!r}: give a text, or phonemes (IPA).")
    return found


def read_utterance(path: Path, longest: float) -> np.ndarray:
    """A whole recording of at most `longest` seconds.

    Raises:
        AudioError: it cannot be read, or lasts longer.
    """
    samples = read_short(path, longest)
    if samples is None:
        raise AudioError(f"it lasts longer than {longest:g} s: cut it, and its text, into sentences")
    return samples


def read_utterances(table: Location, language: str) -> list[Utterance]:
    """Rows of a CSV table: `path`, from the table's folder on, and `text` or `phonemes`; perhaps `language`.

    Raises:
        TableError: it cannot be read. QueryError: it lacks the columns.
    """
    rows = read_csv(table)
    if not rows or "path" not in rows[0] or not rows[0].keys() & set(COLUMNS):
        raise QueryError(f"{table} needs the columns 'path' and 'text' (or 'phonemes'), and rows.")
    folder = Path(table).parent
    return [
        Utterance(folder / row["path"], row.get("text") or "", row.get("phonemes") or "", row.get("language") or language)
        for row in rows
    ]
