"""The HTTP API. Answers are JSON of the same form as the commands print with --json."""

from fastapi import APIRouter

from voxdex.web.api import clips, search, status, teaching, tools
from voxdex.web.schemas import ErrorResponse
from voxdex.web.state import AppState


def routes(state: AppState) -> APIRouter:
    """Return all routes under /api."""
    api = APIRouter(prefix="/api", tags=["api"], responses={400: {"model": ErrorResponse}, 503: {"model": ErrorResponse}})
    for module in (search, tools, clips, teaching, status):
        api.include_router(module.routes(state))
    return api
