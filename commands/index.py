"""The command `index`."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import graceful_interrupts, print_json, print_lines, print_note
from voxdex.commands.options import (
    FILE,
    RECORDING,
    Command,
    announce_model,
    as_json,
    at_index,
    check_used,
    device_option,
    exit_with_failures,
    show_licence_once,
)
from voxdex.encoders.audio.remote import Location, as_location
from voxdex.encoders.model import Model
from voxdex.encoders.speaker import open_speaker_model
from voxdex.indexer.index import index as index_archive
from voxdex.indexer.location import (
    IndexLocation,
    LocalIndex,
    open_index,
    open_phonetic_encoder,
    phonetic_space,
)
from voxdex.indexer.metadata import Metadata, read_metadata
from voxdex.indexer.pipeline.embedder import EmbedBackend
from voxdex.indexer.pipeline.local import embed_locally
from voxdex.indexer.pipeline.ray import embed_on_ray
from voxdex.indexer.plan import IndexPlan, plan_index
from voxdex.indexer.progress import write_progress
from voxdex.indexer.report import IndexReport, Progress, SpeakerReport
from voxdex.indexer.roots import read_roots
from voxdex.indexer.scan import ScanResult, find_recordings, partition
from voxdex.indexer.speakers import check_packages, update_speakers
from voxdex.indexer.statistics import IndexStatistics
from voxdex.indexer.store.base import Store, StoreError


class PruneCommand(click.Command):
    """A command with an option --prune that takes no separate value, as a path may follow it: --prune or --prune=all."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, ["--prune=missing" if argument == "--prune" else argument for argument in args])


def prune_option(text: str) -> Callable[[Command], Command]:
    return click.option("--prune", type=click.Choice(["missing", "all"]), metavar="[=all]", help=text)


class Partition(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """One of N partitions, as K/N: 3/8."""

    name = "partition"

    def convert(
        self, value: str | tuple[int, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        part, _, parts = value.partition("/")
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            self.fail(f"{value!r} is no partition such as 3/8, from 1/8 to 8/8.", param, ctx)
        return int(part), int(parts)


vad_option = click.option(
    "--no-vad", is_flag=True, help="Make clips of all sound, not only of speech: screams, breaths, effects."
)

speakers_option = click.option(
    "--speakers", is_flag=True, help="Find out who speaks, for `search --voice`; later runs go on with it. See `speakers`."
)


@click.command(cls=PruneCommand)
@click.argument("paths", nargs=-1, type=RECORDING, metavar="[PATH]...")
@at_index(writes=True)
@click.option("--model", metavar="NAME_OR_FOLDER", help="Model of a new index; see `models`.  [default: mini, or VOXDEX_MODEL]")
@click.option("--metadata", type=FILE, help="Metadata of the recordings: a .csv, .jsonl or .xlsx file with a column `path`.")
@prune_option("Drop recordings under PATH that no longer exist; more than half of them only with --prune=all.")
@click.option("--retry-failed", is_flag=True, help="Decode recordings that failed before again, even if they are unchanged.")
@vad_option
@click.option("--phonetic", is_flag=True, help="Store phonetic vectors, for `search --says`; later runs store them too.")
@speakers_option
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
    speakers: bool,
    dry_run: bool,
    part: tuple[int, int] | None,
    backend: str,
    ray_address: str,
    profile: bool,
    device: str,
    json_output: bool,
) -> None:
    """Index the recordings in folders, in files or at URLs.

    A later run embeds only new and changed recordings; without PATH, it brings all that was indexed before up to date. URLs
    may begin with s3://, gs://, https:// and others (fsspec).

    \b
    voxdex index ./audio
    voxdex index ./interviews --index oral-history --metadata catalogue.csv
    """
    check_used("ray_address", "--backend ray", used=backend == "ray")
    rows = read_metadata(metadata) if metadata else None
    paths = paths or known_roots(location)
    scan = find_recordings(paths)
    if part:
        scan = partition(scan, *part)
    if not scan.recordings and not location.exists():
        reasons = [f"{failure.path}: {failure.reason}" for failure in (*scan.absent, *scan.failed)]
        raise StoreError("; ".join(reasons or [nothing_found(paths)]) + ".")
    if dry_run:
        if location.exists():
            with location.read(for_long=True) as store:  # new files are hashed
                space = phonetic_space().space if phonetic and not store.phonetic else ""
                plan = plan_index(scan, store, phonetic=space, retry_failed=retry_failed)
        else:
            plan = plan_index(scan, None)
        return show_plan(plan, prunes=prune is not None, json_output=json_output)
    report, clips = run_index(
        scan, location, rows,
        model=model, device=device, phonetic=phonetic, speakers=speakers, no_vad=no_vad, prune=prune, retry_failed=retry_failed,
        ray_address=ray_address if backend == "ray" else None,
    )  # fmt: skip
    if not (report.recordings or report.removed or report.missing):
        raise StoreError(f"{nothing_found(paths)}.")
    finish(report, location, clips, profile=profile, json_output=json_output)


def run_index(  # noqa: PLR0913, RUF100  # keyword-only but for three
    scan: ScanResult,
    location: IndexLocation,
    rows: Metadata | None,
    *,
    model: str | None,
    device: str,
    phonetic: bool,
    speakers: bool,
    no_vad: bool,
    prune: str | None = None,
    retry_failed: bool = False,
    ray_address: str | None = None,
) -> tuple[IndexReport, int | None]:
    """Bring an index up to date with a scan, and show the progress; return the report, and the clips of a changed index."""
    embed: EmbedBackend = embed_locally
    announce, here = announce_model, device
    if ray_address:  # the machines of the cluster open the model on the device
        embed, here = partial(embed_on_ray, address=ray_address, device=device), "cpu"
        announce = partial(announce_ray, device=device)
    if speakers:
        check_packages()
    store, encoder = open_index(location, model, here, phonetic_space() if phonetic else None)
    with store:
        with tracked_progress(location, partial(announce, encoder)) as (on_progress, should_stop):
            report = index_archive(
                scan, store, encoder, rows,
                phonetic_model=open_phonetic_encoder(store, here), vad=not no_vad, backend=embed,
                prune=prune is not None, prune_all=prune == "all", retry_failed=retry_failed,
                on_progress=on_progress, should_stop=should_stop,
            )  # fmt: skip
        if speakers or location.speakers.exists():
            report = replace(report, speakers=run_speakers(store, location, device=device, vad=not no_vad))
        return report, store.count() if report.indexed or report.removed else None


def run_speakers(store: Store, location: IndexLocation, *, device: str, vad: bool) -> SpeakerReport:
    """Find out who speaks in the new recordings of an index, and show the progress."""
    model = open_speaker_model(device=device)
    with tqdm(unit=" clips", desc="Speakers", disable=None, dynamic_ncols=True) as bar, graceful_interrupts() as should_stop:
        return update_speakers(store, location.speakers, model, vad=vad, on_clips=bar.update, should_stop=should_stop)


def known_roots(location: IndexLocation) -> tuple[Location, ...]:
    """Return the paths that an index was made of."""
    roots: list[str] = []
    if location.exists():
        with location.read() as store:
            roots = read_roots(store)
    if not roots:
        raise click.UsageError(f"The index {location} remembers no paths yet: name the recordings, as in voxdex index ./audio.")
    return tuple(map(as_location, roots))


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
    with (
        tqdm(bar_format="{l_bar}{bar}| {remaining} left{postfix}", disable=None, dynamic_ncols=True) as bar,
        graceful_interrupts() as should_stop,
    ):

        def on_progress(progress: Progress) -> None:
            if progress.audio_seconds:
                announce_once()
            speed = progress.heard_seconds / max(bar.format_dict["elapsed"], 1e-3)
            doing = "building search indexes" if progress.optimising else f"{speed:.0f}x real time"
            bar.total = progress.total_seconds / 3600
            hours = f"{progress.heard_seconds / 3600:.2f} of about {bar.total:.2f} h of sound"
            bar.set_postfix_str(
                f"{hours}, {progress.done} of {progress.total} recordings, {doing}", refresh=progress.optimising
            )
            bar.update(progress.heard_seconds / 3600 - bar.n)
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
        unchanged = f"{len(plan.unchanged)}, and {len(plan.moved)} moved or copied"
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


def left_out(counted: IndexReport | IndexStatistics) -> str:
    """Return what of tracks and channels was left out; "" for nothing."""
    parts = [f"{counted.repeated_clips} clips whose speech another track or channel has"] if counted.repeated_clips else []
    parts += [f"{counted.unused_tracks} tracks (--no-vad takes the first alone)"] if counted.unused_tracks else []
    return "; ".join(parts)


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
    if left := left_out(report):
        lines["left out"] = left
    if report.speakers:
        lines["speakers"] = f"{report.speakers.speakers}, {report.speakers.new} of them new; see `speakers list`"
    lines["index"] = f"{location}: {'' if clips is None else f'{clips} clips, '}space {report.space}"
    if report.transcripts:
        lines["transcripts"] = f"of {report.transcripts} recordings read; `search --text` finds what they say"
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
