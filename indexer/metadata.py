"""What a user already knows about recordings: a CSV file with a row a recording."""

import csv
import os
from pathlib import Path
from typing import Any

from indexer.store.filters import as_number


class MetadataError(ValueError):
    """A metadata file that cannot be used. The message is a sentence for the user."""


class Metadata:
    """Rows by recording. A column is a number where every cell of it that is filled is one.

    Args:
        file: CSV with a header; the column `path` names the recordings, absolute or relative to the file's folder.

    Raises:
        MetadataError: it cannot be read, or has no column `path`.
    """

    def __init__(self, file: Path) -> None:
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                rows = list(csv.DictReader(lines, restkey="_"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise MetadataError(f"{file} cannot be read as CSV in UTF-8 ({error}).") from error
        if not rows or "path" not in rows[0]:
            raise MetadataError(f"{file} has no column 'path', or no rows: its first line must name the columns.")
        columns = [column for column in rows[0] if column not in ("path", "_", "")]
        self.kinds = {column: _kind([row[column] for row in rows]) for column in columns}
        """Column -> "number" or "text"."""
        self._rows = {
            os.path.abspath(file.parent / row["path"]): {
                column: float(row[column]) if self.kinds[column] == "number" else row[column]
                for column in columns
                if row[column]
            }
            for row in rows
        }

    def __len__(self) -> int:
        return len(self._rows)

    def of(self, path: str) -> dict[str, Any]:
        """What is known of a recording: column -> value, empty cells left out."""
        return self._rows.get(path, {})


def _kind(cells: list[str | None]) -> str:
    filled = [cell for cell in cells if cell]
    return "number" if filled and all(as_number(cell) is not None for cell in filled) else "text"
