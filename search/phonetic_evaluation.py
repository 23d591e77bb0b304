"""The tests of SCRAPS on recordings with transcripts; see encoders.phonetic.evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.reader import AudioError
from voxdex.encoders.errors import Failure
from voxdex.encoders.metrics import Metric
from voxdex.encoders.phonetic.evaluation import PhoneticScorer, evaluate_scraps
from voxdex.encoders.phonetic.g2p import phonemes_of
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.encoders.tables import ManifestError
from voxdex.search.intelligibility import read_utterance

FEWEST = 2
"""Recordings that can be told apart."""


@dataclass(frozen=True)
class PhoneticReport:
    """metrics: see evaluate_scraps. failed: recordings that cannot be read or are too long. left_out: rows without text."""

    clips: int
    metrics: list[Metric]
    failed: list[Failure]
    left_out: int


@dataclass(frozen=True)
class Recordings:
    """Recordings and what is said in them: samples, float32 mono at 16 kHz, and the manifest's row of each; and what failed."""

    clips: list[np.ndarray]
    rows: list[dict[str, str]]
    failed: list[Failure]


def read_spoken(
    rows: Sequence[dict[str, str]], root: Path, longest: float, on_recording: Callable[[], object] = lambda: None
) -> Recordings:
    """The recordings of all rows that say what is spoken, but for those of a `split` that says "train".

    Args:
        rows: of a manifest: path, `transcript` (with `language`) or `phonemes`.
        root: where paths start.
        longest: seconds; what lasts longer fails.
        on_recording: is called after each.

    Raises:
        ManifestError: fewer than two recordings are left.
    """
    spoken = Recordings([], [], [])
    for row in rows:
        if row.get("split") == "train" or not (row.get("transcript") or row.get("phonemes")):
            continue
        try:
            spoken.clips.append(read_utterance(root / row["path"], longest))
            spoken.rows.append(row)
        except AudioError as error:
            spoken.failed.append(Failure(str(root / row["path"]), str(error)))
        on_recording()
    if len(spoken.clips) < FEWEST:
        raise ManifestError("There must be two recordings with a transcript, or phonemes, that nobody was trained on.")
    return spoken


def evaluate_phonetics(
    model: PhoneticModel,
    rows: Sequence[dict[str, str]],
    root: Path,
    on_recording: Callable[[], object] = lambda: None,
) -> PhoneticReport:
    """Runs the tests on recordings of a manifest; see read_spoken.

    Raises:
        ManifestError: fewer than two recordings can be used.
    """
    spoken = read_spoken(rows, root, model.card.max_seconds, on_recording)
    unknown = model.tokenizer.model.unk_token
    read = (model.tokenizer.encode(phonemes).tokens for phonemes in phonemes_of(spoken.rows))
    said = [[phoneme for phoneme in tokens if phoneme != unknown] for tokens in read]
    scorer = PhoneticScorer(
        listen=lambda sounds: list(model.listen(sounds)),
        pmi=lambda heard, sequences: model.pmi(heard, [" ".join(sequence) for sequence in sequences]),
        embed=lambda sequences: np.stack(list(model.embed_text(" ".join(sequence) for sequence in sequences))),
    )
    left_out = len(rows) - len(spoken.rows) - len(spoken.failed)
    metrics = evaluate_scraps(scorer, spoken.clips, scorer.listen(spoken.clips), said)
    return PhoneticReport(len(spoken.clips), metrics, spoken.failed, left_out)
