"""What a person sees of the commands: tables, progress and notes; documents for programs."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from encoders.remote import is_url
from encoders.texts import in_one_line
from indexer import IndexReport, Place, Progress


def show_progress(bar: tqdm, progress: Progress) -> None:
    if bar.total is None:
        bar.total, bar.initial = progress.total, progress.unchanged
    speed = progress.audio_seconds / max(bar.format_dict["elapsed"], 1e-3)
    doing = "making the index quick to search" if progress.optimising else f"{speed:.0f}x real time"
    bar.set_postfix_str(f"{progress.audio_seconds / 3600:.2f} h of audio, {doing}", refresh=progress.optimising)
    bar.update(progress.done - bar.n)


def print_report(report: IndexReport, place: Place, clips: int | None, profile: bool) -> None:
    lines = {"recordings": f"{report.indexed} indexed, {report.unchanged} unchanged, {len(report.failed)} failed"}
    if report.indexed:
        speed = f"{report.audio_seconds / 60:.1f} min of audio in {report.seconds:.1f} s"
        silence = max(0.0, report.audio_seconds - report.speech_seconds - report.other_seconds)
        lines["new clips"] = f"{report.clips} ({speed}, {report.audio_seconds / report.seconds:.0f}x real time)"
        lines["no clips of"] = (
            f"{silence / 60:.1f} min of silence, {report.other_seconds / 60:.1f} min of music and noise; "
            f"{report.silent} recordings without speech"
        )
    lines["index"] = f"{place}: {'' if clips is None else f'{clips} clips '}of the space {report.space}"
    if report.unmatched_metadata or report.without_metadata:
        lines["metadata"] = (
            f"{report.unmatched_metadata} rows name no indexed recording, {report.without_metadata} recordings have no row"
        )
    if report.removed or report.missing:
        lines["gone"] = f"{report.removed} dropped, {report.missing} kept (--prune drops them)"
    if report.ignored:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(report.ignored.items()))
        lines["left alone"] = f"{kinds}: not sound by name (name a file itself to index it)"
    if profile:
        stages = (f"{name} {seconds:.1f} s" for name, seconds in asdict(report.stages).items())
        if report.peak_bytes:
            lines["memory"] = f"{report.peak_bytes / 1e6:.0f} MB at most"
        lines["time"] = f"{', '.join(stages)} (stages overlap), {report.seconds:.1f} s in all"
    print_lines(lines)


def print_lines(lines: dict[str, str]) -> None:
    """What was found, a line for each thing, its name in bold."""
    table = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, line in lines.items():
        table.add_row(name, line)
    print_table(table)


@contextmanager
def all_printed() -> Iterator[None]:
    """Output may hold what its encoding lacks, as "?", and is out when this ends.

    Raises:
        OSError: it cannot be written; it is dropped.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except OSError:
        with suppress(OSError, AttributeError):  # else Python says at its end that it could not be written
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def reason_of(error: OSError) -> str:
    """A sentence about what the system refuses."""
    if error.filename is not None:
        return f"{error.filename} cannot be used ({error.strerror or error})."
    if isinstance(error, FileNotFoundError):
        return "The folder that this was started in is no longer there: change into another one."
    return f"The output cannot be written ({error.strerror or error})."


def can_print(text: str) -> bool:
    """Whether the output's encoding has all of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def note(text: str) -> None:
    """A line for people, apart from the output."""
    click.echo(in_one_line(text), err=True)


class Waiting:
    """Says what is waited for: in one line that is written anew; where nobody watches, when it begins and when it ends."""

    def __init__(self) -> None:
        self._line: tqdm | None = None

    def __call__(self, reason: str | None) -> None:
        """reason: None when the waiting is over."""
        if reason is None:
            if self._line is not None:
                self._line.close()
                self._line = None
                note("It answers again.")
            return
        if self._line is None:
            self._line = tqdm(bar_format="{desc}", leave=False, disable=None, dynamic_ncols=True)
            if self._line.disable:
                note(f"{reason}.")
        self._line.set_description_str(reason)


@contextmanager
def patient_interrupts() -> Iterator[Callable[[], None]]:
    """Ctrl-C, or a request to end, waits until what this gives is called, which then raises it; a second one does not."""
    asked = []

    def ask(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        note("Stopping after this batch; once more stops at once.")

    def stop_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop_if_asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def print_json(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(text if can_print(text) else json.dumps(document, indent=2))


def new_table(*columns: str) -> Table:
    return Table(*(Column(name, overflow="fold") for name in columns), box=box.SIMPLE_HEAD, pad_edge=False)


def print_table(table: Table) -> None:
    Console(markup=False, emoji=False, highlight=False).print(table)


def short_path(path: str) -> str:
    """Relative to here, where it lies below; in one line."""
    with suppress(FileNotFoundError):  # there is no "here" any more
        if not is_url(path) and Path(path).absolute().is_relative_to(Path.cwd()):
            path = os.path.relpath(path)
    return in_one_line(path)


def clip_place(recording: str, start: float, end: float) -> str:
    """As `search --like` takes it."""
    return f"{short_path(recording)}:{start:.2f}-{end:.2f}"


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in figures.items()}
