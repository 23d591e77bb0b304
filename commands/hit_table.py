"""Hits for other programs: tables, playlists, label files, sound files, and a player."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import print_note
from voxdex.commands.output import make_folder, save_rows, write_text
from voxdex.encoders.audio.reader import AudioError
from voxdex.search.clip_audio import extract_clips
from voxdex.search.formats import as_labels, as_playlist, clip_name, short_name
from voxdex.search.query import Hit

PLAYERS = (
    ("mpv", "--no-video", "--really-quiet"),
    ("ffplay", "-nodisp", "-autoexit", "-loglevel", "error"),
    ("play", "-q"),
    ("afplay",),
    ("paplay",),
    ("aplay", "-q"),
)
"""Programs that play a sound file, and how they do so quietly."""


def save_hits(hits: Sequence[Hit], file: Path) -> None:
    """Writes hits as a table (.csv), a line of JSON each (.jsonl), or a playlist (.m3u8)."""
    if file.suffix.lower() == ".m3u8":
        write_text(file, as_playlist(hits, hits[0].rank if hits else 1))
        print_note(f"{len(hits)} hits in {file}.")
    else:
        save_rows([asdict(hit) for hit in hits], file)


def save_labels(hits: Sequence[Hit], folder: Path) -> None:
    """Writes label tracks for Audacity, a file for each recording that has hits."""
    make_folder(folder)
    taken: set[str] = set()
    tracks = as_labels(hits)
    for recording, labels in tracks.items():
        write_text(folder / f"{_unused(short_name(recording), taken)}.txt", labels)
    print_note(f"Labels of {len(tracks)} recordings in {folder}.")


def copy_hits(hits: Sequence[Hit], folder: Path) -> list[dict[str, str]]:
    """Cuts the clips out of their recordings, as 01 NAME 3.5-7.2.wav; what failed."""
    make_folder(folder)
    failed = []
    for hit in tqdm(hits, unit=" clips", disable=None):
        try:
            extract_clips(hit.recording, hit.start, hit.end, folder, clip_name(hit.rank, hit))
        except AudioError as error:
            failed.append({"path": hit.recording, "reason": str(error)})
    print_note(f"{len(hits) - len(failed)} clips in {folder}.")
    return failed


def play_hits(hits: Sequence[Hit]) -> list[dict[str, str]]:
    """Plays the clips, with the first player that this machine has; what failed."""
    player = next((command for command in PLAYERS if shutil.which(command[0])), None)
    if player is None:
        names = ", ".join(command[0] for command in PLAYERS)
        raise click.ClickException(f"There is no player on this machine: install one of {names}, or take --copy-to FOLDER.")
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for hit in hits:
            try:
                clip = extract_clips(hit.recording, hit.start, hit.end, Path(folder), str(hit.rank))
            except AudioError as error:
                failed.append({"path": hit.recording, "reason": str(error)})
                continue
            print_note(f"{hit.rank}: {hit.recording}, {hit.start:g} to {hit.end:g} s")
            subprocess.run([*player, str(clip)], check=False)
    return failed


def _unused(name: str, taken: set[str]) -> str:
    """The name, or with a number behind it where it is taken."""
    names = chain([name], (f"{name} {number}" for number in count(2)))
    found = next(each for each in names if each not in taken)
    taken.add(found)
    return found
