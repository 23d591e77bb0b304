"""Sharing of an embedded index between the process that writes it and those that read it.

    lock          held by the one process that has the engine open: a run, or a reader while its query is answered
    wanted        made by a reader that found the lock taken
    snapshot-N/   a copy of the index as it was flushed, itself the folder of an index; a run makes it where one is wanted, and
                  removes it at its end

Readers wait for each other, and read a snapshot beside a run. What takes long, and an index whose folder cannot be written, is
read from a private copy.
"""

import logging
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

from filelock import FileLock, Timeout

from voxdex.encoders.paths import NEW, voxdex_home
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.files import LEAST_FREE, LOCK, check_free_space, copy_file
from voxdex.indexer.store.shards import INDEX, copy_shard, read_description

log = logging.getLogger("voxdex")

CACHE = ".cache.json"
"""End of the name of a file of cached data, in the folder of the index."""
WANTED = "wanted"
SNAPSHOT = re.compile(r"snapshot-\d+")
PRIVATE = "snapshots"
"""Folder of private copies, in the user's data folder."""
READ_SECONDS = 60.0
"""Time that a reader waits for other readers, or for a run's snapshot."""
STALE_SECONDS = 5.0
"""Age up to which a snapshot answers without being made anew, and the time that a reader waits for a newer one."""
POLL_SECONDS = 0.05


def lock_for_reading(folder: Path) -> tuple[Path, FileLock]:
    """Take the lock of an index, or of a snapshot of it while a run holds that; return the folder to read, and the lock.

    Raises:
        StoreError: neither is to be had within READ_SECONDS.
        OSError: the folder cannot be written.
    """
    started, asked, wanted = time.monotonic(), -math.inf, folder / WANTED
    while (now := time.monotonic()) < started + READ_SECONDS:
        if lock := _lock_at_once(folder):
            wanted.unlink(missing_ok=True)
            return folder, lock
        if (asked > 0 and not wanted.exists()) or now > started + STALE_SECONDS:
            for snapshot in reversed(snapshots(folder)):
                if lock := _lock_at_once(snapshot):
                    return snapshot, lock
        if now > asked + STALE_SECONDS:  # again where other readers keep the snapshots that there are
            wanted.touch()
            asked = now
        time.sleep(POLL_SECONDS)
    raise StoreError(f"The index at {folder} is in use by another Voxdex process. Wait until it is done.")


def snapshots(folder: Path) -> list[Path]:
    """Return the snapshots of an index, oldest first."""
    return sorted((path for path in folder.glob("snapshot-*") if SNAPSHOT.fullmatch(path.name)), key=_number)


def _number(snapshot: Path) -> int:
    return int(snapshot.name.partition("-")[2])


def remove_snapshots(folder: Path, *, keep: int = 0) -> None:
    """Remove the snapshots of an index but for the newest `keep`, and those that are being read."""
    for snapshot in snapshots(folder)[: -keep or None]:
        if lock := _lock_at_once(snapshot):
            remove_copy(snapshot, lock)


class Publisher:
    """Makes snapshots of an index for readers, as long as a run holds its lock.

    Args:
        folder: of the index.
        exclusive: keeps the run from changing the index meanwhile.
        flush: writes to disk what the run has changed.
    """

    def __init__(self, folder: Path, exclusive: AbstractContextManager[object], flush: Callable[[], object]) -> None:
        self._folder, self._exclusive, self._flush = folder, exclusive, flush
        self._ended, self._made = Event(), -STALE_SECONDS
        remove_snapshots(folder)  # of a run that was killed
        (folder / WANTED).unlink(missing_ok=True)
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def publish(self) -> bool:
        """Make a snapshot of the present state, unless there is a fresh one.

        Return whether that worked: without a snapshot, as on a full disk, readers wait for the end of the run.
        """
        try:
            with self._exclusive:
                if time.monotonic() - self._made >= STALE_SECONDS and _is_index(self._folder):
                    self._copy()
            (self._folder / WANTED).unlink(missing_ok=True)
            remove_snapshots(self._folder, keep=1)
        except (StoreError, OSError) as error:
            log.debug("No snapshot of %s: %s", self._folder, error)
            return False
        return True

    def close(self) -> None:
        """End the sharing. The lock is still held."""
        self._ended.set()
        self._thread.join()
        remove_snapshots(self._folder)
        with suppress(OSError):
            (self._folder / WANTED).unlink(missing_ok=True)

    def _copy(self) -> None:
        check_free_space(self._folder)
        self._flush()
        number = max(map(_number, snapshots(self._folder)), default=0) + 1
        new = self._folder / f"snapshot-{number}{NEW}"
        copy_index_folder(self._folder, new)
        new.rename(self._folder / f"snapshot-{number}")
        self._made = time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS):
            if (self._folder / WANTED).exists() and not self.publish():
                self._ended.wait(STALE_SECONDS)


def copy_index_folder(folder: Path, to: Path) -> None:
    """Copy the index of a folder, which nobody changes meanwhile, into a new or empty one."""
    to.mkdir(parents=True, exist_ok=True)
    description = read_description(folder)
    if description is None:
        raise StoreError(f"The index at {folder} has lost its {INDEX}: open it with voxdex index, which recovers it.")
    copy_shard(folder / description.shard, to / description.shard)
    for file in (folder / INDEX, *folder.glob(f"{description.shard}-*{CACHE}")):
        if file.exists():
            copy_file(file, to / file.name)


def private_copy(folder: Path) -> tuple[Path, FileLock]:
    """Copy an index for one process; return the copy and its lock.

    Raises:
        StoreError: no disk has room for it, or a run is writing it.
    """
    size = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    reasons = []
    for place in (voxdex_home() / PRIVATE, Path(tempfile.gettempdir()) / f"voxdex-{PRIVATE}"):
        try:
            place.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(place)
            if shutil.disk_usage(place).free < size + LEAST_FREE:
                reasons.append(f"{place} has too little room")
                continue
            to = Path(tempfile.mkdtemp(dir=place))
        except OSError as error:
            reasons.append(f"{place}: {error.strerror}")
            continue
        try:
            lock = FileLock(to / LOCK)
            lock.acquire(timeout=0)
            with _unchanged(folder) as source:
                copy_index_folder(source, to)
            return to, lock
        except BaseException as error:
            shutil.rmtree(to, ignore_errors=True)
            if isinstance(error, OSError):
                raise StoreError(f"The index at {folder} cannot be copied to {place} ({error.strerror}).") from error
            raise
    raise StoreError(
        f"The index at {folder} cannot be copied to be read ({'; '.join(reasons)}): make room for {size / 1e6:.0f} MB."
    )


def remove_copy(copy: Path, lock: FileLock) -> None:
    """Remove a snapshot or a private copy whose lock this process has."""
    shutil.rmtree(copy, ignore_errors=True)
    lock.release()


@contextmanager
def _unchanged(folder: Path) -> Iterator[Path]:
    """Keep an index, or a snapshot of it, from being changed; yield its folder."""
    try:
        source, lock = lock_for_reading(folder)
    except OSError:  # it cannot be written
        with _unwritable(folder):
            yield folder
        return
    try:
        yield source
    finally:
        lock.release()


@contextmanager
def _unwritable(folder: Path) -> Iterator[None]:
    """Keep an index that this process may not write from being changed by others, where the system can."""
    try:
        import fcntl

        file = os.open(folder / LOCK, os.O_RDONLY)
    except (ImportError, OSError):  # no other process has ever written it, or none can be kept from it
        yield
        return
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StoreError(f"The index at {folder} is in use by another Voxdex process. Wait until it is done.") from None
    finally:
        os.close(file)


def _lock_at_once(folder: Path) -> FileLock | None:
    """Take the lock of a folder; None where another process has it, or there is no index any more."""
    if not _is_index(folder):
        return None
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return None
    if _is_index(folder):
        return lock
    remove_copy(folder, lock)  # removed between: taking the lock has made the folder again
    return None


def _is_index(folder: Path) -> bool:
    with suppress(StoreError):
        return read_description(folder) is not None
    return False


def _remove_abandoned(place: Path) -> None:
    """Remove the copies of processes that have ended without removing them."""
    for folder in filter(lambda folder: (folder / LOCK).exists(), place.iterdir()):  # without a lock it is being made
        with suppress(OSError, Timeout):
            lock = FileLock(folder / LOCK)
            lock.acquire(timeout=0)
            remove_copy(folder, lock)
