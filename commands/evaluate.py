"""The commands `evaluate ...`: metrics of a model on labelled recordings, and of an index; and their plots."""

import os
from dataclasses import asdict
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
    check_folder_of,
    device_option,
    exit_with_failures,
    model_option,
    open_encoder,
    parse_labels,
    phonetic_model_option,
)
from voxdex.encoders.metrics import Classification, Metric
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.packages import missing_package
from voxdex.encoders.phonetic.model import open_phonetic_model
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
    evaluate_phonetics,
    evaluate_retrieval,
)


class ImageFile(click.Path):
    """An image file to write, in a folder that exists and a format that matplotlib writes."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        file = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            from matplotlib.backend_bases import FigureCanvasBase
        except ImportError:
            self.fail(f"{missing_package('A plot', 'matplotlib', 'plot')}.", param, ctx)
        suffixes = [f".{form}" for form in sorted(FigureCanvasBase.get_supported_filetypes())]
        if file.suffix.lower() not in suffixes:
            self.fail(f"{file} must end with one of {', '.join(suffixes)}.", param, ctx)
        check_folder_of(file)
        return file


manifest_argument = click.argument("manifest", type=FILE, metavar="MANIFEST.csv")
plot_option = click.option("--plot", type=ImageFile(), help="Plot the metrics to an image (.png, .svg).")
by_option = click.option(
    "--by", metavar="COLUMN", help="Print the metrics for each value of a column as well, such as speaker or dataset."
)
root_option = click.option("--root", type=FOLDER, help="The folder of the manifest's paths.  [default: that of the manifest]")


@click.group()
def evaluate() -> None:
    """Measure a model on labelled recordings, or an index."""


@evaluate.command("classification")
@manifest_argument
@click.option("--attribute", required=True, metavar="COLUMN", help="The manifest's column with the true labels.")
@click.option("--labels", help="The labels to choose from; other rows are left out.  [default: those in the column]")
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
    """Measure zero-shot classification.

    The metrics are unweighted average recall (UAR), macro F1 and accuracy, with 95 % intervals over speakers (the manifest's
    column `speaker`, or over clips without it), and the confusion matrix. UAR is also given with the scores of emotions
    calibrated on the clips of the manifest, as one archive.
    """
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, attribute, root)
    overall = evaluate_classification(encoder, embedded, attribute, parse_labels(labels), templates)
    groups = {
        value: evaluate_classification(encoder, part, attribute, overall.labels, templates)
        for value, part in embedded.by(by, overall.rows).items()
    }
    if plot:
        plot_confusion(overall.result, f"{attribute}, {encoder.card.name}", plot)
    if json_output:
        document = {"attribute": attribute} | classification_document(overall)
        if by:
            document["by"] = {value: classification_document(part) for value, part in groups.items()}
        print_json(document | {"failed": embedded.failed})
    else:
        print_classification(overall)
        print_groups(by, {value: part.result.metrics() | {"clips": len(part.truth)} for value, part in groups.items()})
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
    """Measure retrieval between recordings and captions.

    MANIFEST.csv has the columns path and caption. The metrics are R@1, R@5, R@10, median and mean rank and mAP@10, in both
    directions, with 95 % intervals. Captions are de-duplicated, and ranks start at 1.
    """
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, "caption", root)
    overall = evaluate_retrieval(encoder, embedded)
    groups = {value: evaluate_retrieval(encoder, part) for value, part in embedded.by(by).items()}
    if plot:
        plot_recall(overall, encoder.card.name, plot)
    intervals = overall.intervals()
    if json_output:
        document = retrieval_document(overall)
        if by:
            document["by"] = {value: retrieval_document(part) for value, part in groups.items()}
        document["intervals"] = {
            way: {name: rounded_pair(pair) for name, pair in pairs.items()} for way, pairs in intervals.items()
        }
        print_json(document | {"failed": embedded.failed})
    else:
        table = new_table(f"{overall.clips} clips, {overall.captions} captions", *overall.caption_to_speech.metrics())
        for way, result in overall.directions.items():
            table.add_row(way.replace("_", " "), *(f"{value:.1f}" for value in result.metrics().values()))
            table.add_row("  95 % interval", *(f"{low:.1f}-{high:.1f}" for low, high in intervals[way].values()))
        print_table(table)
        for way in overall.directions:
            name = way.replace("_", " ")
            print_groups(by, {f"{value}, {name}": part.directions[way].metrics() for value, part in groups.items()})
    exit_with_failures(bool(embedded.rows), embedded.failed)


@evaluate.command("phonetics")
@manifest_argument
@root_option
@phonetic_model_option
@device_option
@as_json
def phonetics(manifest: Path, root: Path | None, model: str, device: str, json_output: bool) -> None:
    """Run the SCRAPS evaluation of a phonetic model.

    It measures the detection of replaced phonemes, and the retrieval of sentences in noise, babble and rooms. MANIFEST.csv has
    a row for each recording: path, and transcript (with language) or phonemes. Rows of the split "train" and recordings over
    the model's maximum length are left out.
    """
    encoder, rows = open_phonetic_model(model, device), read_manifest(manifest)
    with tqdm(unit=" recordings", disable=None) as bar:
        report = evaluate_phonetics(encoder, rows, root or manifest.parent, bar.update)
    failed = [asdict(failure) for failure in report.failed]
    if json_output:
        metrics = [metric.as_dict() for metric in report.metrics]
        print_json({"clips": report.clips, "metrics": metrics, "left_out": report.left_out, "failed": failed})
    else:
        print_metrics(report.metrics, f"{report.clips} recordings")
    exit_with_failures(bool(report.clips), failed)


@evaluate.command("index")
@click.option("--captions", "bank", type=FILE, help="A text file of queries, one a line.  [default: the captions that ship]")
@click.option("--queries", default=200, show_default=True, type=click.IntRange(1), help="Maximum number of queries.")
@click.option(
    "-n", "first", default=10, show_default=True, type=click.IntRange(1, 1000), help="Number of hits to compare for each query."
)
@at_index
@as_json
def index(bank: Path | None, queries: int, first: int, location: IndexLocation, json_output: bool) -> None:
    """Measure the recall and latency of approximate search.

    The hits of text queries are compared with those of exact search.
    """
    with location.read(for_long=True) as store:
        encoder = open_model(store.model)
        captions = CaptionBank(encoder, bank).captions
        chosen = captions[:: max(1, len(captions) // queries)][:queries]
        with tqdm(total=store.count(), unit=" clips", disable=None, dynamic_ncols=True) as bar:
            report = evaluate_index(store, encoder, chosen, first, bar.update)
    milliseconds = {f"p{percent}": float(np.percentile(report.milliseconds, percent)) for percent in (50, 95)}
    if json_output:
        recall = {f"recall@{report.limit}": round(report.recall, 2)}
        print_json({"clips": report.clips, "queries": len(report.recalls)} | recall | {"ms": rounded(milliseconds)})
    else:
        print(
            f"{len(report.recalls)} captions over {report.clips} clips: recall@{report.limit} {report.recall:.2f} %"
            f" of exact search, {milliseconds['p50']:.1f} ms a query (95 %: {milliseconds['p95']:.1f} ms)."
        )


def embed_manifest(encoder: Model, manifest: Path, column: str, root: Path | None) -> EmbeddedRows:
    """Embed the recordings of a manifest that have a value in `column`."""
    rows = read_manifest(manifest, column)
    with tqdm(total=len(rows), unit=" clips", disable=None, dynamic_ncols=True) as bar:
        return embed_rows(encoder, rows, root or manifest.parent, bar.update)


def classification_document(result: ClassificationResult) -> dict[str, Any]:
    """Return number of clips, labels, metrics with intervals, and confusion as plain data."""
    document = {"clips": len(result.truth), "labels": list(result.labels)} | rounded(result.result.metrics())
    if result.archive_uar is not None:
        document["archive_UAR"] = round(result.archive_uar, 2)
    intervals = {name: rounded_pair(pair) for name, pair in result.intervals().items()}
    return document | {"intervals": intervals, "confusion": result.result.confusion.tolist()}


def retrieval_document(result: RetrievalResult) -> dict[str, Any]:
    """Return numbers of clips and captions, and the metrics of both directions, as plain data."""
    ways = {way: rounded(part.metrics()) for way, part in result.directions.items()}
    return {"clips": result.clips, "captions": result.captions} | ways


def rounded_pair(pair: tuple[float, float]) -> list[float]:
    return [round(bound, 2) for bound in pair]


def print_classification(result: ClassificationResult) -> None:
    """Print the confusion, and the metrics with their intervals."""
    confusion, intervals = result.result, result.intervals()
    table = new_table(f"{result.attribute}: true \\ predicted", *confusion.labels)
    for label, row in zip(confusion.labels, confusion.confusion, strict=True):
        table.add_row(label, *map(str, row))
    print_table(table)
    metrics = (
        f"{name} {value:.1f} % ({intervals[name][0]:.1f}-{intervals[name][1]:.1f})"
        for name, value in confusion.metrics().items()
    )
    print(f"{len(result.truth)} clips: " + ", ".join(metrics))
    if result.archive_uar is not None:
        print(f"With scores calibrated on these clips as an archive: UAR {result.archive_uar:.1f} %")


def print_groups(by: str | None, groups: dict[str, dict[str, float]]) -> None:
    """Print a row of metrics for each group."""
    if by and groups:
        table = new_table(by, *next(iter(groups.values())))
        for group, metrics in groups.items():
            table.add_row(group, *(f"{value:.1f}" if isinstance(value, float) else str(value) for value in metrics.values()))
        print_table(table)


def print_metrics(metrics: list[Metric], title: str) -> None:
    table = new_table(f"on {title}", "%", "95 %", "chance")
    for metric in metrics:
        table.add_row(metric.name, str(metric.value), f"{metric.low}-{metric.high}", str(metric.chance))
    print_table(table)


def plot_confusion(result: Classification, title: str, image: Path) -> None:
    """Plot a confusion matrix: rows are true labels, colours the percentage of the row."""
    fractions = result.confusion / result.confusion.sum(axis=1, keepdims=True).clip(1)
    size = 2.5 + 0.7 * len(result.labels)
    drawing, axes = _new_plot(size + 1, size)
    shown = axes.imshow(100 * fractions, cmap="Blues", vmin=0, vmax=100)
    ticks = range(len(result.labels))
    axes.set(xticks=ticks, yticks=ticks, yticklabels=result.labels, xlabel="predicted", ylabel="true", title=title)
    axes.set_xticks(ticks, result.labels, rotation=45, ha="right")
    for row in ticks:
        for column in ticks:
            colour = "white" if fractions[row, column] > 0.5 else "black"
            axes.text(column, row, str(result.confusion[row, column]), ha="center", va="center", color=colour)
    drawing.colorbar(shown, label="% of the true label")
    _save_plot(drawing, image)


def plot_recall(result: RetrievalResult, title: str, image: Path) -> None:
    """Plot recall@k in percent over k, in both directions."""
    drawing, axes = _new_plot(7, 5)
    for (way, part), answers in zip(result.directions.items(), (result.captions, result.clips), strict=True):
        ks = range(1, answers + 1)
        axes.plot(ks, [part.recall_at(k) for k in ks], label=f"{way.replace('_', ' ')} ({len(part.ranks)} queries)")
    axes.set(xscale="log", ylim=(0, 102), xlabel="k", ylabel="recall@k (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    _save_plot(drawing, image)


def _new_plot(width: float, height: float) -> tuple[Any, Any]:
    """Return a matplotlib Figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height), layout="constrained")
    return drawing, drawing.subplots()


def _save_plot(drawing: Any, image: Path) -> None:
    try:
        drawing.savefig(image, dpi=120)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{image} cannot be written ({error}).") from error
