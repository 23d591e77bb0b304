"""Routes of searches."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from voxdex.search.engine import count_facets
from voxdex.search.formats import search_document
from voxdex.web.schemas import SearchAnswer, SearchRequest
from voxdex.web.state import AppState


def routes(state: AppState) -> APIRouter:
    """Return the routes of searches."""
    router = APIRouter()

    def answer(request: SearchRequest) -> dict[str, Any]:
        spec = request.spec()
        with state.index.opened() as index:
            query = state.parse(spec, request.region)
            hits = state.search(index, query)
            facets = count_facets(spec.facets, hits, index.store, query.where)
            notes = state.notes(index, query, hits)
            return search_document(spec, hits, clips=index.count(query.where), facets=facets, notes=notes)

    @router.post("/search", response_model=SearchAnswer)
    def search(request: SearchRequest) -> dict[str, Any]:
        """Find clips by captions, by example, or both."""
        return answer(request)

    @router.get("/search", response_model=SearchAnswer)
    def search_by_address(request: Annotated[SearchRequest, Query()]) -> dict[str, Any]:
        """Find clips; the same as POST, with the query in the address."""
        return answer(request)

    return router
