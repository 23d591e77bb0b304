"""The command `watch`: keeps an index up to date with folders, as recordings come in."""

from datetime import datetime
from pathlib import Path

import click

from voxdex.commands.console import print_note
from voxdex.commands.index import known_roots, run_index, speakers_option, vad_option
from voxdex.commands.options import FILE, RECORDING, at_index, device_option
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.packages import missing_package
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.report import IndexReport
from voxdex.indexer.store.base import StoreError


@click.command()
@click.argument("paths", nargs=-1, type=RECORDING, metavar="[FOLDER]...")
@at_index(writes=True)
@click.option("--model", metavar="NAME_OR_FOLDER", help="Model of a new index; see `models`.  [default: mini, or VOXDEX_MODEL]")
@click.option("--metadata", type=FILE, help="Metadata of the recordings, which is read again before each run; see `index`.")
@click.option("--phonetic", is_flag=True, help="Store phonetic vectors, for `search --says`; later runs store them too.")
@speakers_option
@vad_option
@click.option(
    "--settle", default=10.0, show_default=True, metavar="SECONDS", type=click.FloatRange(0.1, 3600),
    help="Time for which a recording must be unchanged before it is read.",
)  # fmt: skip
@click.option(
    "--every", default=600.0, show_default=True, metavar="SECONDS", type=click.FloatRange(0.1, 86_400),
    help="Time after which folders are scanned even if nothing was reported, as on network drives.",
)  # fmt: skip
@device_option
def watch(
    paths: tuple[Location, ...],
    location: IndexLocation,
    model: str | None,
    metadata: Path | None,
    phonetic: bool,
    speakers: bool,
    no_vad: bool,
    settle: float,
    every: float,
    device: str,
) -> None:
    """Index folders whenever recordings come in or change, until Ctrl-C.

    Recordings that are still being copied are left for later. After a restart the index is brought up to date first. Nothing is
    dropped from the index: `index --prune` does that.

    \b
    voxdex watch ./audio
    voxdex watch --index oral-history
    """
    try:
        from voxdex.indexer.watch import FolderWatch, scan_at_rest
    except ModuleNotFoundError as error:
        raise StoreError(f"{missing_package('Watching folders', error.name, 'watch')}.") from error
    paths = paths or known_roots(location)
    with FolderWatch(paths) as folders:
        print_note(f"Watching {', '.join(map(str, paths))}. Ctrl-C ends it.")
        while True:
            scan, changing = scan_at_rest(paths, settle)
            try:
                if scan.recordings or location.exists():
                    rows = read_metadata(metadata) if metadata else None
                    report, _ = run_index(
                        scan, location, rows,
                        model=model, device=device, phonetic=phonetic, speakers=speakers, no_vad=no_vad,
                    )  # fmt: skip
                    print_changes(report)
            except StoreError as error:  # another run is writing the index, a server is away, or the disk is full
                print_note(f"{error.sentence} Trying again.")
                changing += 1
            if not changing:
                folders.wait(every)


def print_changes(report: IndexReport) -> None:
    """Print a line about a run that changed something, and one for each new failure."""
    if report.indexed or report.damaged:
        now = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        print_note(f"{now}  {report.indexed} recordings indexed, {report.clips} clips, {len(report.failed)} failed.")
        for failure in (*report.failed, *report.damaged):
            print_note(f"Failed or damaged: {failure.path}: {failure.reason}.")
