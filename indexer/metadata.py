"""What a user already knows about recordings: a CSV file with a row a recording."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from indexer.files import absolute


class MetadataError(ValueError):
    """A metadata file that cannot be used. The message is a sentence for the user."""


class Metadata:
    """Rows by recording. A column is a number where every cell of it that is filled is a plain decimal one.

    Args:
        file: CSV with a header; the column `path` names the recordings, absolute or relative to the file's folder.

    Raises:
        MetadataError: it cannot be read, has no column `path` or one with a quotation mark, or a row's path is empty.
    """

    def __init__(self, file: Path) -> None:
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                reader = csv.DictReader(lines, restkey="_")
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise MetadataError(f"{file} cannot be read as CSV in UTF-8 ({error}).") from error
        if not rows or "path" not in reader.fieldnames:
            raise MetadataError(f"{file} has no column 'path', or no rows: its first line must name the columns.")
        columns = [column for column in reader.fieldnames if column not in ("path", "")]
        for column in columns:
            if '"' in column:
                raise MetadataError(f"{file}: the column {column!r} has a quotation mark in its name; rename it.")
        self.kinds = {column: _kind([row[column] for row in rows]) for column in columns}
        """Column -> "number" or "text"."""
        self._rows = {}
        for number, row in enumerate(rows, start=1):
            if not row["path"]:
                raise MetadataError(f"{file}: row {number} after the header has nothing in its column 'path'.")
            self._rows[str(absolute(file.parent / row["path"]))] = {
                column: float(row[column]) if self.kinds[column] == "number" else row[column]
                for column in columns
                if row[column]
            }

    def of(self, path: str) -> dict[str, Any]:
        """What is known of a recording: column -> value, empty cells left out."""
        return self._rows.get(path, {})

    def unmatched(self, paths: Iterable[str]) -> int:
        """How many rows name none of these recordings."""
        return len(self._rows.keys() - set(paths))


def _kind(cells: list[str | None]) -> str:
    """Shelf marks such as 0012 and numbers too long to be kept exactly stay text."""
    filled = [cell for cell in cells if cell]
    return "number" if filled and all(re.fullmatch(r"-?(0|[1-9]\d{0,14})(\.\d{1,9})?", cell) for cell in filled) else "text"
