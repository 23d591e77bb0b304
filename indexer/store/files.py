"""What an index in a folder asks of its disk: a lock, room, files that are copied without their holes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from voxdex.indexer.store.base import StoreError

LOCK = "lock"
LOCK_SECONDS = 5.0
LEAST_FREE = 256_000_000
"""Bytes on disk below which nothing more is written: the engine maps files into memory, and a full disk would kill it."""
COPIED = 1 << 24
"""Bytes that are copied at a time."""


def see_to_room(folder: Path) -> None:
    """Raises StoreError where the disk of a folder is all but full."""
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise StoreError(
            f"The disk of the index at {folder} has only {free / 1e6:.0f} MB left, too few to write to it safely. "
            "What is stored is kept: make room and run the same command again."
        )


@contextmanager
def released_on_error(lock: FileLock) -> Iterator[FileLock]:
    """Lets go of a lock if what is done under it fails."""
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def locked(folder: Path) -> FileLock:
    """Takes the lock of an index's folder; raises StoreError where another process has it, or it cannot be written."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StoreError(f"The index at {folder} is in use by another Voxdex process. Wait until it is done.") from None
    except OSError as error:
        raise StoreError(f"The index at {folder} cannot be locked ({error.strerror}): it must be writable.") from error
    return lock


def copy_file(source: str, target: str) -> None:
    """Copies a file and leaves out its holes: the engine's files are made large and mostly empty."""
    if not hasattr(os, "SEEK_DATA"):
        return shutil.copyfile(source, target)
    with Path(source).open("rb") as given, Path(target).open("wb") as made:
        size = os.fstat(given.fileno()).st_size
        for start, end in _filled(given.fileno(), size):
            given.seek(start)
            made.seek(start)
            for place in range(start, end, COPIED):
                made.write(given.read(min(COPIED, end - place)))
        made.truncate(size)


def _filled(file: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of an open file between its holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            raise
        end = os.lseek(file, start, os.SEEK_HOLE)
        yield start, end
