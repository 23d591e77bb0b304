"""CSV tables in and out, and manifests: tables with a row for each recording."""

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxdex.encoders.audio.remote import Location, is_url
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.paths import replace_file

SEPARATORS = ",;\t|"
"""Between cells, the usual one first."""
CAPTION_SEPARATOR = " | "
"""Between the captions of one recording, in the column `caption`."""


class TableError(VoxdexError):
    """A CSV file that cannot be read, or lacks columns."""


class ManifestError(TableError):
    """A manifest that cannot be used."""


def read_csv(file: Location) -> list[dict[str, str]]:
    """Read a CSV file as a list of rows, without spaces around names and cells.

    The first line names the columns. The text is in UTF-8, or in UTF-16 with a byte order mark; cells are separated by commas,
    semicolons, tabs or vertical bars, whichever make the most columns of the first line. Missing cells are "", cells beyond the
    header are dropped.

    Raises:
        TableError: it is a URL, cannot be read, or is in another encoding.
    """
    if is_url(file):
        raise TableError(f"{file} is a URL, and tables are read from this machine only: download it and give the file.")
    try:
        text = decoded(Path(file).read_bytes())
        marked = re.match(r"sep=(.)\r?\n", text)  # as Excel writes it
        lines = io.StringIO(text[marked.end() :] if marked else text, newline="")
        rows = csv.DictReader(lines, delimiter=marked[1] if marked else _separator(lines), skipinitialspace=True)
        return [{name.strip(): (cell or "").strip() for name, cell in row.items() if name and name.strip()} for row in rows]
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = error.object[error.start : error.end].hex(" ")
        raise TableError(
            f"{file} cannot be read as CSV: line {line} is not in UTF-8 (byte {found}). Save it in UTF-8."
        ) from error
    except (OSError, csv.Error) as error:
        raise TableError(f"{file} cannot be read as CSV ({error}).") from error


def decoded(data: bytes, *, fallback: str | None = None) -> str:
    """Decode text in UTF-8, or in UTF-16 with a byte order mark, or else in an encoding that has a character for every byte.

    Raises:
        UnicodeDecodeError: it is in neither, and there is no `fallback`.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if fallback is None:
            raise
        return data.decode(fallback, "replace")


def _separator(lines: io.StringIO) -> str:
    """Return the separator that makes the most columns of the first line, a comma where none does."""
    header = lines.readline()
    lines.seek(0)
    return max(SEPARATORS, key=lambda separator: len(next(csv.reader([header], delimiter=separator), [])))


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


def write_excel(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows to the first sheet of an Excel workbook, atomically, with the columns in order of appearance.

    Text stays text, even if it looks like a formula; characters that no workbook may hold are left out.
    """
    import openpyxl
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    from openpyxl.styles import Font

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Voxdex")
    sheet.freeze_panes = "B2"
    columns = list(dict.fromkeys(name for row in rows for name in row))

    def cell(value: Any) -> Any:
        made = WriteOnlyCell(sheet, ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value)
        if isinstance(value, str):
            made.data_type = "s"
        return made

    header = list(map(cell, columns))
    for each in header:
        each.font = Font(bold=True)
    sheet.append(header)
    for row in rows:
        sheet.append([cell(row.get(name)) for name in columns])
    out = io.BytesIO()
    book.save(out)
    replace_file(file, out.getvalue())


def read_manifest(path: Path, column: str | None = None) -> list[dict[str, str]]:
    """Read the rows of a manifest that have a value in `path` and, if given, in `column`; names of columns in any case.

    Raises:
        TableError: it cannot be read.
        ManifestError: it lacks one of the columns, or no row has a value in both.
    """
    rows = [{name.lower(): cell for name, cell in row.items()} for row in read_csv(path)]
    needed = ["path", *([column] if column else [])]
    for name in needed:
        if not rows or name not in rows[0]:
            found = f"; it has: {', '.join(rows[0])}" if rows else ", or no rows"
            raise ManifestError(f"{path} has no column {name!r}{found}.")
    rows = [row for row in rows if all(row[name] for name in needed)]
    if not rows:
        raise ManifestError(f"{path} has nothing in its column {needed[-1]!r}.")
    return rows
