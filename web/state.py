"""What requests are answered with."""

from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from voxdex.encoders.model_card import ModelCard, find_models, read_card
from voxdex.encoders.paths import voxdex_home
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.store.base import CLIP, KIND
from voxdex.indexer.store.filters import And, HasId
from voxdex.search.engine import search_index
from voxdex.search.query import ClipId, ClipRecord, Hit, QueryError, QueryInput, clip_fields
from voxdex.search.query_parser import QuerySpec
from voxdex.search.spoken import search_spoken
from voxdex.web.clip_audio import ClipAudioCache
from voxdex.web.embedding_map import EmbeddingMap
from voxdex.web.index_reader import IndexReader, IndexSnapshot
from voxdex.web.metrics import Metrics
from voxdex.web.schemas import SearchRequest
from voxdex.web.settings import Settings
from voxdex.web.uploads import PREFIX, UploadStore


class UnknownClip(QueryError):
    """A clip that the index does not hold."""

    http_status = 404


@dataclass(frozen=True)
class AppState:
    """All that one server works with."""

    settings: Settings
    library: IndexReader
    sounds: UploadStore
    clips: ClipAudioCache
    atlas: EmbeddingMap
    meters: Metrics

    @classmethod
    def of(cls, place: IndexLocation, settings: Settings, device: str = "auto") -> "AppState":
        """Opens an index to be asked.

        Raises:
            ModelError: its model cannot be opened.
        """
        meters = Metrics()
        library = IndexReader(place, device, meters.ran)
        sounds = UploadStore(settings.sounds, settings.longest_seconds)
        return cls(settings, library, sounds, ClipAudioCache(), EmbeddingMap(library, voxdex_home() / "maps"), meters)

    def search(self, opened: IndexSnapshot, request: SearchRequest) -> tuple[QuerySpec, list[Hit]]:
        """What was asked, and what fits it.

        Raises:
            QueryError, FilterError, StoreError: see search.find.
        """
        asked = request.asked()
        query = asked.query(self._sound, clip_id, request.ranking(), request.limit, (request.page - 1) * request.limit)
        if request.region:
            query = replace(query, where=And((query.where, HasId(tuple(self.atlas.region(request.region))))))
        if query.says:
            return asked, search_spoken(query, opened.store, opened.model, opened.listener, opened.background)
        return asked, search_index(query, opened.store, opened.model, opened.background)

    def clip(self, opened: IndexSnapshot, id: str) -> ClipRecord:
        """A clip by its id.

        Raises:
            QueryError: it is no clip's id; an UnknownClip where there is none of it.
        """
        return self.chosen(opened, [id])[0]

    def chosen(self, opened: IndexSnapshot, ids: list[str]) -> list[ClipRecord]:
        """Clips by their ids, in that order.

        Raises:
            QueryError: one is no clip's id; an UnknownClip where there is none of it.
        """
        points = {point.id: point for point in opened.store.retrieve(list(map(clip_id, ids)))}
        gone = [id for id in ids if id not in points or points[id].payload[KIND] != CLIP]
        if gone:
            raise UnknownClip(f"The index holds no clip {gone[0]}.")
        return [ClipRecord(**clip_fields(points[id])) for id in ids]

    def neighbours(self, opened: IndexSnapshot, clip: ClipRecord) -> list[ClipRecord]:
        """All clips of a clip's recording, in order."""
        [point] = opened.store.retrieve([clip.id])
        points = opened.store.points({KIND: CLIP, "content": point.payload["content"]})
        return sorted((ClipRecord(**clip_fields(each)) for each in points), key=lambda each: each.start)

    def status(self, opened: IndexSnapshot) -> dict[str, Any]:
        """What is in the index, and how old that is."""
        return asdict(opened.overview) | {"place": str(self.library.place), "since": opened.since.isoformat(timespec="seconds")}

    def close(self) -> None:
        """Lets go of everything."""
        self.library.close()
        self.clips.close()

    def _sound(self, name: str) -> QueryInput:
        return self.sounds.find(name) if name.startswith(PREFIX) else ClipId(clip_id(name))


def known_models() -> dict[str, ModelCard]:
    """The cards of all models that there are, by name.

    Raises:
        ModelError: one cannot be read.
    """
    return {name: read_card(folder) for name, folder in find_models().items()}


def clip_id(name: str) -> str:
    """The id of a clip, in the form in which the index has it.

    Raises:
        QueryError: it is none.
    """
    try:
        return str(UUID(name))
    except ValueError:
        raise QueryError(f"{name[:60]!r} is no clip's id.") from None
