"""Commands about an archive: index."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from commands.common import FILE, RECORDING, as_json, device_option, finish, index_option, tell_licence
from commands.terminal import note, print_json, print_report, show_progress
from indexer import EdgeStore, StoreError, find_recordings, index_folder, open_index, read_metadata
from indexer import index as index_archive


@click.command()
@click.argument("paths", nargs=-1, required=True, type=RECORDING, metavar="PATH...")
@index_option
@click.option(
    "--model", metavar="NAME_OR_FOLDER", help="The model for a new index; see `models`.  [default: mini, or VOXDEX_MODEL]"
)
@click.option("--metadata", type=FILE, help="What you know already: .csv, .jsonl or .xlsx with a column `path`.")
@click.option("--prune", is_flag=True, help="Drop recordings under PATH that no longer exist.")
@device_option
@as_json
def index(
    paths: tuple[Path, ...],
    index_name: str,
    model: str | None,
    metadata: Path | None,
    prune: bool,
    device: str,
    json_output: bool,
) -> None:
    """Index the recordings under folders, or single files.

    A second run embeds only what is new or has changed.

    \b
    voxdex index ./audio
    voxdex index ./interviews ./tapes --index oral-history --metadata catalogue.csv
    """
    folder = index_folder(index_name)
    known = read_metadata(metadata) if metadata else None
    walk = find_recordings(paths)
    if not walk.recordings and not EdgeStore.exists(folder):
        wrong = [f"{path}: there is no such file or folder" for path in walk.absent]
        wrong += [f"{failure.path}: {failure.reason}" for failure in walk.failed]
        raise StoreError("; ".join(wrong or [nothing_found(paths)]) + ".")
    store, encoder = open_index(folder, model, device)
    with store, tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar:
        tell_licence(encoder.card)
        note(f"Embedding with {encoder.card.name} on {encoder.start()}.")
        report = index_archive(walk, store, encoder, known, prune, lambda progress: show_progress(bar, progress))
        clips = store.count()
    if not (report.recordings or report.removed or report.missing):
        raise StoreError(f"{nothing_found(paths)}.")
    if json_output:
        print_json(asdict(report))
    else:
        print_report(report, folder, clips)
    for damage in report.damaged:
        note(f"Damaged: {damage.path}: {damage.reason}.")
    finish(report.recordings > len(report.failed), [asdict(failure) for failure in report.failed])


def nothing_found(paths: Iterable[Path]) -> str:
    return f"There are no recordings under {', '.join(map(str, paths))} (by their names: .wav, .mp3, .mp4 ...)"
