"""The command `timeline`: the clips of a recording in the order of time."""

from dataclasses import asdict

import click

from voxdex.commands.console import print_json, print_note, print_rows
from voxdex.commands.options import RECORDING, as_json, at_index, width_option
from voxdex.encoders.audio.remote import Location
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.scan import absolute
from voxdex.search.formats import span, summarise
from voxdex.search.recordings import clips_of_recording


@click.command()
@click.argument("recording", type=RECORDING, metavar="RECORDING")
@at_index
@as_json
@width_option
def timeline(recording: Location, location: IndexLocation, json_output: bool) -> None:
    """Print the clips of an indexed recording in the order of time.

    \b
    voxdex timeline audio/tape.wav
    voxdex timeline audio/tape.wav --json
    """
    with location.read() as store:
        clips = clips_of_recording(absolute(recording), store)
    if json_output:
        return print_json({"recording": absolute(recording), "clips": list(map(asdict, clips))})
    has_tracks, has_timecode = any(clip.track or clip.channel for clip in clips), any(clip.timecode for clip in clips)
    columns = ["clip", *(["track"] if has_tracks else []), *(["timecode"] if has_timecode else []), "predicted"]
    rows = []
    for clip in clips:
        track = [f"{clip.track or ''}{f':{clip.channel}' if clip.channel else ''}"] if has_tracks else []
        rows.append(
            [span(clip.start, clip.end), *track, *([clip.timecode or ""] if has_timecode else []), summarise(clip.attributes)]
        )
    print_rows(columns, rows, text=["predicted"], paths=[])
    return print_note(f"{len(clips)} clips.")
