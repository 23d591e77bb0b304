"""Terminal output of the commands: tables, progress, notes and JSON documents."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import takewhile
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
COLUMN_GAP = 2
"""Characters between the columns of a table."""
GOOD_TEXT, GOOD_PATH, MIN_COLUMN = 20, 36, 10
"""Characters to which columns of text and of paths are cut as long as optional columns can be left out, and at most."""
WIDTH = "voxdex.width"
"""Key of --width in the context of a command."""
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
    """Defer SIGINT and SIGTERM: the yielded function returns whether one has come. A second signal interrupts at once.

    One that nobody has asked for interrupts at the end of the block.
    """
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
    if requests:
        raise KeyboardInterrupt


def print_json(document: Any) -> None:
    text = json.dumps(document, ensure_ascii=False, indent=2)
    click.echo(text if can_print(text) else json.dumps(document, indent=2))


def new_table(*columns: str) -> Table:
    return Table(*(Column(name, overflow="fold") for name in columns), **STYLE)


def print_table(table: Table) -> None:
    """Print a table, as wide as the terminal or --width; without either, rows are never wrapped."""
    Console(markup=False, emoji=False, highlight=False, width=_width() or UNLIMITED_WIDTH).print(table)


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[str],
    paths: Sequence[str],
    optional: Sequence[str] = (),
) -> None:
    """Print a table with one line for each row, as wide as the terminal or --width; without either, nothing is shortened.

    Args:
        columns: names of the columns.
        rows: cells in the order of the columns.
        text: columns that lose the ends of their cells where there is too little room.
        paths: columns that lose their common folder, and then the middle of their cells.
        optional: columns that are left out where there is too little room, the least important first.
    """
    cells = {name: [row[position] for row in rows] for position, name in enumerate(columns)}
    width = _width()
    if width is not None:
        cells = _fitted(cells, width, text=text, paths=paths, optional=optional)
    table = Table(*(Column(name, no_wrap=True) for name in cells), **STYLE)
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    print_table(table)


def _width() -> int | None:
    """Return the characters of a line: those of --width, or of the terminal; None for no limit."""
    context = click.get_current_context(silent=True)
    chosen: int | None = context.meta.get(WIDTH) if context else None
    return chosen or (Console().width if sys.stdout.isatty() else None)


def _fitted(
    cells: dict[str, list[str]], width: int, *, text: Sequence[str], paths: Sequence[str], optional: Sequence[str]
) -> dict[str, list[str]]:
    """Shorten the columns of a table, and leave out optional ones, until its rows have `width` characters."""
    widths = _widths(cells)
    if _total(widths) > width:
        cells = {name: _without_common_folder(column) if name in paths else column for name, column in cells.items()}
        widths = _widths(cells)
    good = dict.fromkeys(paths, GOOD_PATH) | dict.fromkeys(text, GOOD_TEXT)
    for name in optional:
        if _total({each: min(wide, good.get(each, wide)) for each, wide in widths.items()}) > width:
            widths.pop(name, None)
    for name, least in (*good.items(), *dict.fromkeys((*text, *paths), MIN_COLUMN).items()):
        if name in widths:
            widths[name] -= min(max(0, _total(widths) - width), max(0, widths[name] - least))
    return {
        name: [_cut(cell, most, in_the_middle=name in paths) if name in good else cell for cell in cells[name]]
        for name, most in widths.items()
    }


def _widths(cells: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {name: max(map(cell_len, (name, *column))) for name, column in cells.items()}


def _total(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + COLUMN_GAP * (len(widths) - 1)


def _without_common_folder(paths: Sequence[str]) -> list[str]:
    """Replace the folder that all of some paths lie in by "…"."""
    folders = [path.split("/")[:-1] for path in paths]
    common = "/".join(parts[0] for parts in takewhile(lambda parts: len(set(parts)) == 1, zip(*folders, strict=False)))
    return [f"…{path[len(common) :]}" for path in paths] if len(common) > 1 else list(paths)


def _cut(cell: str, width: int, *, in_the_middle: bool) -> str:
    """Cut a cell to a width: its end, or its middle, where the name of a file is kept before its folders."""
    if cell_len(cell) <= width:
        return cell
    name = cell_len(cell.rpartition("/")[2]) + 1
    last = max(min(name, width - 1), 2 * width // 3) if in_the_middle else 0
    return set_cell_size(cell, width - 1 - last) + "…" + (set_cell_size(cell[::-1], last)[::-1] if last else "")


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
