"""How far the run is that writes an index, for others to see."""

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.pipeline import Progress
from indexer.store.disk import LOCK

RUNNING = "running.json"


def announce(progress: Progress | None, folder: Path) -> None:
    """Leaves word in the folder of an index, None that the run is over; where that cannot be, nobody is told."""
    with suppress(OSError):
        if progress is None:
            return (folder / RUNNING).unlink(missing_ok=True)
        new = folder / f"{RUNNING}.new"
        new.write_text(json.dumps(asdict(progress)), encoding="utf-8")
        new.replace(folder / RUNNING)


def running(folder: Path) -> Progress | None:
    """How far the run is; None where none writes the index now."""
    try:
        with FileLock(folder / LOCK, timeout=0):
            return None
    except (Timeout, OSError):
        pass
    try:
        return Progress(**json.loads((folder / RUNNING).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
