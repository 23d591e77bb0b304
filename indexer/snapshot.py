"""Reading an index beside the run that writes it: copies of an embedded index, and the progress of the run."""

import json
import shutil
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from voxdex.encoders.paths import read_json, replace_file, voxdex_home
from voxdex.indexer.report import Progress
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import LOCK
from voxdex.indexer.store.shards import expect_index

SNAPSHOTS = "snapshots"
"""Folder of the copies, in the user's data folder."""
PROGRESS = "running.json"
"""File of a run's progress, in the folder of the index."""


def open_snapshot(folder: Path) -> EdgeStore:
    """Copy an index as it is now, and open the copy; delete_snapshot() removes it.

    Raises:
        StoreError: there is no index, it is damaged, or a run is writing it.
    """
    expect_index(folder)
    home = voxdex_home() / SNAPSHOTS
    try:
        home.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(home)
        to = Path(tempfile.mkdtemp(dir=home))
        try:
            return EdgeStore.open_copy(folder, to)
        except BaseException:
            shutil.rmtree(to, ignore_errors=True)
            raise
    except OSError as error:
        raise StoreError(f"The index at {folder} cannot be copied to {home} ({error}). Make room there.") from error


def delete_snapshot(copy: EdgeStore) -> None:
    """Close a copy and remove it."""
    copy.close()
    shutil.rmtree(copy.folder, ignore_errors=True)


def _remove_abandoned(home: Path) -> None:
    """Remove the copies of processes that have ended without removing them."""
    for folder in filter(lambda folder: (folder / LOCK).exists(), home.iterdir()):  # without a lock it is being made
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)


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
