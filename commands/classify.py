"""The command that answers which label fits."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from voxdex.commands.console import new_table, print_json, print_table, short_path
from voxdex.commands.evaluate import classified, print_classification
from voxdex.commands.options import (
    FILE,
    RECORDING,
    Fraction,
    as_json,
    at_index,
    device_option,
    each_file,
    exit_with_failures,
    model_option,
    open_encoder,
    parse_labels,
    recordings_in,
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


@click.command()
@click.argument("files", nargs=-1, type=RECORDING, metavar="[FILE_OR_FOLDER]...")
@click.option("--indexed", is_flag=True, help="Classify the clips of the index instead of files.")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME", help="gender, emotion, pitch ...; repeatable.")
@click.option("--labels", help='The labels to choose from, as in "angry,happy,sad"; any words will do.')
@click.option("--template", "templates", multiple=True, help='A prompt with {} for the label, as in "a {} voice"; repeatable.')
@click.option(
    "--unsure-below",
    "least",
    default=0.0,
    type=Fraction(),
    help="Say unsure where no label is as probable as that.",
)
@click.option("--truth", type=FILE, help="A .csv file with the column path and the true labels: shows what is taken for what.")
@click.option("--save", type=RowsFile(), help="Write the answers to a .csv or .jsonl file.")
@model_option
@device_option
@at_index
@as_json
def classify(
    files: tuple[Location, ...],
    indexed: bool,
    attributes: tuple[str, ...],
    labels: str | None,
    templates: tuple[str, ...],
    least: float,
    truth: Path | None,
    save: Path | None,
    model: str,
    device: str,
    place: IndexLocation,
    json_output: bool,
) -> None:
    """Say which label fits a clip best, for attributes that ship or labels of your own.

    \b
    voxdex classify take1.wav take2.wav --attribute gender --attribute emotion
    voxdex classify take1.wav --labels "bored,excited" --template "someone who sounds {}"
    voxdex classify ./takes --attribute emotion --unsure-below 0.6 --save emotions.csv
    voxdex classify --indexed --labels "laughing,crying" --save all.jsonl
    """
    choices = parse_labels(labels)
    if (choices or templates) and len(attributes) > 1:
        raise click.UsageError("--labels and --template go with one --attribute at most.")
    if len(choices) == 1:
        raise click.UsageError(f"--labels {labels!r} leaves nothing to choose; give two or more.")
    if bool(files) == indexed:
        raise click.UsageError("Give recordings or folders, or --indexed for the clips of the index.")

    asked = attributes, choices, templates
    if indexed:
        with place.open() as store:
            encoder = open_model(store.model)
            results, failed = list(classify_index(encoder, store, label_sets(encoder, *asked))), []
    else:
        encoder = open_encoder(model, device)
        wanted = label_sets(encoder, *asked)
        found, unread = recordings_in(files)
        results, failed = each_file(found, lambda path: classify_file(encoder, path, wanted))
        failed = unread + failed
    answers = [clip.document(least) for clip in results]
    if save:
        save_rows(answers, save)
    compared = compare(results, truth) if truth else []
    if json_output:
        figures = {each.attribute: classified(each) for each in compared}
        print_json({"results": answers, "failed": failed} | ({"truth": figures} if truth else {}))
    else:
        if not save:
            print_answers(answers)
        for each in compared:
            print_classification(each)
    exit_with_failures(bool(results), failed)


def print_answers(answers: Sequence[dict[str, Any]]) -> None:
    table = new_table("attribute", "label", "probability", "runner-up", "seconds", "recording")
    for answer in answers:
        for name in [name for name in answer if name not in ("recording", "start", "end")]:
            best, second, *_ = sorted(answer[name]["scores"].items(), key=lambda item: -item[1])
            where = (span(answer["start"], answer["end"]), short_path(answer["recording"]))
            table.add_row(name, answer[name]["label"], f"{best[1]:.0%}", f"{second[0]} {second[1]:.0%}", *where)
    print_table(table)


def compare(results: Iterable[ClipPrediction], truth: Path) -> list[ClassificationResult]:
    """What was heard of recordings whose true labels a table has, for each attribute that is a column of it."""
    rows = {beside(truth, row["path"]): row for row in read_manifest(truth)}
    known = [(clip, row) for clip in results if (row := rows.get(absolute(as_location(clip.recording))))]
    names = [name for name in (known[0][0].probabilities if known else ()) if any(row.get(name) for _, row in known)]
    if not names:
        raise click.ClickException(f"{truth} has a true label for none of these recordings, in no column that was asked for.")
    compared = []
    for name in names:
        labels = tuple(known[0][0].probabilities[name])
        pairs = [(row[name], clip.label(name)) for clip, row in known if row.get(name) in labels]
        if pairs:
            compared.append(ClassificationResult(name, labels, *map(list, zip(*pairs, strict=True))))
    return compared
