"""Routes of searches."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from voxdex.indexer.store.filter_parser import parse_filter
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
            hits = state.search(index, spec, request.region)
            facets = count_facets(spec.facets, hits, index.store, parse_filter(*spec.where))
            return search_document(spec, hits, facets, state.notes(index, spec, hits))

    @router.post("/search", response_model=SearchAnswer)
    def search(request: SearchRequest) -> dict[str, Any]:
        """Find clips by captions, by example, or both."""
        return answer(request)

    @router.get("/search", response_model=SearchAnswer)
    def search_by_address(request: Annotated[SearchRequest, Query()]) -> dict[str, Any]:
        """Find clips; the same as POST, with the query in the address."""
        return answer(request)

    return router
