"""The progress of a run, in the folder of the index that it writes."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from voxdex.encoders.paths import read_json, replace_file
from voxdex.indexer.report import Progress
from voxdex.indexer.store.files import LOCK

PROGRESS = "running.json"


def write_progress(progress: Progress | None, folder: Path) -> None:
    """Write the progress of a run into the folder of its index, None at its end; errors are ignored."""
    with suppress(OSError):
        if progress is None:
            (folder / PROGRESS).unlink(missing_ok=True)
        else:  # not durable: it only matters while the process lives
            replace_file(folder / PROGRESS, json.dumps(asdict(progress)), durable=False)


def read_progress(folder: Path) -> Progress | None:
    """Read the progress of the run that writes an index; None where there is none."""
    if not (folder / LOCK).exists():  # taking the lock would create it
        return None
    try:
        with FileLock(folder / LOCK, timeout=0):
            return None
    except (Timeout, OSError):
        pass
    try:
        return Progress(**(read_json(folder / PROGRESS) or {}))
    except TypeError:
        return None
