"""Hits as a table for people, and as files for other programs: tables, playlists, label tracks, sound files; and a player."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import can_print, clip_place, new_table, print_note, print_rows, print_table, reason_of, short_path
from voxdex.commands.output import make_folder, save_rows, write_text
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.remote import on_disk
from voxdex.search.clip_audio import extract_clip
from voxdex.search.editor_formats import MARKERS, TIMELINES, as_timeline, marks_by_recording
from voxdex.search.formats import as_playlist, clip_name, short_name, span, summarise
from voxdex.search.query import Facet, Hit
from voxdex.search.recordings import RecordingHit
from voxdex.search.wave_cues import copy_with_cues

CUES = "bwf"
"""Form of labels that are cue points in copies of wave files."""
MAX_VALUES = 20
"""Values of a facet that are printed."""
PLAYERS = (
    ("mpv", "--no-video", "--really-quiet"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("play", "-q"),
    ("afplay",),
    ("paplay",),
    ("aplay", "-q"),
)
"""Commands that play a sound file quietly, in order of preference."""


def print_hits(hits: Sequence[Hit]) -> None:
    """Print a line for each hit; the columns for terms and spoken text only where there are any."""
    if not hits:
        return
    has_terms, has_spoken = any(hit.matched for hit in hits), any(hit.spoken for hit in hits)
    has_timecode = any(hit.timecode for hit in hits)
    columns = ["matched"] if has_terms else []
    columns += ["spoken at"] if has_spoken else []
    has_transcript = any(hit.spoken and hit.spoken.transcript for hit in hits)
    columns += ["transcript"] if has_transcript else []
    columns += ["timecode"] if has_timecode else []
    columns = ["#", "score", "percentile", *columns, "predicted", "clip"]
    rows = []
    marks = {True: "✓", False: "✗", None: "?"} if can_print("✓✗") else {True: "yes", False: "no", None: "?"}
    for hit in hits:
        cells = [", ".join(f"{term} {marks[matched]}" for term, matched in hit.matched.items())] if has_terms else []
        cells += [_spoken_at(hit)] if has_spoken else []
        cells += [(hit.spoken and hit.spoken.transcript) or ""] if has_transcript else []
        cells += [hit.timecode or ""] if has_timecode else []
        percentile = "" if hit.percentile is None else f"{hit.percentile:.1f} %"
        duplicates = f" (+{hit.duplicates} alike)" if hit.duplicates else ""
        clip = clip_place(hit.recording, hit.start, hit.end) + duplicates
        rows.append([str(hit.rank), f"{hit.score:.3f}", percentile, *cells, summarise(hit.attributes), clip])
    print_rows(columns, rows, text=["predicted", "matched", "transcript"], paths=["clip"], optional=["percentile", "predicted"])


def print_recordings(hits: Sequence[RecordingHit]) -> None:
    """Print a line for each recording."""
    rows = []
    for hit in hits:
        matched = "" if hit.matched is None else f"{hit.matched:.0%}"
        best = f"{span(hit.best['start'], hit.best['end'])} s ({hit.best['score']:.3f})"
        rows.append(
            [str(hit.rank), f"{hit.score:.3f}", matched, f"{hit.speech_seconds / 60:.1f} min", best, short_path(hit.recording)]
        )
    columns = ["#", "score", "matched", "speech", "best clip", "recording"]
    print_rows(columns, rows, text=[], paths=["recording"], optional=["best clip", "speech"])


def print_facet(facet: Facet) -> None:
    """Print the most frequent values of a field."""
    table = new_table(facet.field, "hits", "all")
    values = sorted(facet.total, key=lambda value: (-facet.hits.get(value, 0), -facet.total[value], value))
    for value in values[:MAX_VALUES]:
        table.add_row(value, str(facet.hits.get(value, 0)), str(facet.total[value]))
    print_table(table)
    if len(values) > MAX_VALUES:
        print_note(f"{len(values) - MAX_VALUES} more values of {facet.field}; --json has all.")


def save_hits(hits: Sequence[Hit], file: Path, *, frame_rate: float | None = None) -> None:
    """Write hits as CSV (.csv), JSON Lines (.jsonl), a playlist (.m3u8), or a timeline (see TIMELINES).

    Raises:
        EditorFormatError: see as_timeline.
    """
    suffix = file.suffix.lower()
    if suffix == ".m3u8":
        text = as_playlist(hits, hits[0].rank if hits else 1)
    elif suffix in TIMELINES:
        text = as_timeline(hits, suffix, name=file.stem, rate=frame_rate)
    else:
        return save_rows([asdict(hit) for hit in hits], file)
    write_text(file, text)
    return print_note(f"{len(hits)} hits in {file}.")


def save_labels(hits: Sequence[Hit], folder: Path, form: str) -> list[dict[str, str]]:
    """Write the hits of each recording into a file of their own; return the failures. form: of MARKERS, or CUES."""
    suffix, write = MARKERS.get(form, (".wav", None))
    marks, failed = marks_by_recording(hits), []
    make_folder(folder)
    taken: set[str] = set()
    for recording, of_recording in marks.items():
        file = folder / f"{_unused(short_name(recording), taken)}{suffix}"
        if write:
            write_text(file, write(of_recording))
            continue
        try:
            with on_disk(recording) as local:
                copy_with_cues(local, of_recording, file)
        except (AudioError, OSError) as error:
            failed.append({"path": recording, "reason": str(error) if isinstance(error, AudioError) else reason_of(error)})
    print_note(f"Labels of {len(marks) - len(failed)} recordings in {folder}.")
    return failed


def copy_hits(hits: Sequence[Hit], folder: Path) -> list[dict[str, str]]:
    """Cut the clips out of their recordings, as 01 NAME 3.5-7.2.wav; return the failures."""
    make_folder(folder)
    failed = []
    for hit in tqdm(hits, unit=" clips", disable=None):
        try:
            _extract(hit, folder, clip_name(hit.rank, hit))
        except AudioError as error:
            failed.append({"path": hit.recording, "reason": str(error)})
    print_note(f"{len(hits) - len(failed)} clips in {folder}.")
    return failed


def play_hits(hits: Sequence[Hit]) -> list[dict[str, str]]:
    """Play the clips with the first player installed; return the failures."""
    player = next((command for command in PLAYERS if shutil.which(command[0])), None)
    if player is None:
        names = ", ".join(command[0] for command in PLAYERS)
        raise click.ClickException(f"There is no player on this machine: install one of {names}, or use --copy-to FOLDER.")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for hit in hits:
            try:
                clip = _extract(hit, Path(folder), str(hit.rank))
            except AudioError as error:
                failed.append({"path": hit.recording, "reason": str(error)})
                continue
            print_note(f"{hit.rank}: {hit.recording}, {hit.start:g} to {hit.end:g} s")
            subprocess.run([*player, str(clip)], check=False)
    return failed


def _extract(hit: Hit, folder: Path, name: str) -> Path:
    return extract_clip(hit.recording, hit.start, hit.end, folder=folder, name=name, track=hit.track, channel=hit.channel)


def _spoken_at(hit: Hit) -> str:
    return f"{span(hit.spoken.start, hit.spoken.end)} s ({hit.spoken.match:.2f})" if hit.spoken else ""


def _unused(name: str, taken: set[str]) -> str:
    """Return the name, with a number after it if it is taken."""
    names = chain([name], (f"{name} {number}" for number in count(2)))
    unused = next(each for each in names if each not in taken)
    taken.add(unused)
    return unused
