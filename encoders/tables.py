"""Manifests: CSV files with a row a recording, its column `path` and what is known of it."""

import csv
from pathlib import Path

CAPTION_SEPARATOR = " | "
"""Between the captions of one recording."""


class ManifestError(ValueError):
    """A manifest that cannot be used. The message is a sentence for the user."""


def read_manifest(path: Path, column: str | None = None) -> list[dict[str, str]]:
    """The rows of a CSV manifest (UTF-8, with a header) that name a recording and, if asked, say something in `column`.

    Raises:
        ManifestError: it cannot be read, lacks the columns, or has nothing in them.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{name: value or "" for name, value in row.items() if name} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ManifestError(f"{path} cannot be read as CSV in UTF-8 ({error}).") from error
    needed = ["path", *([column] if column else [])]
    for name in needed:
        if not rows or name not in rows[0]:
            raise ManifestError(f"{path} has no column {name!r}, or no rows.")
    rows = [row for row in rows if all(row[name] for name in needed)]
    if not rows:
        raise ManifestError(f"{path} has nothing in its column {needed[-1]!r}.")
    return rows
