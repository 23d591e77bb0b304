"""The command `report`: a row for each recording of an index, as a table for a catalogue or as sidecars."""

from collections import Counter
from pathlib import Path

import click

from voxdex.commands.console import print_json, print_note
from voxdex.commands.options import as_json, at_index, check_folder_of, exit_with_failures
from voxdex.commands.output import RowsFile, save_rows
from voxdex.encoders.tables import write_excel
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.recordings import recording_rows, write_sidecars


@click.command()
@click.argument("out", required=False, type=RowsFile(".xlsx"), metavar="[OUT.xlsx|OUT.csv|OUT.jsonl]")
@click.option(
    "--share", "shares", multiple=True, metavar="ATTRIBUTE",
    help="Add the share of the speech of each label, such as gender; repeatable.",
)  # fmt: skip
@click.option("--sidecars", is_flag=True, help="Write NAME.voxdex.json beside each recording, with its row and its clips.")
@at_index
@as_json
def report(out: Path | None, shares: tuple[str, ...], sidecars: bool, location: IndexLocation, json_output: bool) -> None:
    """Write a table with a row for each recording of an index.

    A row has the length, the speech, the most frequent predicted labels, measured values, faults, metadata and tags. Recordings
    are never changed.

    \b
    voxdex report archive.xlsx --share gender
    voxdex report archive.csv --sidecars
    """
    if out is None and not sidecars and not json_output:
        raise click.UsageError("Give a file to write, or --sidecars or --json.")
    if out:
        check_folder_of(out)
    with location.read(for_long=True) as store:
        rows = list(recording_rows(store, shares=shares))
        failed = write_sidecars(store, rows) if sidecars else []
    if json_output:
        print_json({"recordings": rows, "failed": failed})
    if out and out.suffix.lower() == ".xlsx":
        write_excel(out, rows)
        print_note(f"{len(rows)} rows in {out}.")
    elif out:
        save_rows(rows, out)
    states = Counter(row["status"] for row in rows)
    print_note(f"{len(rows)} recordings: {', '.join(f'{count} {state}' for state, count in states.most_common()) or 'none'}.")
    exit_with_failures(bool(rows), failed)
