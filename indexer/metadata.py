"""The user's metadata of recordings: a table with one row per recording."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.tables import TableError, read_csv
from voxdex.indexer.scan import beside
from voxdex.indexer.store.base import RECORDING, Store
from voxdex.indexer.store.filters import as_period, key_in

KEY = "path"
"""Column with the paths of the recordings."""


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

    def fitted_to(self, schema: Mapping[str, str]) -> "Metadata":
        """Return the metadata for an index with these field kinds: numbers become text where the field is text already."""

        def fit(column: str, value: Any) -> Any:
            is_text = schema.get(key_in("metadata", column)) == "text"
            return _cell(value) if is_text and isinstance(value, float) else value

        rows = {name: {column: fit(column, value) for column, value in row.items()} for name, row in self.rows.items()}
        return replace(self, rows=rows)

    def unmatched(self, paths: Iterable[str]) -> list[str]:
        """Return the names of rows that match none of these recordings."""
        named = {name for path in paths for name in _names(path)}
        return [name for name in self.rows if name not in named]

    def without_row(self, paths: Iterable[str]) -> list[str]:
        """Return those of some recordings that have no row."""
        return [path for path in paths if not any(name in self.rows for name in _names(path))]


def read_metadata(file: Path) -> Metadata:
    """Read a table: CSV, JSON lines or the first sheet of an Excel workbook, with the column names in the first line.

    The column `path` names recordings: absolute, relative to the file's folder, or, where no such file exists, the end of the
    recording's path, such as its path within the indexed folder or its file name. The kind of a column is "number" if all its
    filled cells are plain decimal numbers, and "date" if all are dates such as 2019-05-31.

    Raises:
        TableError: the file cannot be read as CSV.
        MetadataError: the file cannot be read in another format, has no column `path` or one with a quotation mark or a
            backslash in its name, or the path of a row is empty or repeats that of an earlier row.
    """
    read = {".jsonl": _read_json_lines, ".ndjson": _read_json_lines, ".xlsx": _read_excel}.get(file.suffix.lower(), _read_csv)
    rows = [{_plain(name): _plain(cell) for name, cell in row.items()} for row in read(file)]
    columns = list(dict.fromkeys(column for row in rows for column in row if column))
    if KEY not in columns:
        raise MetadataError(f"{file} has no column 'path', or no rows: its first line must name the columns.")
    columns.remove(KEY)
    for column in columns:
        if {'"', "\\"} & set(column):
            raise MetadataError(f"{file}: the column {column!r} has a quotation mark or a backslash in its name; rename it.")
    kinds = {column: _kind([row.get(column) for row in rows]) for column in columns}
    by_name: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if KEY not in row:
            raise MetadataError(f"{file}: row {number} after the header has nothing in its column 'path'.")
        name = _name_in(file, row[KEY])
        if name in by_name:
            raise MetadataError(f"{file}: row {number} after the header names {row[KEY]!r} again.")
        by_name[name] = {
            column: float(row[column]) if kinds[column] == "number" else row[column] for column in columns if row.get(column)
        }
    return Metadata(kinds, by_name)


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
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


def _name_in(file: Path, path: str) -> str:
    """Return the name of a row: a full path, or the end of one where no such file exists beside the table."""
    full, end = beside(file, path), Path(os.path.normpath(path))
    is_whole = is_url(path) or end.is_absolute() or end.parts[:1] in ((), (os.pardir,)) or os.path.exists(full)
    return full if is_whole else str(end)


def _names(path: str) -> list[str]:
    """Return the possible names of a recording: its path, each end of it, and the file name without its suffix."""
    ends = [path[match.end() :] for match in re.finditer(r"/|" + re.escape(os.sep), path)]
    return [path, *(end for end in ends if end and not end.startswith("/")), Path(path).stem]


def _kind(cells: list[str | None]) -> str:
    """Return the kind of a column. Shelf marks such as 0012 and numbers of more than 15 digits are text."""
    filled = [cell for cell in cells if cell]
    if filled and all(re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?", cell) for cell in filled):
        return "number"
    return "date" if filled and all(cell.count("-") == 2 and as_period(cell) for cell in filled) else "text"
