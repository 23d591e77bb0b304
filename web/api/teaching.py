"""Routes of taught words."""

from typing import Any

from fastapi import APIRouter, HTTPException

from voxdex.indexer.taught import forget_taught, read_taught, write_taught
from voxdex.search.teach import teach
from voxdex.web.schemas import TaughtWord, TaughtWords, TeachRequest
from voxdex.web.state import AppState, parse_clip_id


def routes(state: AppState) -> APIRouter:
    """Return the routes of taught words; those that change the index need --allow-teaching."""
    router = APIRouter()

    def check_allowed() -> None:
        if not state.settings.allows_teaching:
            raise HTTPException(403, "This server does not change its index: start it with --allow-teaching.")

    @router.get("/taught", response_model=TaughtWords)
    def taught() -> dict[str, Any]:
        """The words that the index was taught."""
        with state.index.opened() as index:
            labels = read_taught(index.store).values()
        return {"taught": [{"name": label.name, "quality": vars(label.quality)} for label in labels]}

    @router.post("/teach", response_model=TaughtWord)
    def teach_word(request: TeachRequest) -> dict[str, Any]:
        """Teach the index a word with clips that sound so and clips that do not; without `keep`, only judge it."""
        liked, unliked = (list(map(parse_clip_id, ids)) for ids in (request.liked, request.unliked))
        if not request.keep:
            with state.index.opened() as index:
                lesson = teach(request.name, index.store, index.model, liked=liked, unliked=unliked)
        else:
            check_allowed()
            with state.index.opened() as index, state.writing() as store:
                lesson = teach(request.name, store, index.model, liked=liked, unliked=unliked)
                write_taught(store, lesson.label)
            state.index.refresh()
        return {
            "name": lesson.label.name,
            "quality": vars(lesson.label.quality),
            "kept": request.keep,
            "next": lesson.next_clips,
        }

    @router.delete("/taught/{name}", response_model=TaughtWords)
    def forget(name: str) -> dict[str, Any]:
        """Remove a taught word from the index; return the others."""
        check_allowed()
        with state.writing() as store:
            forget_taught(store, name.lower())
        state.index.refresh()
        return taught()

    return router
