"""Answers as files for other programs."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from commands.terminal import note


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
    write(file, _as_csv(rows) if file.suffix.lower() == ".csv" else _as_json_lines(rows))
    note(f"{len(rows)} rows in {file}.")


def write(file: Path, text: str) -> None:
    """Writes a file and the folders above it."""
    make(file.parent)
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise click.ClickException(f"{file} cannot be written ({error.strerror}).") from error


def make(folder: Path) -> None:
    """Makes a folder, and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"The folder {folder} cannot be made ({error.strerror}).") from error


def _as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    flat = [_flat(row) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in flat for name in row)))
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(row: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in row.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return flat


def _as_json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
