"""The index that is asked: by many at once, and beside a run that writes it."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from threading import Event, Lock, Thread
from typing import Any

from encoders.model_folder import locate
from encoders.phonetic_model import PhoneticModel
from indexer import Folder, Overview, Place, Progress, open_listener, overview
from indexer.replica import copy_of, discard
from indexer.running import running
from indexer.store import EdgeStore, Filter, Store, StoreError
from search import Background
from web.batching import SharedModel

log = logging.getLogger("voxdex")

MOST_COUNTED = 1000
LOOK_SECONDS = 2.0
"""How often it is seen whether the index has changed."""


@dataclass
class Opened:
    """An index as it was at some time, and what answering about it takes. users: who ask it now."""

    store: Store
    model: SharedModel
    background: Background
    clips: int
    revision: tuple[Any, ...]
    since: datetime = field(default_factory=datetime.now)
    users: int = 0
    is_past: bool = False
    _values: dict[tuple[str, Filter], Mapping[str, int]] = field(default_factory=dict, repr=False)

    @cached_property
    def listener(self) -> PhoneticModel | None:
        """What embeds what is said, where the index holds that."""
        return open_listener(self.store)

    @cached_property
    def overview(self) -> Overview:
        """What is in it; counted once, as it does not change."""
        return overview(self.store)

    def values(self, field: str, where: Filter) -> Mapping[str, int]:
        """How many clips that meet a filter have each value of a field, about; kept, as it is asked again and again."""
        if len(self._values) > MOST_COUNTED:
            self._values.clear()
        found = self._values.get((field, where))
        if found is None:
            found = self._values[field, where] = self.store.facet(field, where, exact=False)
        return found

    def close(self) -> None:
        """Lets go of it, and of the copy."""
        if isinstance(self.store, EdgeStore):
            discard(self.store)
        else:
            self.store.close()


class Library:
    """Keeps an index open for reading; of an embedded one a copy, which follows whatever runs change.

    Args:
        place: where the index is.
        device: see open_model.
        on_run: see SharedModel.

    Raises:
        ModelError: the model of the index cannot be opened.
    """

    def __init__(self, place: Place, device: str, on_run: Callable[[str, int], None]) -> None:
        self.place = place
        self._device, self._on_run = device, on_run
        self._opened: Opened | None = None
        self._lock, self._closed = Lock(), Event()
        self._reason = ""
        self.refresh()

    @contextmanager
    def opened(self) -> Iterator[Opened]:
        """The index, for as long as a question takes.

        Raises:
            StoreError: there is none, or none could be opened yet.
        """
        with self._lock:
            opened = self._opened
            if opened is None:
                raise StoreError(self._reason)
            opened.users += 1
        try:
            yield opened
        finally:
            with self._lock:
                opened.users -= 1
                self._close_if_past(opened)

    def refresh(self) -> None:
        """Opens the index as it is now, where it has changed since it was opened, and nobody writes it."""
        try:
            revision = self.place.revision()
            if self._opened and (revision == self._opened.revision or not revision or self.progress()):
                return
            store = copy_of(self.place.path) if isinstance(self.place, Folder) else self.place.open()
        except StoreError as error:
            self._reason = str(error)
            return
        former = self._opened
        is_same = former is not None and former.store.space == store.space
        model = former.model if is_same else SharedModel(locate(store.model), self._device, self._on_run)
        fresh = Opened(store, model, Background.of(store), store.count(), revision)
        with self._lock:
            self._opened = fresh
            if former:
                former.is_past = True
                self._close_if_past(former)

    def progress(self) -> Progress | None:
        """How far a run is that writes the index; None where there is none, or on a server."""
        return running(self.place.path) if isinstance(self.place, Folder) else None

    def watch(self) -> None:
        """Follows what runs change, in the background, until close()."""
        Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Lets go of the index, once nobody asks it any more."""
        self._closed.set()
        with self._lock:
            if self._opened:
                self._opened.is_past = True
                self._close_if_past(self._opened)
            self._opened, self._reason = None, "The index is closed."

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            try:
                self.refresh()
            except Exception:
                log.exception("The index could not be opened again; the one before it goes on answering.")

    @staticmethod
    def _close_if_past(opened: Opened) -> None:
        if opened.is_past and not opened.users:
            opened.close()
