"""The command `classify`: zero-shot labels of recordings."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from voxdex.commands.console import print_json, print_rows, short_path
from voxdex.commands.evaluate import classification_document, print_classification
from voxdex.commands.options import (
    FILE,
    RECORDING,
    Fraction,
    as_json,
    at_index,
    check_used,
    device_option,
    each_file,
    exit_with_failures,
    model_option,
    no_vad_option,
    open_encoder,
    parse_labels,
    recordings_in,
    width_option,
)
from voxdex.commands.output import RowsFile, save_rows
from voxdex.encoders.audio.remote import Location, as_location
from voxdex.encoders.model import open_model
from voxdex.encoders.tables import read_manifest
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.scan import absolute, beside
from voxdex.search.classify import ClipPrediction, classify_file, classify_index, label_sets
from voxdex.search.evaluation import ClassificationResult
from voxdex.search.formats import span
from voxdex.search.query import QueryError


@click.command()
@click.argument("files", nargs=-1, type=RECORDING, metavar="[FILE_OR_FOLDER]...")
@click.option("--indexed", is_flag=True, help="Classify the clips of the index instead of files.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME", help="An attribute: gender, emotion, pitch ...; repeatable."
)
@click.option("--labels", help='The labels to choose from, separated by commas: "angry,happy,sad".')
@click.option(
    "--template", "templates", multiple=True, help='A prompt template with {} for the label: "a {} voice"; repeatable.'
)
@click.option("--anyway", is_flag=True, help="Accept attributes and labels that the model does not hear; see `models`.")
@click.option(
    "--min-probability",
    default=0.0,
    type=Fraction(),
    help="Probability below which the label is `unsure`, 0 to 1.",
)
@click.option(
    "--truth",
    type=FILE,
    help="A .csv file with a column path and columns of true labels, to print the confusion matrix of.",
)
@click.option("--save", type=RowsFile(), help="Write the predictions to a .csv or .jsonl file.")
@model_option
@device_option
@no_vad_option
@at_index
@as_json
@width_option
def classify(
    files: tuple[Location, ...],
    indexed: bool,
    attributes: tuple[str, ...],
    labels: str | None,
    templates: tuple[str, ...],
    anyway: bool,
    min_probability: float,
    truth: Path | None,
    save: Path | None,
    no_vad: bool,
    model: str,
    device: str,
    location: IndexLocation,
    json_output: bool,
) -> None:
    """Predict labels of clips, zero-shot.

    Without --attribute and --labels, all attributes that the model hears are predicted. Labels of your own are words that it
    hears.

    \b
    voxdex classify take1.wav take2.wav --attribute gender --attribute emotion
    voxdex classify take1.wav --labels "calm,excited" --template "sounding {}"
    voxdex classify ./takes --attribute emotion --save emotions.csv
    voxdex classify --indexed --labels "laughing,crying" --anyway --save all.jsonl
    """
    choices = parse_labels(labels)
    if (choices or templates) and len(attributes) > 1:
        raise click.UsageError("--labels and --template go with one --attribute at most.")
    if len(choices) == 1:
        raise click.UsageError(f"--labels {labels!r} is a single label: give two or more.")
    if bool(files) == indexed:
        raise click.UsageError("Give recordings or folders, or --indexed for the clips of the index.")

    for parameter in ("model", "device", "no_vad"):
        check_used(parameter, "recordings, as an index has a model and clips of its own", used=not indexed)
    check_used("index_name", "--indexed", used=indexed)
    failed: list[dict[str, str]] = []
    without_speech: list[str] = []
    if indexed:
        with location.read(for_long=True) as store:
            encoder = open_model(store.model)
            sets = label_sets(encoder, attributes, choices, templates, anyway=anyway)
            predictions = list(classify_index(encoder, store, sets))
    else:
        encoder = open_encoder(model, device)
        sets = label_sets(encoder, attributes, choices, templates, anyway=anyway)
        recordings, unlisted = recordings_in(files)
        predictions, unread, without_speech = each_file(
            recordings, lambda path: classify_file(encoder, path, sets, vad=not no_vad)
        )
        failed = unlisted + unread
    results = [prediction.document(min_probability) for prediction in predictions]
    if save:
        save_rows(results, save)
    compared = compare(predictions, truth) if truth else []
    if json_output:
        document: dict[str, Any] = {"results": results, "failed": failed, "without_speech": without_speech}
        if truth:
            document["truth"] = {result.attribute: classification_document(result) for result in compared}
        print_json(document)
    else:
        if not save:
            print_predictions(results)
        for result in compared:
            print_classification(result)
    exit_with_failures(bool(predictions), failed, without_speech)


def print_predictions(results: Sequence[dict[str, Any]]) -> None:
    columns = ["attribute", "label", "probability", "runner-up", "seconds", "recording"]
    rows = []
    for result in results:
        location = (span(result["start"], result["end"]), short_path(result["recording"]))
        for name in [name for name in result if name not in ("recording", "start", "end")]:
            (_, best), (second, less), *_ = sorted(result[name]["scores"].items(), key=lambda item: -item[1])
            rows.append([name, result[name]["label"], f"{best:.0%}", f"{second} {less:.0%}", *location])
    print_rows(columns, rows, text=["runner-up", "label"], paths=["recording"], optional=["runner-up"])


def compare(predictions: Iterable[ClipPrediction], truth: Path) -> list[ClassificationResult]:
    """Return true and predicted labels of each attribute that is a column of the table of truth."""
    rows = {beside(truth, row["path"]): row for row in read_manifest(truth)}
    labelled = [(clip, row) for clip in predictions if (row := rows.get(absolute(as_location(clip.recording))))]
    names = [name for name in (labelled[0][0].probabilities if labelled else ()) if any(row.get(name) for _, row in labelled)]
    if not names:
        raise QueryError(f"{truth} has no true label of these recordings in a column named like a classified attribute.")
    compared = []
    for name in names:
        labels = tuple(labelled[0][0].probabilities[name])
        pairs = [(row[name], clip.label(name)) for clip, row in labelled if row.get(name) in labels]
        if pairs:
            true = [pair[0] for pair in pairs]
            predicted = [pair[1] for pair in pairs]
            compared.append(ClassificationResult(name, labels, true, predicted))
    return compared
