"""Commands about an archive and its index: index, reindex, status, export-vectors."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import click
from tqdm import tqdm

from commands.common import (
    FILE,
    RECORDING,
    as_json,
    at_index,
    device_option,
    finish,
    index_option,
    introduce,
    server_options,
)
from commands.terminal import Waiting, note, patient_interrupts, print_json, print_lines, print_report, show_progress
from encoders import Model, open_model
from encoders.remote import Location
from indexer import (
    Folder,
    IndexReport,
    Place,
    Progress,
    Server,
    StoreError,
    Walk,
    copy_index,
    export_vectors,
    find_recordings,
    foresee,
    index_folder,
    open_index,
    open_listener,
    overview,
    read_metadata,
    rebuild,
    share,
    spoken,
)
from indexer import index as index_archive
from indexer.cluster import read_on_ray
from indexer.embedding import read_here
from indexer.opening import PATIENCE_WRITING
from indexer.running import announce


class Pruning(click.Command):
    """A command whose option --prune may stand alone: it is not followed by a value, as a path may stand behind it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--prune=gone" if argument == "--prune" else argument for argument in args])


def prune_option(text: str) -> Callable:
    return click.option("--prune", type=click.Choice(["gone", "all"]), metavar="[=all]", help=text)


class Share(click.ParamType):
    """K/N, such as 3/8."""

    name = "share"

    def convert(self, value: str | tuple, param: click.Parameter | None, context: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        part, _, parts = value.partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            self.fail(f"{value!r} is not a share such as 3/8, from 1/8 to 8/8.", param, context)
        return int(part), int(parts)


everything_option = click.option(
    "--everything", is_flag=True, help="Make clips of all sound, not of speech alone: screams, breaths, effects."
)


@click.command(cls=Pruning)
@click.argument("paths", nargs=-1, required=True, type=RECORDING, metavar="PATH...")
@at_index(writes=True)
@click.option(
    "--model", metavar="NAME_OR_FOLDER", help="The model for a new index; see `models`.  [default: mini, or VOXDEX_MODEL]"
)
@click.option("--metadata", type=FILE, help="What you know already: .csv, .jsonl or .xlsx with a column `path`.")
@prune_option("Drop recordings under PATH that no longer exist; =all even if that is more than half of them.")
@click.option("--retry-failed", is_flag=True, help="Try again what could not be read before, though it has not changed.")
@everything_option
@click.option("--says", is_flag=True, help="Hold what is said as well, for `search --says`; once is enough.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--shard", type=Share(), metavar="K/N", help="Only the K-th of N shares, as one of N machines.")
@click.option(
    "--engine",
    type=click.Choice(["here", "ray"]),
    default="here",
    show_default=True,
    help="What reads and embeds.",
)
@click.option(
    "--address", default="auto", show_default=True, help="Of the Ray cluster; local starts one on this machine alone."
)
@click.option("--profile", is_flag=True, help="Say where the time went.")
@device_option
@as_json
def index(
    paths: tuple[Location, ...],
    place: Place,
    model: str | None,
    metadata: Path | None,
    prune: str | None,
    retry_failed: bool,
    everything: bool,
    says: bool,
    dry_run: bool,
    shard: tuple[int, int] | None,
    engine: str,
    address: str,
    profile: bool,
    device: str,
    json_output: bool,
) -> None:
    """Index the recordings under folders, or single files, of this machine or at URLs (s3://, gs://, https://).

    A second run embeds only what is new or has changed.

    \b
    voxdex index ./audio
    voxdex index ./interviews ./tapes --index oral-history --metadata catalogue.csv
    """
    known = read_metadata(metadata) if metadata else None
    walk = find_recordings(paths)
    if shard:
        walk = share(walk, *shard)
    if not walk.recordings and not place.exists():
        wrong = [f"{failure.path}: {failure.reason}" for failure in (*walk.absent, *walk.failed)]
        raise StoreError("; ".join(wrong or [nothing_found(paths)]) + ".")
    if dry_run:
        return show_foresight(walk, place, prune, says, retry_failed, json_output)
    store, encoder = open_index(place, model, device, spoken() if says else None)
    with store, following(encoder, place) as on_progress:
        listener = open_listener(store, device)
        read = partial(read_on_ray, address=address) if engine == "ray" else read_here
        report = index_archive(
            walk, store, encoder, known,
            prune=prune is not None, everything=everything, on_progress=on_progress, listener=listener, read=read,
            prune_all=prune == "all", retry_failed=retry_failed,
        )  # fmt: skip
        clips = store.count() if report.indexed or report.removed else None
    if not (report.recordings or report.removed or report.missing):
        raise StoreError(f"{nothing_found(paths)}.")
    end(report, place, clips, profile, json_output)


@contextmanager
def following(encoder: Model, place: Place) -> Iterator[Callable[[Progress], None]]:
    """What `index` is to call after each batch: it shows how far things are, and stops where Ctrl-C was pressed."""
    introduce_once = cache(introduce)
    tell = partial(announce, folder=place.path) if isinstance(place, Folder) else lambda progress: None
    tell(Progress(0, 0, 0, 0.0))
    with tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar, patient_interrupts() as stop_if_asked:

        def on_progress(progress: Progress) -> None:
            if progress.audio_seconds:
                introduce_once(encoder)
            show_progress(bar, progress)
            tell(progress)
            stop_if_asked()

        try:
            yield on_progress
        finally:
            tell(None)


def nothing_found(paths: Iterable[Location]) -> str:
    return f"There are no recordings under {', '.join(map(str, paths))} (by their names: .wav, .mp3, .mp4 ...)"


def show_foresight(walk: Walk, place: Place, prune: str | None, says: bool, retry_failed: bool, json_output: bool) -> None:
    if place.exists():
        with place.open() as store:
            found = foresee(walk, store, spoken().space if says and not store.says else "", retry_failed)
    else:
        found = foresee(walk, None)
    if json_output:
        print_json(asdict(found))
    else:
        lines = {
            "would embed": f"{len(found.new)} new, {len(found.changed)} changed",
            "would leave": f"{len(found.unchanged)} unchanged, {len(found.known)} moved or copied",
            "gone": f"{len(found.gone)} ({'would be dropped' if prune else 'kept without --prune'})",
        }
        print_lines(lines)
    finish(True, [asdict(failure) for failure in found.failed])


def end(report: IndexReport, place: Place, clips: int | None, profile: bool, json_output: bool) -> None:
    """Shows what a run did, and exits as it must."""
    if json_output:
        print_json(asdict(report))
    else:
        print_report(report, place, clips, profile)
    for damage in report.damaged:
        note(f"Damaged: {damage.path}: {damage.reason}.")
    finish(report.recordings > len(report.failed), [asdict(failure) for failure in report.failed])


@click.command(cls=Pruning)
@at_index(writes=True)
@click.option("--model", metavar="NAME_OR_FOLDER", help="The model to embed with; see `models`.  [default: the index's own]")
@click.option("--says", is_flag=True, help="Hold what is said as well, for `search --says`.")
@prune_option("Leave out recordings that no longer exist; =all even if that is more than half of them.")
@click.option("--drop-failed", is_flag=True, help="Leave out recordings that can no longer be read, instead of refusing.")
@everything_option
@device_option
@as_json
def reindex(
    place: Place,
    model: str | None,
    says: bool,
    prune: str | None,
    drop_failed: bool,
    everything: bool,
    device: str,
    json_output: bool,
) -> None:
    """Make an index again with another model, or for what is said too, of the same recordings and metadata.

    It answers as before until the new one is whole. Stopped, it goes on when it is run again.

    \b
    voxdex reindex --model mini-open
    voxdex reindex --says --url http://localhost:6333
    """
    if not (model or says):
        raise click.UsageError("Name the model to embed with (--model), or add what is said (--says).")
    if not model:
        with place.open() as store:
            model = store.model
    encoder = open_model(model, device, bulk=True)
    with following(encoder, place) as on_progress:
        report = rebuild(
            place, encoder, prune is not None, everything, on_progress,
            prune_all=prune == "all", drop_failed=drop_failed, says=spoken() if says else None,
        )  # fmt: skip
    end(report, place, report.clips, False, json_output)


@click.command()
@at_index
@click.option("--check-files", is_flag=True, help="Look which files are gone, of a large index on a server too.")
@as_json
def status(place: Place, check_files: bool, json_output: bool) -> None:
    """Say what is in an index, and what could not be read.

    \b
    voxdex status
    voxdex status --index oral-history --json
    """
    with place.open() as store:
        found, versions = overview(store, check_files), dict(store.versions)
    if json_output:
        return print_json(asdict(found) | {"versions": versions})
    formats = ", ".join(f"{count} {name}" for name, count in found.formats.items())
    lines = {
        "index": f"{place}" + (f", {found.bytes / 1e6:.1f} MB" if found.bytes else ""),
        "model": f"{found.model}, space {found.space}",
        **({"what is said": f"as {found.says} hears it"} if found.says else {}),
        "engine": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "recordings": f"{found.recordings} in {found.files} files, {found.audio_seconds / 3600:.2f} h: {formats or 'none'}",
        "clips": f"{found.clips}: {found.speech_seconds / 3600:.2f} h; {found.other_seconds / 3600:.2f} h of music and noise, "
        f"{found.silent} recordings without speech",
    }
    if found.gone:
        lines["gone"] = f"{found.gone} files are no longer there (index --prune drops them)"
    print_lines(lines)
    for kind, failures in (("Failed", found.failed), ("Damaged", found.damaged)):
        for failure in failures:
            note(f"{kind}: {failure.path}: {failure.reason}.")


@click.command("export-vectors")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.npz|OUT.parquet")
@at_index
def export_index_vectors(out: Path, place: Place) -> None:
    """Write every clip of an index and its embedding into a file for other tools.

    \b
    voxdex export-vectors clips.npz
    """
    with place.open() as store:
        try:
            clips = export_vectors(store, out)
        except ModuleNotFoundError as error:
            raise StoreError(f"A .parquet file needs the package {error.name}: pip install {error.name}.") from error
        except OSError as error:
            raise StoreError(f"{out} cannot be written ({error.strerror}).") from error
    note(f"{clips} clips in {out}.")


mirror_option = click.option("--mirror", is_flag=True, help="Drop what only the copy has, such as recordings that were pruned.")


def show_copied(source: Place, target: Place, mirror: bool, json_output: bool) -> None:
    with source.open() as store, tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar:
        copied = copy_index(store, target, lambda total: (setattr(bar, "total", total), bar.update()), mirror)
    if json_output:
        return print_json(asdict(copied))
    dropped = f", {copied.dropped} dropped" if mirror else ""
    print_lines({f"{target}": f"{copied.copied} copied of {copied.recordings} recordings, {copied.clips} clips{dropped}"})


@click.command()
@index_option
@server_options(required=True, writes=True)
@mirror_option
@as_json
def push(index_name: str, server: Server, mirror: bool, json_output: bool) -> None:
    """Copy an index to a Qdrant server; what is there already stays. Stopped, it goes on when it is run again.

    \b
    voxdex push --url http://localhost:6333 --collection oral-history
    voxdex push --url http://node-1:6333 --url http://node-2:6333 --replicas 2
    """
    show_copied(Folder(index_folder(index_name)), server, mirror, json_output)


@click.command()
@index_option
@server_options(required=True)
@mirror_option
@as_json
def pull(index_name: str, server: Server, mirror: bool, json_output: bool) -> None:
    """Copy an index from a Qdrant server into your data folder, or another one.

    \b
    voxdex pull --url http://localhost:6333 --index oral-history
    """
    waiting = replace(server, patience=PATIENCE_WRITING, on_wait=Waiting())
    show_copied(waiting, Folder(index_folder(index_name)), mirror, json_output)
