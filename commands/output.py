"""Results as files for other programs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from voxdex.commands.console import print_note
from voxdex.encoders.paths import replace_file
from voxdex.search.formats import as_csv, as_json_lines


class RowsFile(click.Path):
    """A file of rows to write: .csv, .jsonl, or one of the suffixes in `others`."""

    def __init__(self, *others: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.suffixes = (".csv", ".jsonl", *others)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        file = Path(os.fsdecode(super().convert(value, param, ctx)))
        if file.suffix.lower() not in self.suffixes:
            self.fail(f"{file} must end with {' or '.join(self.suffixes)}.", param, ctx)
        return file


def save_rows(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Write rows as CSV (nested values in columns such as attributes.gender), or as JSON lines."""
    write_text(file, as_csv(rows) if file.suffix.lower() == ".csv" else as_json_lines(rows))
    print_note(f"{len(rows)} rows in {file}.")


def write_text(file: Path, text: str) -> None:
    """Write a text file in UTF-8 and the folders above it; bytes that are not UTF-8 are written as escapes."""
    make_folder(file.parent)
    try:
        replace_file(file, text.encode("utf-8", "backslashreplace"), durable=False)
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written ({error.strerror}).") from error


def make_folder(folder: Path) -> None:
    """Create a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The folder {folder} cannot be made ({error.strerror}).") from error
