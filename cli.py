#!/usr/bin/env python3
"""Voxdex: find a voice by describing it. The commands: parse, call, print."""

import importlib.util
import os
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent / ".venv"
if __name__ == "__main__" and importlib.util.find_spec("qdrant_edge") is None:
    if (VENV / ".run-time").exists() and Path(sys.prefix).resolve() != VENV:
        os.execv(VENV / "bin" / "python", [VENV / "bin" / "python", *sys.argv])
    sys.exit("Voxdex is not set up for this Python. Run `make setup`, or pip install '.[cpu]' in an environment of your own.")

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import click
import numpy as np
from tqdm import tqdm

from encoders import AudioError, Model, ModelError, find_models, load_attributes, open_model
from encoders.metrics import Retrieval
from encoders.model_folder import read_card
from encoders.runtime import DEVICES
from indexer import (
    DEFAULT_INDEX,
    DEFAULT_MODEL,
    EdgeStore,
    Metadata,
    MetadataError,
    StoreError,
    find_recordings,
    index_folder,
    open_index,
)
from indexer import index as index_archive
from indexer.files import printable
from indexer.store import FilterError, parse_condition
from search import (
    EvaluationError,
    Query,
    QueryError,
    classify_file,
    evaluate_classification,
    evaluate_retrieval,
    find,
    question,
)
from search.evaluation import Embedded, embed_rows, read_manifest
from search.speech import embed_recording
from terminal import heard_as, new_table, note, print_json, print_report, print_table, rounded, short_path, show_progress, span

EXPECTED = (ModelError, StoreError, MetadataError, FilterError, QueryError, EvaluationError)
"""Errors whose message is for the user; anything else is a defect and shows its traceback."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
RECORDING = click.Path(path_type=Path)


class Commands(click.Group):
    """Turns expected errors into one sentence and exit status 2, and Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EXPECTED as error:
            refusal = click.ClickException(str(error))
            refusal.exit_code = 2
            raise refusal from error
        except KeyboardInterrupt:
            note("Stopped. What is indexed is kept: run the same command again to go on.")
            sys.exit(130)


as_json = click.option("--json", "json_output", is_flag=True, help="Print one JSON document instead of a table.")
index_option = click.option(
    "--index", "index_name", default=DEFAULT_INDEX, show_default=True, metavar="DIR_OR_NAME",
    help="A name in your data folder, or a folder (with a slash in it).",
)  # fmt: skip
model_option = click.option("--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME_OR_FOLDER", help="See `models`.")
device_option = click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to embed.")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="voxdex")
def main() -> None:
    """Find a voice by describing it.

    \b
    voxdex index ./audio
    voxdex search "breathy, sad female voice"

    Exit status: 0 done; 1 done, but some inputs failed; 2 wrong use, or nothing could be done.
    """


@main.command()
@click.argument("paths", nargs=-1, required=True, type=RECORDING, metavar="PATH...")
@index_option
@click.option("--model", metavar="NAME_OR_FOLDER", help="The model for a new index; see `models`.  [default: mini]")
@click.option("--metadata", type=FILE, help="CSV with a column `path` and what else you know of each recording.")
@click.option("--prune", is_flag=True, help="Drop recordings under PATH that no longer exist.")
@device_option
@as_json
def index(
    paths: tuple[Path, ...],
    index_name: str,
    model: str | None,
    metadata: Path | None,
    prune: bool,
    device: str,
    json_output: bool,
) -> None:
    """Index the recordings under folders, or single files.

    A second run embeds only what is new or has changed.

    \b
    voxdex index ./audio
    voxdex index ./interviews ./tapes --index oral-history --metadata catalogue.csv
    """
    folder = index_folder(index_name)
    known = Metadata(metadata) if metadata else None
    walk = find_recordings(paths)
    if not walk.recordings and not EdgeStore.exists(folder):
        wrong = [f"{path}: there is no such file or folder" for path in walk.absent]
        wrong += [f"{failure.path}: {failure.reason}" for failure in walk.failed]
        raise StoreError("; ".join(wrong or [nothing_found(paths)]) + ".")
    store, encoder = open_index(folder, model, device)
    with store, tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar:
        note(f"Embedding with {encoder.card.name} on {encoder.start()}.")
        report = index_archive(walk, store, encoder, known, prune, lambda progress: show_progress(bar, progress))
        clips = store.count()
    if not (report.recordings or report.removed or report.missing):
        raise StoreError(f"{nothing_found(paths)}.")
    if json_output:
        print_json(asdict(report))
    else:
        print_report(report, folder, clips)
    for damage in report.damaged:
        note(f"Damaged: {damage.path}: {damage.reason}.")
    finish(report.recordings > len(report.failed), [asdict(failure) for failure in report.failed])


@main.command()
@click.argument("caption", required=False)
@click.option("--like", multiple=True, type=RECORDING, metavar="FILE", help="Voices like the one in a recording; repeatable.")
@click.option("--where", multiple=True, metavar="EXPR", help="gender=female, emotion=sad,angry, speaker!=anna, duration<5 ...")
@click.option("-n", "limit", default=10, show_default=True, type=click.IntRange(1, 10_000), help="How many hits.")
@index_option
@as_json
def search(
    caption: str | None, like: tuple[Path, ...], where: tuple[str, ...], limit: int, index_name: str, json_output: bool
) -> None:
    """Find clips by a caption, by example, or both.

    \b
    voxdex search "breathy, sad female voice"
    voxdex search "an angry man" --where "duration>2" -n 20
    voxdex search --like reference.wav
    """
    query = Query(caption, like, [parse_condition(text) for text in where], limit)
    with EdgeStore.open(index_folder(index_name)) as store:
        hits = find(query, store, open_model(store.model))
    if json_output:
        asked = {"caption": caption, "like": [str(path) for path in like], "where": list(where)}
        return print_json({"query": asked, "hits": [asdict(hit) for hit in hits]})
    table = new_table("#", "score", "heard as", "seconds", "recording")
    for hit in hits:
        row = (str(hit.rank), f"{hit.score:.3f}", heard_as(hit.attributes), span(hit.start, hit.end), short_path(hit.recording))
        table.add_row(*row)
    print_table(table) if hits else note("No clip meets these conditions.")


@main.command()
@click.argument("files", nargs=-1, required=True, type=RECORDING, metavar="FILE...")
@click.option("--attribute", "attributes", multiple=True, metavar="NAME", help="gender, emotion, pitch ...; repeatable.")
@click.option("--labels", help='The labels to choose from, as in "angry,happy,sad"; any words will do.')
@click.option("--template", "templates", multiple=True, help='A prompt with {} for the label, as in "a {} voice"; repeatable.')
@model_option
@device_option
@as_json
def classify(
    files: tuple[Path, ...],
    attributes: tuple[str, ...],
    labels: str | None,
    templates: tuple[str, ...],
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Say which label fits a recording best, for attributes that ship or labels of your own.

    \b
    voxdex classify take1.wav take2.wav --attribute gender --attribute emotion
    voxdex classify take1.wav --labels "bored,excited" --template "someone who sounds {}"
    """
    choices = parse_labels(labels)
    if (choices or templates) and len(attributes) > 1:
        raise click.UsageError("--labels and --template go with one --attribute at most.")
    names = attributes or (["label"] if choices else [a.name for a in load_attributes().values() if a.exclusive])
    encoder = open_encoder(model, device)
    questions = [question(encoder, name, choices, templates) for name in names]
    results, failed = each_file(files, lambda path: classify_file(encoder, path, questions))
    answers = [
        {"recording": clip.recording, "start": clip.start, "end": clip.end}
        | {name: {"label": max(scores, key=scores.get), "scores": scores} for name, scores in clip.answers.items()}
        for clip in results
    ]
    if json_output:
        print_json({"results": answers, "failed": failed})
    else:
        table = new_table("attribute", "label", "probability", "runner-up", "seconds", "recording")
        for answer in answers:
            for name in names:
                best, second, *_ = [*sorted(answer[name]["scores"].items(), key=lambda item: -item[1]), ("", 0.0)]
                runner_up = f"{second[0]} {second[1]:.0%}" if second[0] else ""
                where = (span(answer["start"], answer["end"]), short_path(answer["recording"]))
                table.add_row(name, best[0], f"{best[1]:.0%}", runner_up, *where)
        print_table(table)
    finish(bool(results), failed)


@main.command()
@click.argument("files", nargs=-1, type=RECORDING, metavar="[FILE]...")
@click.option("--caption", "captions", multiple=True, metavar="TEXT", help="A caption to embed; repeatable.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .npz file to write.")
@model_option
@device_option
def embed(files: tuple[Path, ...], captions: tuple[str, ...], out: Path, model: str, device: str) -> None:
    """Write embeddings of recordings and captions to a NumPy file.

    \b
    Arrays: speech [clips, dimension] and captions [captions, dimension], float32, unit length;
            clips [clips], "path#start-end" in seconds.

    \b
    voxdex embed take*.wav --caption "a sad woman" --out vectors.npz
    """
    if not files and not captions:
        raise click.UsageError("Give at least one FILE or --caption.")
    if not out.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {out.absolute().parent} to write {out.name} to.")
    encoder = open_encoder(model, device)
    embedded, failed = each_file(files, lambda path: [(path, embed_recording(encoder, path))])
    spans = [f"{path}#{start}-{end}" for path, recording in embedded for start, end in recording.spans]
    empty = np.zeros((0, encoder.card.dimension), dtype=np.float32)
    with out.open("wb") as file:
        np.savez(
            file,
            speech=np.concatenate([empty, *(recording.vectors for _, recording in embedded)]),
            clips=np.array(spans, dtype=str),
            captions=np.stack(list(encoder.embed_text(captions))) if captions else empty,
        )
    note(f"{len(spans)} clips and {len(captions)} captions in {out}.")
    finish(bool(embedded or captions), failed)


@main.command()
@as_json
def models(json_output: bool) -> None:
    """List the models that can be used, with their licences."""
    cards, failed = [], []
    for folder in find_models().values():
        try:
            cards.append((folder, read_card(folder)))
        except ModelError as error:
            failed.append({"path": str(folder), "reason": str(error)})
    if json_output:
        print_json({"models": [asdict(card) | {"space": card.space, "folder": str(folder)} for folder, card in cards]})
        return finish(bool(cards), failed)
    table = new_table("name", "version", "dimension", "MB", "licence", "description")
    for folder, card in cards:
        size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
        table.add_row(folder.name, card.version, str(card.dimension), f"{size:.0f}", card.licence, card.description)
    print_table(table)
    finish(bool(cards), failed)


@main.group()
def evaluate() -> None:
    """Measure a model on labelled recordings."""


manifest_argument = click.argument("manifest", type=FILE, metavar="MANIFEST.csv")
root_option = click.option("--root", type=FOLDER, help="Where the manifest's paths start.  [default: its folder]")


@evaluate.command("classification")
@manifest_argument
@click.option("--attribute", required=True, metavar="COLUMN", help="The manifest's column with the true labels.")
@click.option("--labels", help="Labels to choose from; other rows are left out.  [default: those in the column]")
@click.option("--template", "templates", multiple=True, help="A prompt with {} for the label; repeatable.")
@root_option
@model_option
@device_option
@as_json
def evaluate_classification_command(
    manifest: Path,
    attribute: str,
    labels: str | None,
    templates: tuple[str, ...],
    root: Path | None,
    model: str,
    device: str,
    json_output: bool,
) -> None:
    """Zero-shot classification: unweighted average recall, macro F1, accuracy, confusion."""
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, attribute, root)
    result = evaluate_classification(encoder, embedded, attribute, parse_labels(labels), templates)
    figures = {"UAR": result.uar, "macro_F1": result.macro_f1, "accuracy": result.accuracy}
    clips = int(result.confusion.sum())
    if json_output:
        about = {"attribute": attribute, "clips": clips, "labels": list(result.labels)}
        print_json(about | rounded(figures) | {"confusion": result.confusion.tolist(), "failed": embedded.failed})
    else:
        table = new_table(f"{attribute}: true \\ heard", *result.labels)
        for label, row in zip(result.labels, result.confusion, strict=True):
            table.add_row(label, *map(str, row))
        print_table(table)
        print(f"{clips} clips: " + ", ".join(f"{name} {value:.1f} %" for name, value in figures.items()))
    finish(bool(embedded.rows), embedded.failed)


@evaluate.command("retrieval")
@manifest_argument
@root_option
@model_option
@device_option
@as_json
def evaluate_retrieval_command(manifest: Path, root: Path | None, model: str, device: str, json_output: bool) -> None:
    """Retrieval between recordings and their captions, both ways; captions are de-duplicated, ranks start at 1."""
    encoder = open_encoder(model, device)
    embedded = embed_manifest(encoder, manifest, "caption", root)
    result = evaluate_retrieval(encoder, embedded)
    figures = {
        "speech_to_caption": ranks(result.speech_to_caption),
        "caption_to_speech": ranks(result.caption_to_speech) | {"mAP@10": result.mean_average_precision},
    }
    if json_output:
        sizes = {"clips": result.clips, "captions": result.captions}
        print_json(sizes | {way: rounded(part) for way, part in figures.items()} | {"failed": embedded.failed})
    else:
        table = new_table(f"{result.clips} clips, {result.captions} captions", *figures["caption_to_speech"])
        for way, part in figures.items():
            table.add_row(way.replace("_", " "), *(f"{value:.1f}" for value in part.values()))
        print_table(table)
    finish(bool(embedded.rows), embedded.failed)


def embed_manifest(encoder: Model, manifest: Path, column: str, root: Path | None) -> Embedded:
    rows = read_manifest(manifest, column)
    with tqdm(total=len(rows), unit=" clips", disable=None, dynamic_ncols=True) as bar:
        return embed_rows(encoder, rows, root or manifest.parent, bar.update)


def ranks(result: Retrieval) -> dict[str, float]:
    recalls = {f"R@{k}": result.recall_at(k) for k in (1, 5, 10)}
    return recalls | {"median_rank": result.median_rank, "mean_rank": result.mean_rank}


def nothing_found(paths: Iterable[Path]) -> str:
    return f"There are no recordings under {', '.join(map(str, paths))} (by their names: .wav, .mp3, .mp4 ...)"


def open_encoder(model: str, device: str) -> Model:
    encoder = open_model(model, device)
    note(f"Embedding with {encoder.card.name} on {encoder.start()}.")
    return encoder


def parse_labels(text: str | None) -> list[str]:
    if text is None:
        return []
    labels = [label.strip() for label in text.split(",")]
    if not all(labels):
        raise click.UsageError(f'--labels {text!r} has an empty label; write them as in "angry,happy,sad".')
    return labels


def each_file(files: Sequence[Path], answer: Callable[[Path], Iterable]) -> tuple[list, list[dict[str, str]]]:
    """All answers for all files, and what failed."""
    answers, failed = [], []
    for path in files:
        try:
            answers.extend(answer(path))
        except AudioError as error:
            failed.append({"path": printable(path), "reason": str(error)})
    return answers, failed


def finish(something_done: bool, failed: Sequence[dict[str, str]]) -> None:
    """Names what failed and exits: 0 if nothing did, 2 if nothing could be done, else 1."""
    for failure in failed:
        note(f"Failed: {failure['path']}: {failure['reason']}.")
    if failed:
        sys.exit(1 if something_done else 2)


if __name__ == "__main__":
    main(prog_name="cli.py")
