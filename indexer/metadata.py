"""The user's metadata of recordings: a table with one row per recording."""

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from pathlib import Path
from typing import Any

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.tables import TableError, read_csv
from voxdex.indexer.scan import beside
from voxdex.indexer.store.base import RECORDING, Store
from voxdex.indexer.store.filters import key_in
from voxdex.indexer.store.values import is_day

KEY = "path"
"""Column with the paths of the recordings."""
DATE_FORMS = ("%d.%m.%Y", "%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y")
"""Forms of dates beside ISO 8601, as datetime.strptime names them."""


class MetadataError(TableError):
    """A metadata file that cannot be used. The message is a sentence for the user."""


@dataclass(frozen=True)
class Metadata:
    """Metadata rows by the name of a recording: a full path, the end of one, or a file name with or without its suffix.

    kinds: column -> "number", "date" or "text". rows: name -> column -> value, without empty cells.
    """

    kinds: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]

    def of(self, path: str) -> dict[str, Any] | None:
        """Return the row of a recording, None for none; of several rows the one with the longest name."""
        return next((dict(self.rows[name]) for name in _names(path) if name in self.rows), None)

    def joined_with(self, others: Sequence[Mapping[str, Any]]) -> "tuple[Metadata, list[dict[str, Any]]]":
        """Return the metadata, and other rows of an index, with the kinds that the columns have in both together."""
        names, rows = list(self.rows), [dict(row) for row in (*self.rows.values(), *others)]
        kinds = {}
        for column in self.kinds:
            filled = [row for row in rows if column in row]
            kinds[column], cells = _typed([_cell(row[column]) for row in filled])
            for row, cell in zip(filled, cells, strict=True):
                row[column] = cell
        return Metadata(kinds, dict(zip(names, rows, strict=False))), rows[len(names) :]

    def unmatched(self, paths: Iterable[str]) -> list[str]:
        """Return the names of rows that match none of these recordings."""
        named = {name for path in paths for name in _names(path)}
        return [name for name in self.rows if name not in named]

    def without_row(self, paths: Iterable[str]) -> list[str]:
        """Return those of some recordings that have no row."""
        return [path for path in paths if not any(name in self.rows for name in _names(path))]


def read_metadata(file: Path) -> Metadata:
    """Read a table: CSV, JSON lines or the first sheet of an Excel workbook, with the column names in the first line.

    The column `path`, in any case, names recordings: absolute, relative to the file's folder, or, where no such file exists,
    the end of the recording's path, such as its path within the indexed folder or its file name. The kind of a column is
    "number" if all its filled cells are plain decimal numbers, and "date" if all are dates such as 2019-05-31, 31.5.2019 or
    5/31/2019, which are stored as the first form.

    Raises:
        TableError: the file cannot be read as CSV.
        MetadataError: the file cannot be read in another format, has no column `path` or one with a quotation mark or a
            backslash in its name, or the path of a row is empty or repeats that of an earlier row.
    """
    read = {".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".xlsx": _read_excel}.get(file.suffix.lower(), _read_csv)
    rows = [{_column(name): _plain(cell).strip() for name, cell in row.items()} for row in read(file)]
    rows = [{column: cell for column, cell in row.items() if column and cell} for row in rows]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    if KEY not in columns:
        found = f"it has: {', '.join(columns)}" if columns else "it has none"
        raise MetadataError(f"{file} has no column 'path' that names the recordings; {found}.")
    columns.remove(KEY)
    for column in columns:
        if {'"', "\\"} & set(column):
            raise MetadataError(f"{file}: the column {column!r} has a quotation mark or a backslash in its name; rename it.")
    by_name: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if KEY not in row:
            raise MetadataError(f"{file}: row {number} after the header has nothing in its column 'path'.")
        name = _name_in(file, row[KEY])
        if name in by_name:
            raise MetadataError(f"{file}: row {number} after the header names {row[KEY]!r} again.")
        by_name[name] = {column: cell for column, cell in row.items() if column != KEY}
    return Metadata(dict.fromkeys(columns, "text"), by_name).joined_with([])[0]


def stored_metadata(store: Store) -> Metadata:
    """Return the metadata stored in an index, for another index of the same recordings."""
    rows: dict[str, Mapping[str, Any]] = {}
    for payload in store.payloads(RECORDING, ("file_metadata",)):
        rows |= payload.get("file_metadata") or {}
    schema = store.schema()
    columns = {column for row in rows.values() for column in row}
    return Metadata({column: schema.get(key_in("metadata", column), "text") for column in columns}, rows)


def _read_csv(file: Path) -> list[dict[str, str]]:
    return [{name: cell for name, cell in row.items() if cell} for row in read_csv(file)]


def _read_json_lines(file: Path) -> list[dict[str, str]]:
    rows = []
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8-sig").split("\n"), start=1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} is not an object")
                rows.append({str(name): _cell(value) for name, value in row.items() if value is not None})
    except (OSError, ValueError, RecursionError) as error:
        raise MetadataError(f"{file} cannot be read as JSON lines in UTF-8 ({error}).") from error
    return rows


def _read_excel(file: Path) -> list[dict[str, str]]:
    import openpyxl

    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        header, *lines = [list(line) for line in book.worksheets[0].iter_rows(values_only=True)] or [[]]
    except Exception as error:  # openpyxl raises whatever the zip and XML readers raise
        raise MetadataError(f"{file} cannot be read as an Excel workbook ({error}).") from error
    names = ["" if name is None else str(name).strip() for name in header]
    rows = [{name: _cell(cell) for name, cell in zip(names, line, strict=False) if name and cell is not None} for line in lines]
    return rows


def _plain(text: str) -> str:
    """Return text that an index can store: without NUL and lone surrogates."""
    return re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def _cell(value: Any) -> str:
    """Return a typed cell as the text of a CSV file."""
    if isinstance(value, datetime):
        return str(value.date() if value.time() == time() else value.replace(microsecond=0, tzinfo=None))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


def _column(name: str) -> str:
    """Return the name of a column; `path` in any case is KEY."""
    name = _plain(name).strip()
    return KEY if name.lower() == KEY else name


def _name_in(file: Path, path: str) -> str:
    """Return the name of a row: a full path, or the end of one where no such file exists beside the table."""
    full, end = beside(file, path), Path(os.path.normpath(path))
    is_whole = is_url(path) or end.is_absolute() or end.parts[:1] in ((), (os.pardir,)) or os.path.exists(full)
    return unicodedata.normalize("NFC", full if is_whole else str(end))


def _names(path: str) -> list[str]:
    """Return the possible names of a recording: its path, each end of it, and the file name without its suffix.

    They are in the composed form of Unicode, whichever one the file system and the table have.
    """
    path = unicodedata.normalize("NFC", path)
    ends = [path[match.end() :] for match in re.finditer(r"/|" + re.escape(os.sep), path)]
    return [path, *(end for end in ends if end and not end.startswith("/")), Path(path).stem]


def _typed(cells: Sequence[str]) -> tuple[str, list[Any]]:
    """Return the kind of a column with these cells, and their values. Shelf marks such as 0012 and long numbers are text."""
    if not cells:
        return "text", []
    if all(re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?", cell) for cell in cells):
        return "number", list(map(float, cells))
    if all(re.fullmatch(r"-?(0|[1-9]\d{0,14})(,(\d{1,2}|\d{4,9}))?", cell) for cell in cells):  # 1,500 may mean 1500
        return "number", [float(cell.replace(",", ".")) for cell in cells]
    if all(map(is_day, cells)):
        return "date", list(cells)
    read = [dates for form in DATE_FORMS if (dates := _dates(cells, form))]
    return ("date", read[0]) if len(read) == 1 else ("text", list(cells))  # 4/5/2019 alone may be in April or in May


def _dates(cells: Sequence[str], form: str) -> list[str]:
    """Return dates of a form as ISO 8601; [] where a cell has another form."""
    try:
        return [datetime.strptime(cell, form).date().isoformat() for cell in cells]
    except ValueError:
        return []
