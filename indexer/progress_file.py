"""How far the run is that writes an index, for others to see."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from voxdex.encoders.paths import read_json, replace_file
from voxdex.indexer.index import Progress
from voxdex.indexer.store.files import LOCK

RUNNING = "running.json"


def write_progress(progress: Progress | None, folder: Path) -> None:
    """Leaves word in the folder of an index, None that the run is over; where that cannot be, nobody is told."""
    with suppress(OSError):
        if progress is None:
            return (folder / RUNNING).unlink(missing_ok=True)
        # not durable: it is of use only while the process lives
        replace_file(folder / RUNNING, json.dumps(asdict(progress)), durable=False)


def read_progress(folder: Path) -> Progress | None:
    """How far the run is; None where none writes the index now."""
    if not (folder / LOCK).exists():  # which taking it would make
        return None
    try:
        with FileLock(folder / LOCK, timeout=0):
            return None
    except (Timeout, OSError):
        pass
    try:
        return Progress(**(read_json(folder / RUNNING) or {}))
    except TypeError:
        return None
