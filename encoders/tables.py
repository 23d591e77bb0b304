"""CSV tables in and out, and manifests: tables with a row for each recording."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxdex.encoders.audio.remote import Location, is_url
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.paths import replace_file

CAPTION_SEPARATOR = " | "
"""Between the captions of one recording, in the column `caption`."""


class TableError(VoxdexError):
    """A CSV file that cannot be read, or lacks columns."""


class ManifestError(TableError):
    """A manifest that cannot be used."""


def read_csv(file: Location) -> list[dict[str, str]]:
    """Read a CSV file (UTF-8, with a header) as a list of rows; missing cells are "", cells beyond the header are dropped.

    Raises:
        TableError: it is a URL, or cannot be read.
    """
    if is_url(file):
        raise TableError(f"{file} is a URL, and tables are read from this machine only: download it and give the file.")
    try:
        with Path(file).open(encoding="utf-8-sig", newline="") as lines:
            return [{name: cell or "" for name, cell in row.items() if name} for row in csv.DictReader(lines)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{file} cannot be read as CSV in UTF-8 ({error}).") from error


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Format rows as CSV with a header.

    Args:
        rows: values by column; missing ones become empty cells.
        columns: the columns to write, in order; None for all columns in order of appearance.
    """
    out = io.StringIO()
    columns = list(dict.fromkeys(name for row in rows for name in row)) if columns is None else columns
    writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write_csv(file: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Write rows to a CSV file in UTF-8, atomically; see csv_text."""
    replace_file(file, csv_text(rows, columns).encode("utf-8", "backslashreplace"))


def read_manifest(path: Path, column: str | None = None) -> list[dict[str, str]]:
    """Read the rows of a manifest that have a value in `path` and, if given, in `column`.

    Raises:
        TableError: it cannot be read.
        ManifestError: it lacks one of the columns, or no row has a value in both.
    """
    rows = read_csv(path)
    needed = ["path", *([column] if column else [])]
    for name in needed:
        if not rows or name not in rows[0]:
            raise ManifestError(f"{path} has no column {name!r}, or no rows.")
    rows = [row for row in rows if all(row[name] for name in needed)]
    if not rows:
        raise ManifestError(f"{path} has nothing in its column {needed[-1]!r}.")
    return rows
