"""Watching folders: when something has changed, and which recordings are at rest, so that no half-copied one is read."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from threading import Event
from types import TracebackType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from voxdex.encoders.audio.remote import Location, is_folder, is_url
from voxdex.indexer.scan import ScanResult, find_recordings


class FolderWatch(FileSystemEventHandler):
    """Watches folders, and those below them, until the end of the block.

    Args:
        folders: of this machine; URLs and files are not watched.
    """

    def __init__(self, folders: Iterable[Location]) -> None:
        self._changed, self._observer = Event(), Observer()
        for folder in folders:
            if not is_url(folder) and is_folder(folder):
                self._observer.schedule(self, str(folder), recursive=True)

    def __enter__(self) -> "FolderWatch":
        self._observer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._observer.stop()
        self._observer.join()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Note an event; reading changes nothing."""
        if event.event_type not in ("opened", "closed_no_write"):
            self._changed.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a change, at most some seconds; return whether there was one since the last call."""
        changed = self._changed.wait(seconds)
        self._changed.clear()
        return changed


def scan_at_rest(paths: Sequence[Location], seconds: float) -> tuple[ScanResult, int]:
    """Scan paths twice, some seconds apart; return the recordings that have not changed, and the number of the others.

    A recording that was modified within these seconds counts as changing, too.
    """
    before = find_recordings(paths).recordings
    time.sleep(seconds)
    scan = find_recordings(paths)
    newest = time.time_ns() - int(seconds * 1e9)
    resting = {
        path: file
        for path, file in scan.recordings.items()
        if path in before and before[path] == file and (file is None or is_url(path) or file.mtime <= newest)
    }
    return replace(scan, recordings=resting), len(scan.recordings) - len(resting)
