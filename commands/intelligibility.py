"""Commands about what is said: intelligibility, evaluate phonetics."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import new_table, print_json, print_table, short_path
from voxdex.commands.evaluate import evaluate, manifest_argument, root_option
from voxdex.commands.options import RECORDING, as_json, device_option, exit_with_failures, language_option
from voxdex.commands.output import RowsFile, save_rows
from voxdex.encoders.audio.reader import Failure
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.encoders.tables import read_manifest
from voxdex.search.evaluation import PhoneticReport, evaluate_phonetics
from voxdex.search.intelligibility import IntelligibilityScore, Utterance, read_utterances, score_intelligibility

phonetic_option = click.option(
    "--model", default="phonetic", show_default=True, metavar="NAME_OR_FOLDER", help="A model for what is said."
)


@click.command()
@click.argument("files", nargs=-1, required=True, type=RECORDING, metavar="FILE...")
@click.option("--text", help="What should be said.")
@click.option("--phonemes", help="The same in IPA.")
@language_option
@click.option("--save", type=RowsFile(), help="Write the scores to a .csv or .jsonl file.")
@phonetic_option
@device_option
@as_json
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
    """Score how clearly a known text is spoken: 1 as in clear speech, 0.8 as if a fifth of the phonemes were wrong.

    Without --text and --phonemes, FILE is a table with the columns path and text, such as the output of a synthesiser.

    \b
    voxdex intelligibility take1.wav take2.wav --text "kids are talking by the door"
    voxdex intelligibility outputs.csv --language de --save scores.csv
    """
    if text or phonemes:
        utterances = [Utterance(file, text or "", phonemes or "", language) for file in files]
    else:
        utterances = [utterance for file in files for utterance in read_utterances(file, language)]
    encoder = open_phonetic_model(model, device)
    shown = tqdm(utterances, unit=" recordings", disable=None)
    found = list(score_intelligibility(shown, encoder))
    judged = [each for each in found if isinstance(each, IntelligibilityScore)]
    failed = [asdict(each) for each in found if isinstance(each, Failure)]
    if json_output:
        print_json({"results": [asdict(each) for each in judged], "failed": failed})
    else:
        print_judged(judged)
    if save:
        save_rows([asdict(each) for each in judged], save)
    exit_with_failures(bool(judged), failed)


@evaluate.command("phonetics")
@manifest_argument
@root_option
@phonetic_option
@device_option
@as_json
def evaluate_phonemes(manifest: Path, root: Path | None, model: str, device: str, json_output: bool) -> None:
    """The tests of SCRAPS: are wrong phonemes noticed, and sentences found, with noise, other voices and a room too?

    MANIFEST.csv has a row a recording: path and transcript (with language) or phonemes; rows whose split is "train" are left
    out, and recordings that are longer than the model hears.
    """
    encoder, rows = open_phonetic_model(model, device), read_manifest(manifest)
    with tqdm(unit=" recordings", disable=None) as bar:
        tested = evaluate_phonetics(encoder, rows, root or manifest.parent, bar.update)
    failed = [asdict(failure) for failure in tested.failed]
    if json_output:
        figures = [asdict(outcome) for outcome in tested.outcomes]
        print_json({"clips": tested.clips, "figures": figures, "left_out": tested.left_out, "failed": failed})
    else:
        print_outcomes(tested)
    exit_with_failures(True, failed)


def print_outcomes(tested: PhoneticReport) -> None:
    table = new_table(f"on {tested.clips} recordings", "%", "95 %", "chance")
    for outcome in tested.outcomes:
        table.add_row(outcome.question, str(outcome.figure), f"{outcome.low}-{outcome.high}", str(outcome.chance))
    print_table(table)


def print_judged(judged: Sequence[IntelligibilityScore]) -> None:
    table = new_table("intelligibility", "evidence", "text", "recording")
    for each in sorted(judged, key=lambda each: -each.intelligibility):
        cells = (f"{each.intelligibility:.2f}", f"{each.evidence:.1f}", each.text or each.phonemes)
        table.add_row(*cells, short_path(each.recording))
    print_table(table)
