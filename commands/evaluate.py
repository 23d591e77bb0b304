"""Commands that measure a model or an index: evaluate classification, evaluate retrieval, evaluate index."""

from pathlib import Path
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from voxdex.commands.console import new_table, print_json, print_table, rounded
from voxdex.commands.options import (
    FILE,
    FOLDER,
    as_json,
    at_index,
    device_option,
    exit_with_failures,
    model_option,
    open_encoder,
    parse_labels,
)
from voxdex.commands.plots import ImageFile, draw_confusion, draw_recall
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.tables import read_manifest
from voxdex.indexer.location import IndexLocation
from voxdex.search.caption import CaptionBank
from voxdex.search.evaluation import (
    ClassificationResult,
    EmbeddedRows,
    RetrievalResult,
    embed_rows,
    evaluate_classification,
    evaluate_index,
    evaluate_retrieval,
)


@click.group()
def evaluate() -> None:
    """Measure a model on labelled recordings, or an index."""


manifest_argument = click.argument("manifest", type=FILE, metavar="MANIFEST.csv")
plot_option = click.option(
    "--plot", type=ImageFile(dir_okay=False, path_type=Path), help="Draw the figures into an image (.png, .svg)."
)
by_option = click.option("--by", metavar="COLUMN", help="Figures for each value of a column as well: speaker, corpus ...")
root_option = click.option("--root", type=FOLDER, help="Where the manifest's paths start.  [default: its folder]")


@evaluate.command("classification")
@manifest_argument
@click.option("--attribute", required=True, metavar="COLUMN", help="The manifest's column with the true labels.")
@click.option("--labels", help="Labels to choose from; other rows are left out.  [default: those in the column]")
@click.option("--template", "templates", multiple=True, help="A prompt with {} for the label; repeatable.")
@by_option
@plot_option
@root_option
@model_option
@device_option
@as_json
def classification(
    manifest: Path,
    attribute: str,
    labels: str | None,
    templates: tuple[str, ...],
    by: str | None,
    plot: Path | None,
    root: Path | None,
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Zero-shot classification: unweighted average recall, macro F1, accuracy, confusion, with 95 % intervals."""
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, attribute, root)
    choices = parse_labels(labels)
    answered = evaluate_classification(encoder, embedded, attribute, choices, templates)
    groups = {
        value: evaluate_classification(encoder, part, attribute, answered.labels, templates)
        for value, part in embedded.by(by, answered.rows).items()
    }
    if plot:
        draw_confusion(answered.result, f"{attribute}, {encoder.card.name}", plot)
    if json_output:
        about = {"attribute": attribute} | classified(answered)
        about |= {"by": {value: classified(part) for value, part in groups.items()}} if by else {}
        print_json(about | {"failed": embedded.failed})
    else:
        print_classification(answered)
        print_groups(by, {value: part.result.figures() | {"clips": len(part.truth)} for value, part in groups.items()})
    exit_with_failures(bool(embedded.rows), embedded.failed)


@evaluate.command("retrieval")
@manifest_argument
@by_option
@plot_option
@root_option
@model_option
@device_option
@as_json
def retrieval(
    manifest: Path, by: str | None, plot: Path | None, root: Path | None, model: str, device: str, json_output: bool
) -> None:
    """Retrieval between recordings and their captions, both ways; captions are de-duplicated, ranks start at 1."""
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, "caption", root)
    result = evaluate_retrieval(encoder, embedded)
    groups = {value: evaluate_retrieval(encoder, part) for value, part in embedded.by(by).items()}
    if plot:
        draw_recall(result, encoder.card.name, plot)
    intervals = result.intervals()
    if json_output:
        document = retrieved(result)
        bounds = {way: {name: rounded_pair(pair) for name, pair in part.items()} for way, part in intervals.items()}
        document |= {"by": {value: retrieved(part) for value, part in groups.items()}} if by else {}
        print_json(document | {"intervals": bounds, "failed": embedded.failed})
    else:
        table = new_table(f"{result.clips} clips, {result.captions} captions", *result.caption_to_speech.figures())
        for way, part in result.directions.items():
            table.add_row(way.replace("_", " "), *(f"{value:.1f}" for value in part.figures().values()))
            table.add_row("  95 % interval", *(f"{low:.1f}-{high:.1f}" for low, high in intervals[way].values()))
        print_table(table)
        for way in result.directions:
            found = {f"{value}, {way.replace('_', ' ')}": part.directions[way].figures() for value, part in groups.items()}
            print_groups(by, found)
    exit_with_failures(bool(embedded.rows), embedded.failed)


@evaluate.command("index")
@click.option(
    "--captions", "bank", type=FILE, help="What to ask, a caption a line.  [default: captions of the bank that ships]"
)
@click.option("--queries", default=200, show_default=True, type=click.IntRange(1), help="How many captions to ask at most.")
@click.option("-n", "first", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many answers to compare.")
@at_index
@as_json
def of_index(bank: Path | None, queries: int, first: int, place: IndexLocation, json_output: bool) -> None:
    """How much of the exact answer the engine gives, and how fast, asked captions."""
    with place.open() as store:
        encoder = open_model(store.model)
        captions = CaptionBank(encoder, bank).captions
        asked = captions[:: max(1, len(captions) // queries)][:queries]
        with tqdm(total=store.count(), unit=" clips", disable=None, dynamic_ncols=True) as bar:
            found = evaluate_index(store, encoder, asked, first, bar.update)
    milliseconds = {f"p{share}": float(np.percentile(found.milliseconds, share)) for share in (50, 95)}
    if json_output:
        print_json(
            {
                "clips": found.clips,
                "queries": len(found.recalls),
                f"recall@{found.limit}": round(found.recall, 2),
                "ms": rounded(milliseconds),
            }
        )
    else:
        print(
            f"{len(found.recalls)} captions over {found.clips} clips: recall@{found.limit} {found.recall:.2f} %"
            f" of exact search, {milliseconds['p50']:.1f} ms a query (95 %: {milliseconds['p95']:.1f} ms)."
        )


def classified(answered: ClassificationResult) -> dict[str, Any]:
    """How many clips, the figures of a classification and their intervals, and what was taken for what."""
    about = {"clips": len(answered.truth), "labels": list(answered.labels)} | rounded(answered.result.figures())
    intervals = {name: rounded_pair(pair) for name, pair in answered.intervals().items()}
    return about | {"intervals": intervals, "confusion": answered.result.confusion.tolist()}


def retrieved(result: RetrievalResult) -> dict[str, Any]:
    ways = {way: rounded(part.figures()) for way, part in result.directions.items()}
    return {"clips": result.clips, "captions": result.captions} | ways


def print_groups(by: str | None, groups: dict[str, dict[str, float]]) -> None:
    """A line a group."""
    if by and groups:
        table = new_table(by, *next(iter(groups.values())))
        for value, figures in groups.items():
            table.add_row(
                value, *(f"{figure:.1f}" if isinstance(figure, float) else str(figure) for figure in figures.values())
            )
        print_table(table)


def print_classification(answered: ClassificationResult) -> None:
    """What was taken for what, and the figures."""
    result, intervals = answered.result, answered.intervals()
    table = new_table(f"{answered.attribute}: true \\ heard", *result.labels)
    for label, row in zip(result.labels, result.confusion, strict=True):
        table.add_row(label, *map(str, row))
    print_table(table)
    figures = (
        f"{name} {value:.1f} % ({intervals[name][0]:.1f}-{intervals[name][1]:.1f})" for name, value in result.figures().items()
    )
    print(f"{len(answered.truth)} clips: " + ", ".join(figures))


def embed_manifest(encoder: Model, manifest: Path, column: str, root: Path | None) -> EmbeddedRows:
    rows = read_manifest(manifest, column)
    with tqdm(total=len(rows), unit=" clips", disable=None, dynamic_ncols=True) as bar:
        return embed_rows(encoder, rows, root or manifest.parent, bar.update)


def rounded_pair(pair: tuple[float, float]) -> list[float]:
    return [round(bound, 2) for bound in pair]
