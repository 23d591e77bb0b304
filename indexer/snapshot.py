"""A copy of an embedded index to read from, so that others may write the index meanwhile."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from voxdex.encoders.paths import voxdex_home
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import LOCK
from voxdex.indexer.store.shards import expect_index

REPLICAS = "replicas"


def open_snapshot(folder: Path) -> EdgeStore:
    """Opens a copy of an index as it is now; discard() it when it is no longer needed.

    Raises:
        StoreError: there is no index, it is damaged, or a run writes it just now.
    """
    expect_index(folder)
    place = voxdex_home() / REPLICAS
    try:
        place.mkdir(parents=True, exist_ok=True)
        _sweep(place)
        to = Path(tempfile.mkdtemp(dir=place))
        try:
            return EdgeStore.copied(folder, to)
        except BaseException:
            shutil.rmtree(to, ignore_errors=True)
            raise
    except OSError as error:
        raise StoreError(f"The index at {folder} cannot be copied to {place} ({error}). Make room there.") from error


def delete_snapshot(copy: EdgeStore) -> None:
    """Closes a copy and removes it."""
    copy.close()
    shutil.rmtree(copy.folder, ignore_errors=True)


def _sweep(place: Path) -> None:
    """Removes the copies of processes that have died."""
    for folder in filter(lambda folder: (folder / LOCK).exists(), place.iterdir()):  # without one it is being made
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
