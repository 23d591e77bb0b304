"""The command `embed`: embeddings as a NumPy file."""

from pathlib import Path

import click
import numpy as np

from voxdex.commands.console import print_note
from voxdex.commands.options import (
    RECORDING,
    check_folder_of,
    device_option,
    each_file,
    exit_with_failures,
    model_option,
    no_vad_option,
    open_encoder,
)
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.paths import replaced
from voxdex.search.embed import embed_recording
from voxdex.search.scoring import caption_vector


@click.command()
@click.argument("files", nargs=-1, type=RECORDING, metavar="[FILE]...")
@click.option("--caption", "captions", multiple=True, metavar="TEXT", help="A caption to embed; repeatable.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The .npz file to write.")
@no_vad_option
@model_option
@device_option
def embed(files: tuple[Location, ...], captions: tuple[str, ...], out: Path, no_vad: bool, model: str, device: str) -> None:
    """Write embeddings of recordings and captions to a file.

    \b
    Arrays of the .npz file:
      speech    float32 [clips, dimension], of unit length
      captions  float32 [captions, dimension], of unit length
      clips     text [clips], "path#start-end" in seconds

    \b
    voxdex embed take*.wav --caption "a sad woman" --out vectors.npz
    """
    if not files and not captions:
        raise click.UsageError("Give at least one FILE or --caption.")
    check_folder_of(out)
    encoder = open_encoder(model, device)
    caption_vectors = [caption_vector(text, encoder) for text in captions]
    embedded, failed, without_speech = each_file(files, lambda path: [(path, embed_recording(encoder, path, vad=not no_vad))])
    spans = [f"{path}#{start}-{end}" for path, recording in embedded for start, end in recording.spans]
    empty = np.zeros((0, encoder.card.dimension), dtype=np.float32)
    with replaced(out) as new, new.open("wb") as file:
        np.savez(
            file,
            speech=np.concatenate([empty, *(recording.vectors for _, recording in embedded)]),
            clips=np.array(spans, dtype=str),
            captions=np.stack(caption_vectors) if captions else empty,
        )
    print_note(f"{len(spans)} clips and {len(captions)} captions in {out}.")
    exit_with_failures(bool(embedded or captions), failed, without_speech)
