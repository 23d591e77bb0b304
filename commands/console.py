"""Terminal output of the commands: tables, progress, notes and JSON documents."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import click
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Column, Table
from tqdm import tqdm

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.errors import in_one_line
from voxdex.search.formats import span

STYLE: dict[str, Any] = {"box": box.SIMPLE_HEAD, "pad_edge": False, "show_edge": False, "collapse_padding": True}
"""Arguments of every table: a rule below the header, two spaces between columns."""
COLUMN_GAP, MIN_COLUMN = 2, (24, 10)
"""Characters between the columns of a table, and widths to which columns are cut: first all to the one, then to the other."""
UNLIMITED_WIDTH = 1_000_000
"""Columns of a table that is printed to a file or pipe."""


def print_lines(lines: dict[str, str]) -> None:
    """Print lines with their names in bold."""
    table = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, line in lines.items():
        table.add_row(name, line)
    print_table(table)


@contextmanager
def all_printed() -> Iterator[None]:
    """Print characters that stdout's encoding lacks as "?", and flush stdout at the end of the block.

    Raises:
        OSError: stdout cannot be written; its buffer is dropped.
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
        with suppress(OSError, AttributeError):  # else Python reports the failed flush at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def reason_of(error: OSError) -> str:
    """Return a sentence about an error of the system."""
    if error.filename is not None:
        return f"{error.filename} cannot be used ({error.strerror or error})."
    if isinstance(error, FileNotFoundError):
        return "The folder that this was started in is no longer there: change into another one."
    return f"The output cannot be written ({error.strerror or error})."


def can_print(text: str) -> bool:
    """Return whether stdout's encoding has all characters of a text."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def print_note(text: str) -> None:
    """Print a line to stderr, control characters as escapes."""
    click.echo(in_one_line(text), err=True)


class Waiting:
    """Shows the reason for waiting in one line that is rewritten; without a terminal, prints its start and end."""

    def __init__(self) -> None:
        self._line: tqdm | None = None

    def __call__(self, reason: str | None) -> None:
        """Show a reason; None ends the waiting."""
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
    requests: list[bool] = []

    def request(*_: object) -> None:
        if requests:
            raise KeyboardInterrupt
        requests.append(True)
        print_note("Stopping after this batch; press Ctrl-C again to stop at once.")

    former = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(requests)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def print_json(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(text if can_print(text) else json.dumps(document, indent=2))


def new_table(*columns: str) -> Table:
    return Table(*(Column(name, overflow="fold") for name in columns), **STYLE)


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal; without a terminal, rows are never wrapped."""
    width = None if sys.stdout.isatty() else UNLIMITED_WIDTH
    Console(markup=False, emoji=False, highlight=False, width=width).print(table)


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[str], paths: Sequence[str]) -> None:
    """Print a table with one line for each row.

    Args:
        columns: names of the columns.
        rows: cells in the order of the columns.
        text: columns that lose the ends of their cells where the terminal is too narrow.
        paths: columns that lose the beginnings of their cells.
    """
    table = Table(*(Column(name, no_wrap=True) for name in columns), **STYLE)
    for row in _shortened(columns, rows, text=text, paths=paths) if sys.stdout.isatty() else rows:
        table.add_row(*row)
    print_table(table)


def _shortened(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[str], paths: Sequence[str]
) -> list[list[str]]:
    """Cut the cells of columns until all rows fit in the terminal, one column after another, text before paths."""
    widths = {name: max(map(cell_len, cells)) for name, cells in zip(columns, zip(columns, *rows, strict=True), strict=True)}
    excess = sum(widths.values()) + COLUMN_GAP * (len(columns) - 1) - Console().width
    flexible = [name for name in (*text, *paths) if name in widths]
    for least, name in product(MIN_COLUMN, flexible):
        cut_by = min(max(0, excess), max(0, widths[name] - least))
        widths[name] -= cut_by
        excess -= cut_by

    def cut(name: str, cell: str) -> str:
        if cell_len(cell) <= widths[name]:
            return cell
        if name in text:
            return set_cell_size(cell, widths[name] - 1) + "…"
        return "…" + set_cell_size(cell[::-1], widths[name] - 1)[::-1]

    return [[cut(name, cell) for name, cell in zip(columns, row, strict=True)] for row in rows]


def short_path(path: str) -> str:
    """Return a path relative to the current folder where it lies below, control characters as escapes."""
    with suppress(FileNotFoundError):  # the current folder was deleted
        if not is_url(path) and Path(path).absolute().is_relative_to(Path.cwd()):
            path = os.path.relpath(path)
    return in_one_line(path)


def clip_place(recording: str, start: float, end: float) -> str:
    """Return a clip in the notation of `search --like`: path:start-end, in seconds or h:mm:ss."""
    return f"{short_path(recording)}:{span(start, end, 2)}"


def rounded(metrics: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in metrics.items()}
