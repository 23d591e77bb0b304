"""Files of an embedded index: its lock, free disk space, and copies without holes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from voxdex.indexer.store.base import StoreError

LOCK = "lock"
LOCK_SECONDS = 10.0
"""Time that a run waits for another process to release the lock. Readers hold it while a query is answered."""
LEAST_FREE = 256_000_000
"""Free bytes below which nothing is written: the engine maps files into memory, and a full disk would kill the process."""
BLOCK = 1 << 24
"""Bytes that are copied at a time."""


class LowSpaceError(StoreError):
    """A disk that is too full to be written safely."""


def check_free_space(folder: Path) -> None:
    """Raise LowSpaceError where the disk of a folder is nearly full."""
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise LowSpaceError(
            f"The disk of the index at {folder} has only {free / 1e6:.0f} MB left, too few to write to it safely. "
            "What is stored is kept: make room and run the same command again."
        )


@contextmanager
def released_on_error(lock: FileLock) -> Iterator[FileLock]:
    """Release a lock if the block raises."""
    try:
        yield lock
    except BaseException:
        lock.release()
        raise


def take_lock(folder: Path) -> FileLock:
    """Take the lock of an index's folder; raises StoreError where another process has it, or it cannot be written."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise StoreError(f"The index at {folder} is in use by another Voxdex process. Wait until it is done.") from None
    except OSError as error:
        raise StoreError(f"The index at {folder} cannot be locked ({error.strerror}): it must be writable.") from error
    return lock


def copy_file(source: str | Path, target: str | Path) -> None:
    """Copy a file without its holes: the engine's files are large and mostly empty."""
    if not hasattr(os, "SEEK_DATA"):
        shutil.copyfile(source, target)
        return
    with Path(source).open("rb") as source_file, Path(target).open("wb") as target_file:
        size = os.fstat(source_file.fileno()).st_size
        for start, end in _data_ranges(source_file.fileno(), size):
            source_file.seek(start)
            target_file.seek(start)
            for position in range(start, end, BLOCK):
                target_file.write(source_file.read(min(BLOCK, end - position)))
        target_file.truncate(size)


def _data_ranges(file: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the parts of an open file between its holes."""
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
