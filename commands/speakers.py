"""The command `speakers`: who speaks in the recordings of an index, and what they are called."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from voxdex.commands.console import print_json, print_note, print_rows
from voxdex.commands.options import as_json, at_index
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.speakers import (
    NO_SPEAKERS,
    Speaker,
    SpeakerError,
    list_speakers,
    merge_speakers,
    name_speaker,
    remove_speakers,
    split_speaker,
)
from voxdex.indexer.store.base import Store


@click.group()
def speakers() -> None:
    """List, name, merge, split and remove the speakers that `index --speakers` has found."""


@speakers.command("list")
@at_index
@as_json
def list_(location: IndexLocation, json_output: bool) -> None:
    """List who speaks in an index, those who speak longest first.

    A speaker is known by a number or, once it is given, by a name, in searches as well.

    \b
    voxdex speakers list
    voxdex search "calm" --where speaker=Anna
    """
    with speaker_space(location) as store:
        found = list_speakers(store)
    if json_output:
        return print_json({"speakers": [speaker.document() for speaker in found]})
    rows = [
        [str(each.number), each.name, f"{each.seconds / 60:.1f} min", str(each.clips), str(each.recordings)] for each in found
    ]
    return print_rows(["number", "name", "speech", "clips", "recordings"], rows, text=["name"], paths=[])


@speakers.command("name")
@click.argument("speaker")
@click.argument("name")
@at_index(writes=True)
def name_(speaker: str, name: str, location: IndexLocation) -> None:
    """Give a speaker a name, also for the recordings of later runs.

    \b
    voxdex speakers name 1 "Anna"
    """
    with location.open() as index, speaker_space(location, writes=True) as store:
        named = name_speaker(index, store, speaker, name)
    print_note(f"Speaker {named.number} is {named.name}: {described(named)}.")


@speakers.command("merge")
@click.argument("speaker", nargs=-1, required=True)
@at_index(writes=True)
def merge(speaker: tuple[str, ...], location: IndexLocation) -> None:
    """Make one speaker of several who are the same person; the first number and name stay.

    \b
    voxdex speakers merge Anna 2
    """
    with location.open() as index, speaker_space(location, writes=True) as store:
        merged = merge_speakers(index, store, speaker)
    print_note(f"{merged.label}: {described(merged)}.")


@speakers.command("split")
@click.argument("speaker")
@at_index(writes=True)
def split(speaker: str, location: IndexLocation) -> None:
    """Make two speakers of one who are two people; who speaks longer keeps the number and the name.

    \b
    voxdex speakers split 1
    """
    with location.open() as index, speaker_space(location, writes=True) as store:
        parts = split_speaker(index, store, speaker)
    for part in parts:
        print_note(f"{part.label}: {described(part)}.")


@speakers.command("remove")
@at_index(writes=True)
def remove(location: IndexLocation) -> None:
    """Delete all speaker vectors, speakers and names; recordings and the other vectors stay.

    \b
    voxdex speakers remove
    """
    with location.open() as index:
        if not location.speakers.exists():
            raise SpeakerError(NO_SPEAKERS)
        remove_speakers(index, location.speakers)
    print_note("All speakers are removed. Later runs do not look for them, unless with --speakers.")


@contextmanager
def speaker_space(location: IndexLocation, *, writes: bool = False) -> Iterator[Store]:
    """Open the speakers of an index.

    Raises:
        SpeakerError: it has none.
    """
    if not location.speakers.exists():
        raise SpeakerError(NO_SPEAKERS)
    with location.speakers.open() if writes else location.speakers.read() as store:
        yield store


def described(speaker: Speaker) -> str:
    return f"{speaker.seconds / 60:.1f} min in {speaker.clips} clips of {speaker.recordings} recordings"
