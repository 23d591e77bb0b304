"""What requests are answered with."""

from dataclasses import asdict, dataclass, replace
from typing import Any
from uuid import UUID

from voxdex.encoders import find_models
from voxdex.encoders.model_folder import ModelCard, read_card, voxdex_home
from voxdex.indexer import Place
from voxdex.indexer.store import CLIP, KIND, All, Among
from voxdex.search import Asked, Clip, FoundClip, Hit, QueryError, find, find_said
from voxdex.search.query import Part, about_clip
from voxdex.web.atlas import Atlas
from voxdex.web.library import Library, Opened
from voxdex.web.listening import ClipSounds
from voxdex.web.meters import Meters
from voxdex.web.schemas import SearchRequest
from voxdex.web.settings import Settings
from voxdex.web.sounds import PREFIX, Sounds


class UnknownClip(QueryError):
    """A clip that the index does not hold."""


@dataclass(frozen=True)
class Services:
    """All that one server works with."""

    settings: Settings
    library: Library
    sounds: Sounds
    clips: ClipSounds
    atlas: Atlas
    meters: Meters

    @classmethod
    def of(cls, place: Place, settings: Settings, device: str = "auto") -> "Services":
        """Opens an index to be asked.

        Raises:
            ModelError: its model cannot be opened.
        """
        meters = Meters()
        library = Library(place, device, meters.ran)
        sounds = Sounds(settings.sounds, settings.longest_seconds)
        return cls(settings, library, sounds, ClipSounds(), Atlas(library, voxdex_home() / "maps"), meters)

    def search(self, opened: Opened, request: SearchRequest) -> tuple[Asked, list[Hit]]:
        """What was asked, and what fits it.

        Raises:
            QueryError, FilterError, StoreError: see search.find.
        """
        asked = request.asked()
        query = asked.query(self._sound, clip_id, request.ranking(), request.limit, (request.page - 1) * request.limit)
        if request.region:
            query = replace(query, where=All((query.where, Among(tuple(self.atlas.region(request.region))))))
        if query.says:
            return asked, find_said(query, opened.store, opened.model, opened.listener, opened.background)
        return asked, find(query, opened.store, opened.model, opened.background)

    def clip(self, opened: Opened, id: str) -> FoundClip:
        """A clip by its id.

        Raises:
            QueryError: it is no clip's id; an UnknownClip where there is none of it.
        """
        return self.chosen(opened, [id])[0]

    def chosen(self, opened: Opened, ids: list[str]) -> list[FoundClip]:
        """Clips by their ids, in that order.

        Raises:
            QueryError: one is no clip's id; an UnknownClip where there is none of it.
        """
        points = {point.id: point for point in opened.store.retrieve(list(map(clip_id, ids)))}
        gone = [id for id in ids if id not in points or points[id].payload[KIND] != CLIP]
        if gone:
            raise UnknownClip(f"The index holds no clip {gone[0]}.")
        return [FoundClip(**about_clip(points[id])) for id in ids]

    def neighbours(self, opened: Opened, clip: FoundClip) -> list[FoundClip]:
        """All clips of a clip's recording, in order."""
        [point] = opened.store.retrieve([clip.id])
        points = opened.store.points({KIND: CLIP, "content": point.payload["content"]})
        return sorted((FoundClip(**about_clip(each)) for each in points), key=lambda each: each.start)

    def status(self, opened: Opened) -> dict[str, Any]:
        """What is in the index, and how old that is."""
        return asdict(opened.overview) | {"place": str(self.library.place), "since": opened.since.isoformat(timespec="seconds")}

    def close(self) -> None:
        """Lets go of everything."""
        self.library.close()
        self.clips.close()

    def _sound(self, name: str) -> Part:
        return self.sounds.find(name) if name.startswith(PREFIX) else Clip(clip_id(name))


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
