"""State of a server: the open index, uploads, caches and metrics, and the operations on them that requests share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from threading import Lock
from typing import Any
from uuid import UUID

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.model_card import ModelCard, find_models, read_card
from voxdex.encoders.paths import voxdex_home
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.scan import FileState
from voxdex.indexer.store.base import CLIP, KIND, RECORDING, Store
from voxdex.indexer.store.filters import And, Filter, HasId
from voxdex.search.engine import search_index
from voxdex.search.query import ClipId, ClipRecord, Hit, Query, QueryError, QueryInput, QuerySpec, clip_fields
from voxdex.search.query_parser import parse_query
from voxdex.search.recordings import clips_of_content
from voxdex.search.understanding import search_notes
from voxdex.web.clip_audio import ClipAudioCache
from voxdex.web.embedding_map import EmbeddingMap
from voxdex.web.index_reader import IndexReader, IndexSnapshot
from voxdex.web.metrics import Metrics
from voxdex.web.settings import Settings
from voxdex.web.uploads import PREFIX, UploadStore


class UnknownClipError(QueryError):
    """A clip that the index does not hold."""

    http_status = 404


@dataclass(frozen=True)
class AppState:
    """State of one server."""

    settings: Settings
    index: IndexReader
    uploads: UploadStore
    clip_audio: ClipAudioCache
    map: EmbeddingMap
    metrics: Metrics
    _write_lock: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    def of(cls, location: IndexLocation, settings: Settings, device: str = "auto") -> "AppState":
        """Open an index for a server.

        Raises:
            ModelError: its model cannot be opened.
        """
        metrics = Metrics()
        reader = IndexReader(location, device, metrics.record_batch)
        return cls(
            settings=settings,
            index=reader,
            uploads=UploadStore(settings.uploads, settings.max_audio_seconds),
            clip_audio=ClipAudioCache(),
            map=EmbeddingMap(reader, voxdex_home() / "maps"),
            metrics=metrics,
        )

    def search(self, index: IndexSnapshot, query: Query) -> list[Hit]:
        """Answer a query, best first.

        Raises:
            QueryError, TextError, FilterError, StoreError: see search_index.
        """
        return search_index(
            query, index.store, index.model,
            cohort=index.cohort, open_phonetic=lambda: index.phonetic_model, speakers=index.speakers if query.voice else None,
        )  # fmt: skip

    def browse(self, index: IndexSnapshot, where: Filter, most: int) -> list[ClipRecord]:
        """Return clips that a filter lets through, without a query: at most `most`, by recording and time.

        Raises:
            FilterError: the filter names an unknown field, or compares values without an order.
        """
        found = index.store.query(index.cohort.vectors[0], most, where) if index.clips else []
        clips = [ClipRecord(**clip_fields(clip)) for clip in found]
        return sorted(clips, key=lambda clip: (clip.recording, clip.start))

    def notes(self, index: IndexSnapshot, query: Query, hits: Sequence[Hit]) -> list[str]:
        """Return sentences for the user on the answer to a query; see search_notes."""
        speakers = index.speakers if query.voice else None
        return search_notes(query, hits, card=index.model.card, store=index.store, speakers=speakers)

    def parse(self, spec: QuerySpec, region: str | None = None) -> Query:
        """Parse a query. region: a polygon of the map that all hits are in; None for the whole archive.

        Raises:
            QueryError, TextError, FilterError: see parse_query.
        """
        query = parse_query(spec, self._find_sound, parse_clip_id)
        return replace(query, where=And((query.where, HasId(tuple(self.map.region(region)))))) if region else query

    @contextmanager
    def writing(self) -> Iterator[Store]:
        """Open the index for a change, one at a time.

        Raises:
            StoreError: a run is writing it.
        """
        with self._write_lock, self.index.location.open() as store:
            yield store

    def clip(self, index: IndexSnapshot, id: str) -> ClipRecord:
        """Return a clip by its id.

        Raises:
            QueryError: the id is invalid; UnknownClipError if the index holds no such clip.
        """
        return self.clips(index, [id])[0]

    def clips(self, index: IndexSnapshot, ids: list[str]) -> list[ClipRecord]:
        """Return clips by their ids, in that order.

        Raises:
            QueryError: an id is invalid; UnknownClipError if the index holds no such clip.
        """
        points = {point.id: point for point in index.store.retrieve(list(map(parse_clip_id, ids)))}
        missing = [id for id in ids if id not in points or points[id].payload[KIND] != CLIP]
        if missing:
            raise UnknownClipError(f"The index holds no clip {missing[0]}.")
        return [ClipRecord(**clip_fields(points[id])) for id in ids]

    def clips_of_recording(self, index: IndexSnapshot, clip: ClipRecord) -> list[ClipRecord]:
        """Return all clips of a clip's recording, in order of time."""
        [point] = index.store.retrieve([clip.id])
        return clips_of_content(point.payload["content"], index.store)

    def check_unchanged(self, index: IndexSnapshot, clip: ClipRecord) -> None:
        """Check that the recording of a clip is what was indexed, before it is sent as it is: another file may lie there now.

        Raises:
            AudioError: its size or modification time is another.
        """
        [point] = index.store.retrieve([clip.id])
        recordings = index.store.points({KIND: RECORDING, "content": point.payload["content"]})
        files = {path: state for recording in recordings for path, *state in recording.payload.get("files") or ()}
        if not is_url(clip.recording) and list(FileState.of(clip.recording))[1:] != files.get(clip.recording):
            raise AudioError("it has changed since it was indexed; its clips can be played")

    def status(self, index: IndexSnapshot) -> dict[str, Any]:
        """Return the statistics of the index, its location, and the time when it was opened."""
        opened = index.since.isoformat(timespec="seconds")
        return asdict(index.statistics) | {"location": str(self.index.location), "since": opened}

    def close(self) -> None:
        """Close the index and delete the cached clips."""
        self.index.close()
        self.clip_audio.close()

    def _find_sound(self, name: str) -> QueryInput:
        return self.uploads.find(name) if name.startswith(PREFIX) else ClipId(parse_clip_id(name))


def installed_models() -> dict[str, ModelCard]:
    """Return the cards of all installed models, by name.

    Raises:
        ModelError: a card cannot be read.
    """
    return {name: read_card(folder) for name, folder in find_models().items()}


def parse_clip_id(text: str) -> str:
    """Return the id of a clip in the form that the index stores.

    Raises:
        QueryError: it is no UUID.
    """
    try:
        return str(UUID(text))
    except ValueError:
        raise QueryError(f"{text[:60]!r} is no clip's id.") from None
