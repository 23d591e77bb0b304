"""The command `caption`: captions that describe recordings."""

from pathlib import Path

import click

from voxdex.commands.console import print_json, print_rows, short_path
from voxdex.commands.options import (
    FILE,
    RECORDING,
    as_json,
    device_option,
    each_file,
    exit_with_failures,
    model_option,
    no_vad_option,
    open_encoder,
    recordings_in,
    width_option,
)
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.zero_shot import AttributeTagger
from voxdex.search.caption import CaptionBank, caption_file
from voxdex.search.formats import span


@click.command()
@click.argument("files", nargs=-1, required=True, type=RECORDING, metavar="FILE_OR_FOLDER...")
@click.option(
    "--captions",
    "bank",
    type=FILE,
    help="A text file of captions to choose from, one a line.  [default: the captions that ship]",
)
@click.option(
    "-n", "limit", default=5, show_default=True, type=click.IntRange(1, 1000), help="Number of captions for each clip."
)
@click.option("--compose", "composed", is_flag=True, help="Also compose a caption from the predicted labels.")
@no_vad_option
@model_option
@device_option
@as_json
@width_option
def caption(
    files: tuple[Location, ...],
    bank: Path | None,
    limit: int,
    composed: bool,
    no_vad: bool,
    model: str,
    device: str,
    json_output: bool,
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

    recordings, unlisted = recordings_in(files)
    results, unread, without_speech = each_file(
        recordings, lambda path: caption_file(encoder, path, captions, limit, tagger, vad=not no_vad)
    )
    failed = unlisted + unread
    if json_output:
        print_json({"results": results, "failed": failed, "without_speech": without_speech})
    else:
        rows = []
        for clip in results:
            location = (span(clip["start"], clip["end"]), short_path(clip["recording"]))
            if tagger:
                rows.append(["", clip["composed"], *location])
            rows += [[f"{scored['score']:.3f}", scored["caption"], *location] for scored in clip["captions"]]
        print_rows(["score", "caption", "seconds", "recording"], rows, text=["caption"], paths=["recording"])
    exit_with_failures(bool(results), failed, without_speech)
