"""Commands that answer about recordings that need not be indexed: classify, embed."""

from pathlib import Path

import click
import numpy as np

from commands.common import (
    RECORDING,
    as_json,
    device_option,
    each_file,
    finish,
    model_option,
    open_encoder,
    parse_labels,
)
from commands.terminal import new_table, note, print_json, print_table, short_path, span
from encoders.zero_shot import heard_attributes
from search import classify_file, question
from search.speech import embed_recording


@click.command()
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
    encoder = open_encoder(model, device)
    names = attributes or (["label"] if choices else [attribute.name for attribute in heard_attributes(encoder)])
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


@click.command()
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
