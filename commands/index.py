"""Commands for an archive and its index: index, reindex, status, export-vectors, push, pull."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import Waiting, graceful_interrupts, print_json, print_lines, print_note
from voxdex.commands.options import (
    FILE,
    RECORDING,
    announce_model,
    as_json,
    at_index,
    device_option,
    exit_with_failures,
    index_option,
    server_options,
    show_licence_once,
)
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.model import Model, open_model
from voxdex.indexer.index import index as index_archive
from voxdex.indexer.location import (
    RUN_PATIENCE,
    IndexLocation,
    LocalIndex,
    ServerIndex,
    index_folder,
    open_index,
    open_phonetic_encoder,
    phonetic_space,
)
from voxdex.indexer.maintenance import copy_index, export_vectors, rebuild_index
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.pipeline.embedder import EmbedBackend
from voxdex.indexer.pipeline.local import embed_locally
from voxdex.indexer.pipeline.ray import embed_on_ray
from voxdex.indexer.plan import IndexPlan, plan_index
from voxdex.indexer.report import IndexReport, Progress
from voxdex.indexer.scan import find_recordings, partition
from voxdex.indexer.snapshot import write_progress
from voxdex.indexer.statistics import index_statistics
from voxdex.indexer.store.base import StoreError


class PruneCommand(click.Command):
    """A command with an option --prune that takes no separate value, as a path may follow it: --prune or --prune=all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--prune=missing" if argument == "--prune" else argument for argument in args])


def prune_option(text: str) -> Callable:
    return click.option("--prune", type=click.Choice(["missing", "all"]), metavar="[=all]", help=text)


class Partition(click.ParamType):
    """One of N partitions, as K/N: 3/8."""

    name = "partition"

    def convert(self, value: str | tuple, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        part, _, parts = value.partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            self.fail(f"{value!r} is no partition such as 3/8, from 1/8 to 8/8.", param, ctx)
        return int(part), int(parts)


vad_option = click.option(
    "--no-vad", is_flag=True, help="Make clips of all sound, not only of speech: screams, breaths, effects."
)


@click.command(cls=PruneCommand)
@click.argument("paths", nargs=-1, required=True, type=RECORDING, metavar="PATH...")
@at_index(writes=True)
@click.option("--model", metavar="NAME_OR_FOLDER", help="Model of a new index; see `models`.  [default: mini, or VOXDEX_MODEL]")
@click.option("--metadata", type=FILE, help="Metadata of the recordings: a .csv, .jsonl or .xlsx file with a column `path`.")
@prune_option("Drop recordings under PATH that no longer exist; more than half of them only with --prune=all.")
@click.option("--retry-failed", is_flag=True, help="Decode recordings that failed before again, even if they are unchanged.")
@vad_option
@click.option("--phonetic", is_flag=True, help="Store phonetic vectors, for `search --says`; later runs store them too.")
@click.option("--dry-run", is_flag=True, help="Print what a run would do, without doing it.")
@click.option("--partition", "part", type=Partition(), metavar="K/N", help="Index one of N partitions, on one of N machines.")
@click.option(
    "--backend", type=click.Choice(["local", "ray"]), default="local", show_default=True,
    help="Decode and embed on this machine or on a Ray cluster.",
)  # fmt: skip
@click.option("--ray-address", default="auto", show_default=True, metavar="ADDRESS", help="Ray cluster; `local` starts one.")
@click.option("--profile", is_flag=True, help="Print the time of each stage, and the peak memory.")
@device_option
@as_json
def index(
    paths: tuple[Location, ...],
    location: IndexLocation,
    model: str | None,
    metadata: Path | None,
    prune: str | None,
    retry_failed: bool,
    no_vad: bool,
    phonetic: bool,
    dry_run: bool,
    part: tuple[int, int] | None,
    backend: str,
    ray_address: str,
    profile: bool,
    device: str,
    json_output: bool,
) -> None:
    """Index the recordings in folders, in files or at URLs.

    A later run embeds only new and changed recordings. URLs may begin with s3://, gs://, https:// and others (fsspec).

    \b
    voxdex index ./audio
    voxdex index ./interviews --index oral-history --metadata catalogue.csv
    """
    rows = read_metadata(metadata) if metadata else None
    scan = find_recordings(paths)
    if part:
        scan = partition(scan, *part)
    if not scan.recordings and not location.exists():
        reasons = [f"{failure.path}: {failure.reason}" for failure in (*scan.absent, *scan.failed)]
        raise StoreError("; ".join(reasons or [nothing_found(paths)]) + ".")
    if dry_run:
        if location.exists():
            with location.open() as store:
                space = phonetic_space().space if phonetic and not store.phonetic else ""
                plan = plan_index(scan, store, phonetic=space, retry_failed=retry_failed)
        else:
            plan = plan_index(scan, None)
        return show_plan(plan, prunes=prune is not None, json_output=json_output)
    embed: EmbedBackend = embed_locally
    announce, here = announce_model, device
    if backend == "ray":  # the machines of the cluster open the model on the device
        embed, here = partial(embed_on_ray, address=ray_address, device=device), "cpu"
        announce = partial(announce_ray, device=device)
    store, encoder = open_index(location, model, here, phonetic_space() if phonetic else None)
    with store, tracked_progress(location, partial(announce, encoder)) as (on_progress, should_stop):
        report = index_archive(
            scan, store, encoder, rows,
            phonetic_model=open_phonetic_encoder(store, here), vad=not no_vad, backend=embed,
            prune=prune is not None, prune_all=prune == "all", retry_failed=retry_failed,
            on_progress=on_progress, should_stop=should_stop,
        )  # fmt: skip
        clips = store.count() if report.indexed or report.removed else None
    if not (report.recordings or report.removed or report.missing):
        raise StoreError(f"{nothing_found(paths)}.")
    finish(report, location, clips, profile=profile, json_output=json_output)


@contextmanager
def tracked_progress(
    location: IndexLocation, announce: Callable[[], None]
) -> Iterator[tuple[Callable[[Progress], None], Callable[[], bool]]]:
    """Show the progress of a run, and publish it in the folder of the index; yield `on_progress` and `should_stop`.

    Args:
        location: of the index.
        announce: prints the model and its device, when the first clips are embedded.
    """
    announce_once = cache(announce)

    def publish(progress: Progress | None) -> None:
        if isinstance(location, LocalIndex):
            write_progress(progress, location.path)

    publish(Progress(0, 0, 0, 0.0))
    with tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar, graceful_interrupts() as should_stop:

        def on_progress(progress: Progress) -> None:
            if progress.audio_seconds:
                announce_once()
            if bar.total is None:
                bar.total, bar.initial = progress.total, progress.unchanged
            speed = progress.audio_seconds / max(bar.format_dict["elapsed"], 1e-3)
            doing = "building search indexes" if progress.optimising else f"{speed:.0f}x real time"
            bar.set_postfix_str(f"{progress.audio_seconds / 3600:.2f} h of audio, {doing}", refresh=progress.optimising)
            bar.update(progress.done - bar.n)
            publish(progress)

        try:
            yield on_progress, should_stop
        finally:
            publish(None)


def announce_ray(encoder: Model, device: str) -> None:
    show_licence_once(encoder.card)
    print_note(f"Embedding with {encoder.card.name} on the Ray cluster (--device {device}).")


def nothing_found(paths: Iterable[Location]) -> str:
    return f"There are no recordings under {', '.join(map(str, paths))} (by their names: .wav, .mp3, .mp4 ...)"


def show_plan(plan: IndexPlan, *, prunes: bool, json_output: bool) -> None:
    """Print what a run would do, and exit with the status that it would have."""
    if json_output:
        print_json(asdict(plan))
    else:
        missing = f"{len(plan.missing)} ({'would be dropped' if prunes else 'kept without --prune'})"
        embedded = f"{len(plan.new)} new, {len(plan.changed)} changed"
        unchanged = f"{len(plan.unchanged)}, and {len(plan.known)} moved or copied"
        print_lines({"would embed": embedded, "unchanged": unchanged, "missing": missing})
    exit_with_failures(True, [asdict(failure) for failure in plan.failed])


def finish(report: IndexReport, location: IndexLocation, clips: int | None, *, profile: bool, json_output: bool) -> None:
    """Print the report of a run, and exit with its status. clips: of the index; None where unknown."""
    if json_output:
        print_json(asdict(report))
    else:
        print_lines(report_lines(report, location, clips, profile=profile))
    for damage in report.damaged:
        print_note(f"Damaged: {damage.path}: {damage.reason}.")
    exit_with_failures(report.recordings > len(report.failed), [asdict(failure) for failure in report.failed])


def report_lines(report: IndexReport, location: IndexLocation, clips: int | None, *, profile: bool) -> dict[str, str]:
    """Return the rows of a report's table."""
    lines = {"recordings": f"{report.indexed} indexed, {report.unchanged} unchanged, {len(report.failed)} failed"}
    if report.indexed:
        speed = f"{report.audio_seconds / 60:.1f} min of audio in {report.seconds:.1f} s"
        silence = max(0.0, report.audio_seconds - report.speech_seconds - report.non_speech_seconds)
        lines["new clips"] = f"{report.clips} ({speed}, {report.audio_seconds / report.seconds:.0f}x real time)"
        lines["not speech"] = (
            f"{silence / 60:.1f} min of silence, {report.non_speech_seconds / 60:.1f} min of music and noise; "
            f"{report.without_speech} recordings without speech"
        )
    lines["index"] = f"{location}: {'' if clips is None else f'{clips} clips '}of the space {report.space}"
    if report.unmatched_metadata or report.without_metadata:
        lines["metadata"] = (
            f"{report.unmatched_metadata} rows name no indexed recording, {report.without_metadata} recordings have no row"
        )
    if report.removed or report.missing:
        lines["missing"] = f"{report.removed} dropped, {report.missing} kept (--prune drops them)"
    if report.ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(report.ignored.items()))
        lines["skipped"] = f"{kinds}: not media by name (name a file itself to index it)"
    if profile:
        stages = (f"{name} {seconds:.1f} s" for name, seconds in asdict(report.stages).items())
        if report.peak_bytes:
            lines["memory"] = f"{report.peak_bytes / 1e6:.0f} MB at most"
        lines["time"] = f"{', '.join(stages)} (stages overlap), {report.seconds:.1f} s in all"
    return lines


@click.command(cls=PruneCommand)
@at_index(writes=True)
@click.option("--model", metavar="NAME_OR_FOLDER", help="Model to embed with; see `models`.  [default: that of the index]")
@click.option("--phonetic", is_flag=True, help="Store phonetic vectors too, for `search --says`.")
@prune_option("Leave out recordings that no longer exist; more than half of them only with --prune=all.")
@click.option("--drop-failed", is_flag=True, help="Leave out recordings that can no longer be read, instead of stopping.")
@vad_option
@device_option
@as_json
def reindex(
    location: IndexLocation,
    model: str | None,
    phonetic: bool,
    prune: str | None,
    drop_failed: bool,
    no_vad: bool,
    device: str,
    json_output: bool,
) -> None:
    """Embed the recordings of an index again.

    The former index answers searches until the new one is complete. The same command continues an interrupted run.

    \b
    voxdex reindex --model mini-open
    voxdex reindex --phonetic --url http://localhost:6333
    """
    if not (model or phonetic):
        raise click.UsageError("Name the model to embed with (--model), or add phonetic vectors (--phonetic).")
    if not model:
        with location.open() as store:
            model = store.model
    encoder = open_model(model, device, bulk=True)
    with tracked_progress(location, partial(announce_model, encoder)) as (on_progress, should_stop):
        report = rebuild_index(
            location, encoder,
            phonetic=phonetic_space() if phonetic else None, vad=not no_vad,
            prune=prune is not None, prune_all=prune == "all", drop_failed=drop_failed,
            on_progress=on_progress, should_stop=should_stop,
        )  # fmt: skip
    finish(report, location, report.clips, profile=False, json_output=json_output)


@click.command()
@at_index
@click.option("--check-files", is_flag=True, help="Look for missing files, also of a large index on a server.")
@as_json
def status(location: IndexLocation, check_files: bool, json_output: bool) -> None:
    """Print the contents of an index, and its failures.

    \b
    voxdex status
    voxdex status --index oral-history --json
    """
    with location.open() as store:
        found, versions = index_statistics(store, check_files=check_files), dict(store.versions)
    if json_output:
        return print_json(asdict(found) | {"versions": versions})
    formats = ", ".join(f"{count} {name}" for name, count in found.formats.items())
    lines = {
        "index": f"{location}" + (f", {found.bytes / 1e6:.1f} MB" if found.bytes else ""),
        "model": f"{found.model}, space {found.space}",
        **({"phonetic": f"space {found.phonetic}"} if found.phonetic else {}),
        "engine": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "recordings": f"{found.recordings} in {found.files} files, {found.audio_seconds / 3600:.2f} h: {formats or 'none'}",
        "clips": f"{found.clips}, {found.speech_seconds / 3600:.2f} h; {found.without_speech} recordings without speech, "
        f"{found.non_speech_seconds / 3600:.2f} h of music and noise",
    }
    if found.missing:
        lines["missing"] = f"{found.missing} files no longer exist (index --prune drops them)"
    print_lines(lines)
    for kind, failures in (("Failed", found.failed), ("Damaged", found.damaged)):
        for failure in failures:
            print_note(f"{kind}: {failure.path}: {failure.reason}.")
    return None


@click.command("export-vectors")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.npz|OUT.parquet")
@at_index
def export_index_vectors(out: Path, location: IndexLocation) -> None:
    """Write the clips of an index and their vectors to a file.

    \b
    voxdex export-vectors clips.npz
    """
    with location.open() as store:
        try:
            clips = export_vectors(store, out)
        except ModuleNotFoundError as error:
            raise StoreError(f"A .parquet file needs the package {error.name}: pip install {error.name}.") from error
        except OSError as error:
            raise StoreError(f"{out} cannot be written ({error.strerror}).") from error
    print_note(f"{clips} clips in {out}.")


mirror_option = click.option("--mirror", is_flag=True, help="Delete recordings that only the copy has.")


def show_copied(source: IndexLocation, target: IndexLocation, *, mirror: bool, json_output: bool) -> None:
    """Copy an index, with a progress bar, and print what was copied."""
    with source.open() as store, tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar:

        def on_recording(total: int) -> None:
            bar.total = total
            bar.update()

        report = copy_index(store, target, mirror=mirror, on_recording=on_recording)
    if json_output:
        return print_json(asdict(report))
    dropped = f", {report.dropped} dropped" if mirror else ""
    return print_lines(
        {f"{target}": f"{report.copied} copied of {report.recordings} recordings, {report.clips} clips{dropped}"}
    )


@click.command()
@index_option
@server_options(required=True, writes=True)
@mirror_option
@as_json
def push(index_name: str, server: ServerIndex, mirror: bool, json_output: bool) -> None:
    """Copy an index to a Qdrant server.

    Recordings that only the server has are kept. The same command continues an interrupted copy.

    \b
    voxdex push --url http://localhost:6333 --collection oral-history
    """
    show_copied(LocalIndex(index_folder(index_name)), server, mirror=mirror, json_output=json_output)


@click.command()
@index_option
@server_options(required=True)
@mirror_option
@as_json
def pull(index_name: str, server: ServerIndex, mirror: bool, json_output: bool) -> None:
    """Copy an index from a Qdrant server into a folder.

    \b
    voxdex pull --url http://localhost:6333 --index oral-history
    """
    waiting = replace(server, patience=RUN_PATIENCE, on_wait=Waiting())
    show_copied(waiting, LocalIndex(index_folder(index_name)), mirror=mirror, json_output=json_output)
