"""Answers as files for other programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from voxdex.commands.console import print_note
from voxdex.search.formats import as_csv, as_json_lines


class RowsFile(click.Path):
    """A file to write rows to, .csv or .jsonl, or something else whose ending is one of `others`."""

    def __init__(self, *others: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = (".csv", ".jsonl", *others)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        file = super().convert(value, param, ctx)
        if file.suffix.lower() not in self.endings:
            self.fail(f"{file} must end with {' or '.join(self.endings)}.", param, ctx)
        return file


def save_rows(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Writes rows as a table (.csv; what is nested in columns such as attributes.gender) or a line of JSON each (.jsonl)."""
    write(file, as_csv(rows) if file.suffix.lower() == ".csv" else as_json_lines(rows))
    print_note(f"{len(rows)} rows in {file}.")


def write(file: Path, text: str) -> None:
    """Writes a file and the folders above it."""
    make(file.parent)
    try:
        file.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written ({error.strerror}).") from error


def make(folder: Path) -> None:
    """Makes a folder, and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The folder {folder} cannot be made ({error.strerror}).") from error
