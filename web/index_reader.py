"""Concurrent reading of an index, also while a run writes it."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from threading import Event, Lock, Thread
from typing import Any

from voxdex.encoders.model_card import locate
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.indexer.location import IndexLocation, LocalIndex, open_phonetic_encoder
from voxdex.indexer.progress import read_progress
from voxdex.indexer.report import Progress
from voxdex.indexer.speakers import SpeakerSpace, open_speakers
from voxdex.indexer.statistics import IndexStatistics, index_statistics
from voxdex.indexer.store.base import Store, StoreError
from voxdex.indexer.store.filters import MATCH_ALL, Filter
from voxdex.search.scoring import ScoreCohort
from voxdex.web.batching import SharedModel

log = logging.getLogger("voxdex")

MAX_COUNTED_FILTERS = 100
"""Filters whose value counts are cached; one more clears the cache."""
REFRESH_SECONDS = 2.0
"""Interval between checks for changes of the index."""


@dataclass
class IndexSnapshot:
    """An open state of an index, with what searches of it need. users: number of requests that use it.
    opened: what is closed with it."""

    store: Store
    model: SharedModel
    cohort: ScoreCohort
    clips: int
    revision: tuple[Any, ...]
    since: datetime = field(default_factory=datetime.now)
    users: int = 0
    is_replaced: bool = False
    location: IndexLocation | None = None
    opened: ExitStack = field(default_factory=ExitStack, repr=False)
    _values: dict[tuple[tuple[str, ...], Filter], Mapping[str, Mapping[str, int]]] = field(default_factory=dict, repr=False)

    @cached_property
    def phonetic_model(self) -> PhoneticModel | None:
        """The phonetic model of the index; None if it has no phonetic vectors."""
        return open_phonetic_encoder(self.store)

    @cached_property
    def speakers(self) -> SpeakerSpace | None:
        """The speakers of the index; None where it has none."""
        if self.location is None or not self.location.speakers.exists():
            return None
        return self.opened.enter_context(open_speakers(self.location))

    def close(self) -> None:
        """Close the index and its speakers."""
        self.opened.close()
        self.store.close()

    @cached_property
    def statistics(self) -> IndexStatistics:
        """Statistics of the index, counted once."""
        return index_statistics(self.store)

    def count(self, where: Filter) -> int:
        """Return the number of clips that match a filter."""
        return self.clips if where == MATCH_ALL else self.store.count(where=where)

    def values(self, fields: Sequence[str], where: Filter) -> Mapping[str, Mapping[str, int]]:
        """Count approximately the clips that match a filter for each value of fields, by field; counts are cached."""
        if len(self._values) > MAX_COUNTED_FILTERS:
            self._values.clear()
        key = (tuple(fields), where)
        counts = self._values.get(key)
        if counts is None:
            counts = self._values[key] = self.store.facets(fields, where, exact=False)
        return counts


class IndexReader:
    """An index open for reading. Of an embedded index, a copy is read, which is replaced when the index has changed.

    Args:
        location: location of the index.
        device: device of the model; see open_model.
        on_batch: called with "speech" or "text" and the batch size for each run of a graph.

    Raises:
        ModelError: the model of the index cannot be opened.
    """

    def __init__(self, location: IndexLocation, device: str, on_batch: Callable[[str, int], None]) -> None:
        self.location = location
        self._device, self._on_batch = device, on_batch
        self._opened: IndexSnapshot | None = None
        self._lock, self._closed = Lock(), Event()
        self._reason = ""
        self.refresh()

    @contextmanager
    def opened(self) -> Iterator[IndexSnapshot]:
        """Hold the open index during a request.

        Raises:
            StoreError: there is no index, or it could not be opened yet.
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
                self._close_if_unused(opened)

    def refresh(self) -> None:
        """Open the index again if it has changed and no run is writing it."""
        try:
            revision = self.location.revision()
            if self._opened and (revision == self._opened.revision or not revision or self.progress()):
                return
            store = self.location.read(for_long=True)
        except StoreError as error:
            self._reason = str(error)
            return
        former = self._opened
        if former is not None and former.store.space == store.space:
            model = former.model
        else:
            model = SharedModel(locate(store.model), self._device, self._on_batch)
        fresh = IndexSnapshot(store, model, ScoreCohort.of(store), store.count(), revision, location=self.location)
        with self._lock:
            self._opened = fresh
            if former:
                former.is_replaced = True
                self._close_if_unused(former)

    def progress(self) -> Progress | None:
        """Return the progress of a run that writes the index; None if there is none, or for an index on a server."""
        return read_progress(self.location.path) if isinstance(self.location, LocalIndex) else None

    def watch(self) -> None:
        """Refresh regularly in a background thread, until close()."""
        Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """Close the index after the last request that uses it."""
        self._closed.set()
        with self._lock:
            if self._opened:
                self._opened.is_replaced = True
                self._close_if_unused(self._opened)
            self._opened, self._reason = None, "The index is closed."

    def _watch(self) -> None:
        while not self._closed.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except Exception:
                log.exception("The index could not be opened again; its former state stays in use.")

    @staticmethod
    def _close_if_unused(opened: IndexSnapshot) -> None:
        if opened.is_replaced and not opened.users:
            opened.close()
