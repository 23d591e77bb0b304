"""The tests of SCRAPS on recordings with transcripts; see encoders.phonetic_tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import AudioError
from encoders.audio import Failure
from encoders.espeak import phonemes_of
from encoders.manifest import ManifestError
from encoders.phonetic_model import PhoneticModel
from encoders.phonetic_tests import Embedders, Outcome, run_tests
from search.intelligibility import read_utterance

FEWEST = 2
"""Recordings that can be told apart."""


@dataclass(frozen=True)
class Tested:
    """outcomes: see run_tests. failed: recordings that could not be read, or are too long. left_out: rows without words."""

    clips: int
    outcomes: list[Outcome]
    failed: list[Failure]
    left_out: int


def evaluate_phonetics(
    model: PhoneticModel,
    rows: Sequence[dict[str, str]],
    root: Path,
    on_recording: Callable[[], object] = lambda: None,
) -> Tested:
    """Runs the tests on all rows that say what is spoken, but for those of a `split` that says "train".

    Args:
        model: what is tested.
        rows: of a manifest: path, `transcript` (with `language`) or `phonemes`.
        root: where paths start.
        on_recording: is called after each.

    Raises:
        ManifestError: fewer than two recordings are left.
    """
    spoken = [row for row in rows if row.get("split") != "train" and (row.get("transcript") or row.get("phonemes"))]
    clips, phonemes, failed = [], [], []
    for row, said in zip(spoken, phonemes_of(spoken), strict=True):
        path = root / row["path"]
        try:
            clips.append(read_utterance(path, model.card.max_seconds))
            phonemes.append(model.tokenizer.encode(said).tokens)
        except AudioError as error:
            failed.append(Failure(str(path), str(error)))
        on_recording()
    if len(clips) < FEWEST:
        raise ManifestError("There must be two recordings with a transcript, or phonemes, that nobody was trained on.")
    embed = Embedders(
        speech=lambda sounds: np.stack(list(model.embed_speech(sounds))),
        phonemes=lambda sequences: np.stack(list(model.embed_text(" ".join(sequence) for sequence in sequences))),
    )
    return Tested(len(clips), run_tests(embed, clips, phonemes), failed, len(rows) - len(spoken))
