"""What a person sees of the commands: tables, progress and notes; documents for programs."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from voxdex.encoders.audio.remote import is_url


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


def print_note(text: str) -> None:
    """A line for people, apart from the output."""
    click.echo(text, err=True)


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
                print_note("It answers again.")
            return
        if self._line is None:
            self._line = tqdm(bar_format="{desc}", leave=False, disable=None, dynamic_ncols=True)
            if self._line.disable:
                print_note(f"{reason}.")
        self._line.set_description_str(reason)


@contextmanager
def graceful_interrupts() -> Iterator[Callable[[], bool]]:
    """Defer SIGINT and SIGTERM: the yielded function returns whether one has come. A second signal interrupts at once."""
    asked = []

    def ask(*_: object) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(True)
        print_note("Stopping after this batch; once more stops at once.")

    former = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
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
    """Relative to here, where it lies below."""
    with suppress(FileNotFoundError):  # there is no "here" any more
        if not is_url(path) and Path(path).absolute().is_relative_to(Path.cwd()):
            return os.path.relpath(path)
    return path


def clip_place(recording: str, start: float, end: float) -> str:
    """As `search --like` takes it."""
    return f"{short_path(recording)}:{start:.2f}-{end:.2f}"


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in figures.items()}
