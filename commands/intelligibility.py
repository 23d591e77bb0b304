"""The command `intelligibility`: scores of how clearly a text is spoken."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import print_json, print_rows, short_path
from voxdex.commands.options import (
    RECORDING,
    as_json,
    device_option,
    exit_with_failures,
    language_option,
    phonetic_model_option,
    width_option,
)
from voxdex.commands.output import RowsFile, save_rows
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.errors import Failure
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.search.intelligibility import IntelligibilityScore, Utterance, read_utterances, score_intelligibility


@click.command()
@click.argument("files", nargs=-1, required=True, type=RECORDING, metavar="FILE...")
@click.option("--text", help="The text that is spoken in every FILE.")
@click.option("--phonemes", help="The phonemes that are spoken in every FILE, in IPA, instead of --text.")
@language_option
@click.option("--save", type=RowsFile(), help="Write the scores to a .csv or .jsonl file.")
@phonetic_model_option
@device_option
@as_json
@width_option
def intelligibility(
    files: tuple[Location, ...],
    text: str | None,
    phonemes: str | None,
    language: str,
    save: Path | None,
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Score how clearly a text is spoken, from 0 to 1.

    Clear speech scores 1; 0.8 is the score of clear speech with a fifth of the phonemes wrong. Without --text and --phonemes,
    FILE is a table with the columns path and text.

    \b
    voxdex intelligibility take1.wav take2.wav --text "kids are talking"
    voxdex intelligibility outputs.csv --language de --save scores.csv
    """
    if text or phonemes:
        utterances = [Utterance(file, text or "", phonemes or "", language) for file in files]
    else:
        utterances = [utterance for file in files for utterance in read_utterances(file, language)]
    encoder = open_phonetic_model(model, device)
    outcomes = list(score_intelligibility(tqdm(utterances, unit=" recordings", disable=None), encoder))
    scores = [outcome for outcome in outcomes if isinstance(outcome, IntelligibilityScore)]
    failed = [asdict(outcome) for outcome in outcomes if isinstance(outcome, Failure)]
    if json_output:
        print_json({"results": [asdict(score) for score in scores], "failed": failed})
    else:
        print_scores(scores)
    if save:
        save_rows([asdict(score) for score in scores], save)
    exit_with_failures(bool(scores), failed)


def print_scores(scores: Sequence[IntelligibilityScore]) -> None:
    rows = []
    for score in sorted(scores, key=lambda score: -score.intelligibility):
        cells = (f"{score.intelligibility:.2f}", f"{score.evidence:.1f}", score.text or score.phonemes)
        rows.append([*cells, short_path(score.recording)])
    print_rows(["intelligibility", "evidence", "text", "recording"], rows, text=["text"], paths=["recording"])
