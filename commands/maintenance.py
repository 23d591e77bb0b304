"""Commands for an existing index: reindex, status, check, export-vectors, push, pull."""

import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import click
from tqdm import tqdm

from voxdex.commands.console import Waiting, print_json, print_lines, print_note
from voxdex.commands.index import PruneCommand, finish, left_out, prune_option, run_speakers, tracked_progress, vad_option
from voxdex.commands.options import (
    announce_model,
    as_json,
    at_index,
    check_used,
    device_option,
    exit_with_failures,
    index_option,
    server_options,
)
from voxdex.encoders.model import open_model
from voxdex.encoders.packages import missing_package
from voxdex.indexer.integrity import CheckReport, check_index
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
from voxdex.indexer.maintenance import copy_index, export_vectors, rebuild_index, repair_index
from voxdex.indexer.speakers import SPEAKER, copy_speakers
from voxdex.indexer.statistics import index_statistics
from voxdex.indexer.store.base import StoreError


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
        with location.read() as store:
            model = store.model
    encoder = open_model(model, device, bulk=True)
    with tracked_progress(location, partial(announce_model, encoder)) as (on_progress, should_stop):
        report = rebuild_index(
            location, encoder,
            phonetic=phonetic_space() if phonetic else None, vad=not no_vad,
            prune=prune is not None, prune_all=prune == "all", drop_failed=drop_failed,
            on_progress=on_progress, should_stop=should_stop,
        )  # fmt: skip
    if location.speakers.exists():
        with location.open() as store:
            report = replace(report, speakers=run_speakers(store, location, device=device, vad=not no_vad))
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
    with location.read() as store:
        found, versions = index_statistics(store, check_files=check_files), dict(store.versions)
    speakers = None
    if location.speakers.exists():
        with location.speakers.read() as store:
            speakers = store.count(SPEAKER)
    if json_output:
        return print_json(asdict(found) | {"speakers": speakers, "versions": versions})
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
    if speakers is not None:
        lines["speakers"] = f"{speakers}; `speakers list` tells who speaks how long"
    if found.transcripts:
        lines["transcripts"] = f"beside {found.transcripts} recordings; `search --text` finds what they say"
    if left := left_out(found):
        lines["left out"] = left
    if found.roots:
        lines["roots"] = ", ".join(found.roots)
    by_kind = {
        kind: [name for name, each in found.fields.items() if each == kind and not name.startswith("probabilities.")]
        for kind in ("text", "number", "date")
    }
    for kind, names in by_kind.items():
        if names:
            lines[f"{kind} fields"] = ", ".join(names)
    if found.missing:
        lines["missing"] = f"{found.missing} files no longer exist (index --prune drops them)"
    print_lines(lines)
    for kind, failures in (("Failed", found.failed), ("Damaged", found.damaged)):
        for failure in failures:
            print_note(f"{kind}: {failure.path}: {failure.reason}.")
    return None


@click.command()
@at_index(writes=True)
@click.option("--hash", "hashed", is_flag=True, help="Also read every file, and compare its content with what was indexed.")
@click.option("--repair", is_flag=True, help="Delete broken recordings, and embed them again from their files.")
@vad_option
@device_option
@as_json
def check(location: IndexLocation, hashed: bool, repair: bool, no_vad: bool, device: str, json_output: bool) -> None:
    """Check an index: its clips, its fields, and the files it is of.

    Exit status: 0 if all is well, 1 if something is broken or a file has changed.

    \b
    voxdex check
    voxdex check --repair
    """
    check_used("no_vad", "--repair", used=repair)
    check_used("device", "--repair", used=repair)
    with location.read(for_long=True) as store:
        report = check_index(store, hashed=hashed)
    if repair and not report.is_sound:
        store, encoder = open_index(location, device=device)
        with store, tracked_progress(location, partial(announce_model, encoder)) as (on_progress, should_stop):
            repaired = repair_index(
                store, encoder, report,
                phonetic_model=open_phonetic_encoder(store, device), vad=not no_vad,
                on_progress=on_progress, should_stop=should_stop,
            )  # fmt: skip
            left = check_index(store, hashed=hashed)
        if location.speakers.exists():
            with location.open() as store:
                run_speakers(store, location, device=device, vad=not no_vad)
        print_note(f"{len(report.broken)} recordings were broken, {repaired.indexed} of them are embedded again.")
        report = left
    if json_output:
        print_json(asdict(report) | {"broken": [asdict(failure) for failure in report.broken.values()]})
    else:
        print_lines(check_lines(report))
    failed = [asdict(failure) for failure in (*report.broken.values(), *report.changed)]
    exit_with_failures(True, failed)
    if report.fields:
        sys.exit(1)


def check_lines(report: CheckReport) -> dict[str, str]:
    """Return the rows of a check's table."""
    repair = ": voxdex check --repair embeds them again"
    lines = {
        "recordings": f"{report.recordings}, {len(report.broken)} broken{repair if report.broken else ''}",
        "clips": str(report.clips),
        "files": f"{len(report.changed)} gone or changed" + (": voxdex index follows them" if report.changed else ""),
    }
    if report.fields:
        lines["fields"] = f"{', '.join(report.fields)} cannot be named in filters: voxdex check --repair mends that"
    return lines


@click.command("export-vectors")
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path), metavar="OUT.npz|OUT.parquet")
@at_index
def export_index_vectors(out: Path, location: IndexLocation) -> None:
    """Write the clips of an index and their vectors to a file.

    \b
    voxdex export-vectors clips.npz
    """
    with location.read(for_long=True) as store:
        try:
            clips = export_vectors(store, out)
        except ModuleNotFoundError as error:
            raise StoreError(f"{missing_package('A .parquet file', error.name, 'parquet')}.") from error
        except OSError as error:
            raise StoreError(f"{out} cannot be written ({error.strerror}).") from error
    print_note(f"{clips} clips in {out}.")


mirror_option = click.option("--mirror", is_flag=True, help="Delete recordings that only the copy has.")


def show_copied(source: IndexLocation, target: IndexLocation, *, mirror: bool, json_output: bool) -> None:
    """Copy an index, with a progress bar, and print what was copied."""
    with source.read(for_long=True) as store, tqdm(unit=" recordings", disable=None, dynamic_ncols=True) as bar:

        def on_recording(total: int) -> None:
            bar.total = total
            bar.update()

        report = copy_index(store, target, mirror=mirror, on_recording=on_recording)
    if source.speakers.exists() and not copy_speakers(source, target, mirror=mirror):
        print_note(f"{target} has speakers of its own, which stay; voxdex index --speakers finds those of the new recordings.")
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
