"""Commands that answer about recordings that need not be indexed: caption, embed."""

from pathlib import Path

import click
import numpy as np

from voxdex.commands.console import new_table, print_json, print_note, print_table, short_path
from voxdex.commands.options import (
    FILE,
    RECORDING,
    as_json,
    check_folder_of,
    device_option,
    each_file,
    exit_with_failures,
    model_option,
    open_encoder,
    recordings_in,
)
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.zero_shot import AttributeTagger
from voxdex.search.caption import CaptionBank, caption_file
from voxdex.search.embed import embed_recording
from voxdex.search.formats import span
from voxdex.search.scoring import caption_vectors


@click.command()
@click.argument("files", nargs=-1, required=True, type=RECORDING, metavar="FILE_OR_FOLDER...")
@click.option("--captions", "bank", type=FILE, help="The captions to choose from, one a line.  [default: a bank that ships]")
@click.option("-n", "limit", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many captions.")
@click.option("--compose", "composed", is_flag=True, help="Put one together from what is heard, beside them.")
@model_option
@device_option
@as_json
def caption(
    files: tuple[Location, ...], bank: Path | None, limit: int, composed: bool, model: str, device: str, json_output: bool
) -> None:
    """Find the captions that fit recordings best, clip by clip.

    \b
    voxdex caption take1.wav
    voxdex caption ./takes --captions styles.txt -n 1
    voxdex caption interview.mp3 --compose
    """
    encoder = open_encoder(model, device)
    captions = CaptionBank(encoder, bank)
    tagger = AttributeTagger(encoder) if composed else None

    found, unread = recordings_in(files)
    results, failed = each_file(found, lambda path: caption_file(encoder, path, captions, limit, tagger))
    if json_output:
        print_json({"results": results, "failed": unread + failed})
    else:
        table = new_table("score", "caption", "seconds", "recording")
        for clip in results:
            where = (span(clip["start"], clip["end"]), short_path(clip["recording"]))
            if tagger:
                table.add_row("", clip["composed"], *where)
            for fitting in clip["captions"]:
                table.add_row(f"{fitting['score']:.3f}", fitting["caption"], *where)
        print_table(table)
    exit_with_failures(bool(results), unread + failed)


@click.command()
@click.argument("files", nargs=-1, type=RECORDING, metavar="[FILE]...")
@click.option("--caption", "captions", multiple=True, metavar="TEXT", help="A caption to embed; repeatable.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .npz file to write.")
@model_option
@device_option
def embed(files: tuple[Location, ...], captions: tuple[str, ...], out: Path, model: str, device: str) -> None:
    """Write embeddings of recordings and captions to a NumPy file.

    \b
    Arrays: speech [clips, dimension] and captions [captions, dimension], float32, unit length;
            clips [clips], "path#start-end" in seconds.

    \b
    voxdex embed take*.wav --caption "a sad woman" --out vectors.npz
    """
    if not files and not captions:
        raise click.UsageError("Give at least one FILE or --caption.")
    check_folder_of(out)
    encoder = open_encoder(model, device)
    caption_rows = caption_vectors(captions, encoder)
    embedded, failed = each_file(files, lambda path: [(path, embed_recording(encoder, path))])
    spans = [f"{path}#{start}-{end}" for path, recording in embedded for start, end in recording.spans]
    empty = np.zeros((0, encoder.card.dimension), dtype=np.float32)
    with out.open("wb") as file:
        np.savez(
            file,
            speech=np.concatenate([empty, *(recording.vectors for _, recording in embedded)]),
            clips=np.array(spans, dtype=str),
            captions=caption_rows,
        )
    print_note(f"{len(spans)} clips and {len(captions)} captions in {out}.")
    exit_with_failures(bool(embedded or captions), failed)
