"""Routes of the index's state and its map."""

from dataclasses import asdict
from typing import Any

import numpy as np
from fastapi import APIRouter, HTTPException

from voxdex.indexer.speakers import list_speakers
from voxdex.search.query import ClipRecord
from voxdex.web.schemas import Speakers
from voxdex.web.state import AppState, installed_models

COORDINATE_MAX = 65_535
"""Largest coordinate of the map in an answer."""


def routes(state: AppState) -> APIRouter:
    """Return the routes of status, speakers and map."""
    router = APIRouter()

    @router.get("/status")
    def status() -> dict[str, Any]:
        """Statistics of the index, its failures, the installed models, and the progress of a run that writes it."""
        progress = state.index.progress()
        running = {"running": asdict(progress) if progress else None}
        models = [asdict(card) | {"name": name} for name, card in installed_models().items()]
        with state.index.opened() as index:
            return state.status(index) | running | {"models": models}

    @router.get("/speakers", response_model=Speakers)
    def speakers() -> dict[str, Any]:
        """Who speaks in the recordings, those who speak longest first; none where nobody has asked for it."""
        with state.index.opened() as index:
            found = list_speakers(index.speakers.store) if index.speakers else []
            return {"speakers": [speaker.document() for speaker in found]}

    @router.get("/map")
    def embedding_map() -> dict[str, Any]:
        """The map of all clips: lists of x and y, 0 to 65535, and for each attribute its labels and the clips' label codes."""
        drawn = state.map.current()
        if drawn is None:
            return {"ready": False, "failure": state.map.failure}
        x, y = (drawn.coordinates.T * COORDINATE_MAX).round().astype(np.uint16).tolist()
        attributes = {
            name: {"labels": colours.labels, "codes": colours.codes.tolist()} for name, colours in drawn.attributes.items()
        }
        return {"ready": True, "method": drawn.method, "x": x, "y": y, "attributes": attributes}

    @router.get("/map/{number}", response_model=ClipRecord)
    def clip_on_map(number: int) -> ClipRecord:
        """The stored description of a clip, by its position in the lists of the map."""
        drawn = state.map.current()
        if drawn is None or not 0 <= number < len(drawn.ids):
            raise HTTPException(404, "The map has no such clip.")
        with state.index.opened() as index:
            return state.clip(index, drawn.ids[number])

    return router
