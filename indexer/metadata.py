"""What a user already knows about recordings: a table with a row a recording."""

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.remote import is_url
from indexer.files import beside
from indexer.store import RECORDING, Store
from indexer.store.filters import as_period, key_in

KEY = "path"
"""The column that names the recordings."""


class MetadataError(ValueError):
    """A metadata file that cannot be used. The message is a sentence for the user."""


@dataclass(frozen=True)
class Metadata:
    """Rows by what names a recording: a full path, the end of one, or a file's name, with or without its suffix.

    kinds: column -> "number", "date" or "text". rows: name -> column -> value, empty cells left out.
    """

    kinds: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Any]]

    def of(self, path: str) -> dict[str, Any] | None:
        """What is known of a recording, None without a row; of several rows that which names it by the longest path."""
        return next((dict(self.rows[name]) for name in _names(path) if name in self.rows), None)

    def unmatched(self, paths: Iterable[str]) -> list[str]:
        """The rows that name none of these recordings."""
        named = {name for path in paths for name in _names(path)}
        return [name for name in self.rows if name not in named]

    def unknown(self, paths: Iterable[str]) -> list[str]:
        """Those of the recordings that no row names."""
        return [path for path in paths if not any(name in self.rows for name in _names(path))]


def read_metadata(file: Path) -> Metadata:
    """Reads a table: CSV, JSON lines or an Excel sheet (its first), the columns named in the first line.

    The column `path` names recordings: absolute, relative to the file's folder, or, where no file lies there, by the end of the
    recording's path, such as its path within the folder that is indexed, or its name alone. A column is a number where every
    cell of it that is filled is a plain decimal one, and a date where every one is as 2019-05-31.

    Raises:
        MetadataError: it cannot be read, has no column `path` or one with a quotation mark or a backslash, or a row's path is
            empty or names what an earlier row names.
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
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        if not row:
            continue
        if KEY not in row:
            raise MetadataError(f"{file}: row {number} after the header has nothing in its column 'path'.")
        name = _name_in(file, row[KEY])
        if name in found:
            raise MetadataError(f"{file}: row {number} after the header names {row[KEY]!r} again.")
        found[name] = {
            column: float(row[column]) if kinds[column] == "number" else row[column] for column in columns if row.get(column)
        }
    return Metadata(kinds, found)


def stored_metadata(store: Store) -> Metadata:
    """What an index has been told about its recordings, for another index of them."""
    rows: dict[str, Mapping[str, Any]] = {}
    for payload in store.payloads(RECORDING, ("recording", "metadata", "file_metadata")):
        rows |= payload.get("file_metadata") or {payload["recording"]: payload["metadata"]}
    schema = store.schema()
    columns = {column for row in rows.values() for column in row}
    return Metadata({column: schema.get(key_in("metadata", column), "text") for column in columns}, rows)


def _read_csv(file: Path) -> list[dict[str, str]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = list(csv.DictReader(lines, restkey=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MetadataError(f"{file} cannot be read as CSV in UTF-8 ({error}).") from error
    return [{name: cell for name, cell in row.items() if name and cell} for row in rows]


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
    """Text that an index can hold: without NUL and lone surrogates."""
    return re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


def _cell(value: Any) -> str:
    """A typed cell as the text that would stand in a CSV file."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value) if isinstance(value, (dict, list, bool)) else str(value)


def _name_in(file: Path, path: str) -> str:
    """What a sheet's row names recordings by: a full path, or the end of one where no file lies beside the sheet."""
    place, end = beside(file, path), Path(os.path.normpath(path))
    is_whole = is_url(path) or end.is_absolute() or end.parts[:1] in ((), (os.pardir,)) or os.path.exists(place)
    return place if is_whole else str(end)


def _names(path: str) -> list[str]:
    """What may name a recording: its path, each end of it down to the file's name, and that without its suffix."""
    ends = [path[place.end() :] for place in re.finditer(r"/|" + re.escape(os.sep), path)]
    return [path, *(end for end in ends if end and not end.startswith("/")), Path(path).stem]


def _kind(cells: list[str | None]) -> str:
    """Shelf marks such as 0012 and numbers too long to be kept exactly stay text. A date is a day, or a moment of one."""
    filled = [cell for cell in cells if cell]
    if filled and all(re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?", cell) for cell in filled):
        return "number"
    return "date" if filled and all(cell.count("-") == 2 and as_period(cell) for cell in filled) else "text"
