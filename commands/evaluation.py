"""Commands that measure a model: evaluate classification, evaluate retrieval."""

from pathlib import Path

import click
from tqdm import tqdm

from commands.common import FILE, FOLDER, as_json, device_option, finish, model_option, open_encoder, parse_labels
from commands.plots import draw_confusion
from commands.terminal import new_table, print_json, print_table, rounded
from encoders import Model
from encoders.manifest import read_manifest
from search import Answered, evaluate_classification, evaluate_retrieval
from search.evaluation import Embedded, embed_rows


@click.group()
def evaluate() -> None:
    """Measure a model on labelled recordings."""


manifest_argument = click.argument("manifest", type=FILE, metavar="MANIFEST.csv")
root_option = click.option("--root", type=FOLDER, help="Where the manifest's paths start.  [default: its folder]")


@evaluate.command("classification")
@manifest_argument
@click.option("--attribute", required=True, metavar="COLUMN", help="The manifest's column with the true labels.")
@click.option("--labels", help="Labels to choose from; other rows are left out.  [default: those in the column]")
@click.option("--template", "templates", multiple=True, help="A prompt with {} for the label; repeatable.")
@click.option(
    "--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw the confusion matrix into an image (.png, .svg)."
)
@root_option
@model_option
@device_option
@as_json
def classification(
    manifest: Path,
    attribute: str,
    labels: str | None,
    templates: tuple[str, ...],
    plot: Path | None,
    root: Path | None,
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Zero-shot classification: unweighted average recall, macro F1, accuracy, confusion, with 95 % intervals."""
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, attribute, root)
    answered = evaluate_classification(encoder, embedded, attribute, parse_labels(labels), templates)
    result, intervals = answered.result, answered.intervals()
    if plot:
        draw_confusion(result, f"{attribute}, {encoder.card.name}", plot)
    if json_output:
        about = {"attribute": attribute, "clips": len(answered.truth), "labels": list(result.labels)}
        about |= rounded(result.figures()) | {"intervals": {name: rounded_pair(pair) for name, pair in intervals.items()}}
        print_json(about | {"confusion": result.confusion.tolist(), "failed": embedded.failed})
    else:
        print_classification(answered)
    finish(bool(embedded.rows), embedded.failed)


@evaluate.command("retrieval")
@manifest_argument
@root_option
@model_option
@device_option
@as_json
def retrieval(manifest: Path, root: Path | None, model: str, device: str, json_output: bool) -> None:
    """Retrieval between recordings and their captions, both ways; captions are de-duplicated, ranks start at 1."""
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, "caption", root)
    result = evaluate_retrieval(encoder, embedded)
    ways = {"speech_to_caption": result.speech_to_caption.figures(), "caption_to_speech": result.caption_to_speech.figures()}
    intervals = result.intervals()
    if json_output:
        document = {"clips": result.clips, "captions": result.captions} | {way: rounded(part) for way, part in ways.items()}
        bounds = {way: {name: rounded_pair(pair) for name, pair in part.items()} for way, part in intervals.items()}
        print_json(document | {"intervals": bounds, "failed": embedded.failed})
    else:
        table = new_table(f"{result.clips} clips, {result.captions} captions", *ways["caption_to_speech"])
        for way, part in ways.items():
            table.add_row(way.replace("_", " "), *(f"{value:.1f}" for value in part.values()))
            table.add_row("  95 % interval", *(f"{low:.1f}-{high:.1f}" for low, high in intervals[way].values()))
        print_table(table)
    finish(bool(embedded.rows), embedded.failed)


def print_classification(answered: Answered) -> None:
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


def embed_manifest(encoder: Model, manifest: Path, column: str, root: Path | None) -> Embedded:
    rows = read_manifest(manifest, column)
    with tqdm(total=len(rows), unit=" clips", disable=None, dynamic_ncols=True) as bar:
        return embed_rows(encoder, rows, root or manifest.parent, bar.update)


def rounded_pair(pair: tuple[float, float]) -> list[float]:
    return [round(bound, 2) for bound in pair]
