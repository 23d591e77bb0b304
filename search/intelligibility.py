"""Intelligibility of recordings whose text is known: of synthesisers, speakers and recording conditions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import read_short
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.errors import Failure
from voxdex.encoders.phonetic.g2p import to_phonemes
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.encoders.tables import read_csv
from voxdex.search.query import QueryError

TEXT_COLUMNS = ("text", "phonemes")
"""Columns of a table of utterances, of which it needs one."""


@dataclass(frozen=True)
class Utterance:
    """A recording and its transcript, as text of a language or as phonemes (IPA)."""

    path: Location
    text: str = ""
    phonemes: str = ""
    language: str = "en-us"


@dataclass(frozen=True)
class IntelligibilityScore:
    """intelligibility: 0 to 1; see PhoneticModel.intelligibility. evidence: PMI of recording and phonemes, in nats."""

    recording: str
    text: str
    phonemes: str
    intelligibility: float
    evidence: float


@dataclass(frozen=True)
class IntelligibilityReward:
    """Intelligibility as a second reward of takes. weight: against the voice, 0 to 1. language: of the texts."""

    model: PhoneticModel
    weight: float = 0.5
    language: str = "en-us"

    def of(self, take: Path, text: str) -> float:
        """Return the intelligibility of a take, 0 to 1.

        Raises:
            AudioError: the take cannot be read, or is longer than the model accepts.
            QueryError: the text has no phonemes.
        """
        score = next(score_intelligibility([Utterance(take, text, language=self.language)], self.model))
        if isinstance(score, Failure):
            raise AudioError(score.reason)
        return score.intelligibility


def score_intelligibility(utterances: Sequence[Utterance], model: PhoneticModel) -> Iterator[IntelligibilityScore | Failure]:
    """Score recordings, in order; one that cannot be read, or is too long, is a failure.

    Raises:
        QueryError: a transcript has no phonemes, or espeak-ng does not know its language.
    """
    for utterance, phonemes in zip(utterances, transcripts(utterances), strict=True):
        try:
            samples = read_utterance(utterance.path, model.card.max_seconds)
        except AudioError as error:
            yield Failure(str(utterance.path), str(error))
            continue
        evidence = float(model.pmi(next(model.listen([samples])), [phonemes])[0])
        intelligibility = model.intelligibility(evidence, phonemes)
        yield IntelligibilityScore(
            recording=str(utterance.path),
            text=utterance.text,
            phonemes=phonemes,
            intelligibility=round(intelligibility, 4),
            evidence=round(evidence, 2),
        )


def transcripts(utterances: Sequence[Utterance]) -> list[str]:
    """Return the phonemes (IPA) of each utterance's transcript.

    Raises:
        QueryError: a transcript has no phonemes, or espeak-ng does not know its language.
    """
    sequences = [utterance.phonemes or "".join(to_phonemes([utterance.text], utterance.language)) for utterance in utterances]
    for utterance, phonemes in zip(utterances, sequences, strict=True):
        if not phonemes.strip():
            raise QueryError(f"{utterance.text!r} has no words to pronounce: give a text, or phonemes (IPA).")
    return sequences


def read_utterance(path: Location, max_seconds: float) -> np.ndarray:
    """Read a whole recording of at most `max_seconds`, float32 [samples] mono at 16 kHz.

    Raises:
        AudioError: it cannot be read, or lasts longer.
    """
    samples = read_short(path, max_seconds)
    if samples is None:
        raise AudioError(f"it lasts longer than {max_seconds:g} s: cut it, and its text, into sentences")
    return samples


def read_utterances(table: Location, language: str) -> list[Utterance]:
    """Read utterances from CSV: `path`, relative to the table's folder, `text` or `phonemes`, and optionally `language`.

    Raises:
        TableError: the table cannot be read.
        QueryError: it lacks columns.
    """
    rows = read_csv(table)
    if not rows or "path" not in rows[0] or not rows[0].keys() & set(TEXT_COLUMNS):
        raise QueryError(f"{table} needs the columns 'path' and 'text' (or 'phonemes'), and rows.")
    folder = Path(table).parent
    return [
        Utterance(folder / row["path"], row.get("text") or "", row.get("phonemes") or "", row.get("language") or language)
        for row in rows
    ]
