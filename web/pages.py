"""The pages, rendered on the server; static/ holds their scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, Response

from voxdex.encoders.errors import TextError
from voxdex.encoders.zero_shot import heard_attributes
from voxdex.indexer.speakers import ATTRIBUTE
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError, group_fields
from voxdex.indexer.transcripts import TRANSCRIPT_TEXT
from voxdex.search.engine import count_values
from voxdex.search.formats import short_name, span
from voxdex.search.query import Facet, Hit, QueryError
from voxdex.web.clip_audio import is_playable
from voxdex.web.index_reader import IndexSnapshot
from voxdex.web.schemas import SearchRequest
from voxdex.web.security import LOGIN, is_token, logged_in, own_path
from voxdex.web.state import AppState, installed_models
from voxdex.web.templating import TEMPLATES
from voxdex.web.uploads import PREFIX

EXAMPLES = ("breathy, sad female voice", "an angry man, not shouting", "a calm old lady", "whispering", "a deep, rough voice")
FACET_HITS = 100
"""Hits of a query, shown a page at a time, among which the values of facets are counted."""
PAGE_HITS = 20
"""Hits on a page."""
MAX_VALUES, MAX_FACETS = 12, 8
"""Values shown of a facet, and facets shown. Counting a facet among half of 100,000 clips takes up to 50 ms."""
FIRST_FACETS, FIRST = ("gender", "age", "emotion", ATTRIBUTE, "pitch", "phonation"), 4
"""Predicted fields whose facets come first, and the number of predicted fields that come before metadata."""
CONTEXT_CLIPS = 100
"""Clips of a recording shown before and after one."""
DEFAULTS = SearchRequest(caption=None, region=None).model_dump(by_alias=True)
"""Values of the fields of a query without any."""
CHIPS = ("like", "voice", "not", "unlike", "move", "liked", "disliked", "within")
"""Lists of a query that are shown as chips, under their JSON names."""


@dataclass(frozen=True)
class FacetValue:
    """A value of a facet: clips with it among the hits and in total, and the address that selects or deselects it."""

    value: str
    hits: int
    total: int
    selected: bool
    address: str


@dataclass(frozen=True)
class QueryChip:
    """An item of the query without a form field, and the address of the query without it."""

    kind: str
    text: str
    address: str


def routes(state: AppState) -> APIRouter:
    """Return the routes of all pages."""
    pages = APIRouter()

    @pages.get("/", response_class=HTMLResponse)
    def search(request: Request, form: Annotated[SearchRequest, Query()]) -> HTMLResponse:
        form = drop_empty(form)
        spec = form.spec()
        empty = not any((spec.captions, spec.like, spec.move, spec.liked, spec.spoken_text, spec.text, spec.voice))
        page: dict[str, Any] = {"spec": spec, "region": form.region, "fields": form.model_dump(by_alias=True), "error": ""}
        page |= {"defaults": DEFAULTS, "examples": EXAMPLES, "empty": empty, "hits": [], "browsed": [], "facets": {}}
        page |= {"more": False, "notes": []}
        first = (spec.page - 1) * PAGE_HITS
        with state.index.opened() as index:
            try:
                all_hits = form.model_copy(update={"limit": FACET_HITS, "page": 1}).spec()
                query = state.parse(all_hits, form.region)
                hits = [] if empty else state.search(index, query)
                shown = hits[first : first + PAGE_HITS]
                browsed = state.browse(index, query.where, FACET_HITS) if empty and (spec.where or form.region) else []
                page |= {
                    "hits": shown,
                    "browsed": browsed,
                    "found": len(hits),
                    "among": index.count(query.where),
                    "more": len(hits) > first + PAGE_HITS,
                    "facets": facets(index, hits, form),
                    "notes": [] if empty else state.notes(index, query, shown),
                }
            except (QueryError, FilterError, TextError) as error:
                page["error"] = str(error)
            page |= {"clips": index.clips, "model": index.model.card, "has_phonetic": index.store.phonetic is not None}
            page |= {"has_transcripts": TRANSCRIPT_TEXT in index.store.schema()}
        page |= {"chips": chips(form, page["hits"]), "address": lambda **changes: address(form, **changes)}
        return TEMPLATES.TemplateResponse(request, "search.html", page, 400 if page["error"] else 200)

    @pages.post(LOGIN)
    def login(
        request: Request, token: Annotated[str, Form(max_length=1000)], target: Annotated[str, Form(max_length=16_000)]
    ) -> Response:
        if is_token(token, state.settings):
            return logged_in(request.scope, state.settings, own_path(target))
        return TEMPLATES.TemplateResponse(request, "token.html", {"target": target, "wrong": True}, 401)

    @pages.get("/clips/{id}", response_class=HTMLResponse)
    def recording(request: Request, id: str) -> HTMLResponse:
        with state.index.opened() as index:
            clip = state.clip(index, id)
            clips = state.clips_of_recording(index, clip)
        first = max(0, clips.index(clip) - CONTEXT_CLIPS)
        page = {
            "clip": clip,
            "clips": clips[first : first + 2 * CONTEXT_CLIPS],
            "first": first,
            "total": len(clips),
            "playable": is_playable(clip),
        }
        return TEMPLATES.TemplateResponse(request, "recording.html", page)

    @pages.get("/map", response_class=HTMLResponse)
    def map_page(request: Request) -> HTMLResponse:
        with state.index.opened() as index:
            return TEMPLATES.TemplateResponse(request, "map.html", {"attributes": heard_attributes(index.model.card)})

    @pages.get("/status", response_class=HTMLResponse)
    def status(request: Request) -> HTMLResponse:
        reason, statistics = "", None
        try:
            with state.index.opened() as index:
                statistics = state.status(index)
        except StoreError as error:
            reason = str(error)
        page = {"progress": state.index.progress(), "status": statistics, "reason": reason, "models": installed_models()}
        return TEMPLATES.TemplateResponse(request, "status.html", page)

    @pages.get("/help", response_class=HTMLResponse)
    def help_page(request: Request) -> HTMLResponse:
        return TEMPLATES.TemplateResponse(request, "help.html", {"document": request.app.openapi()})

    return pages


def error_page(request: Request, status: int, reason: str, state: AppState) -> HTMLResponse:
    """Render an error."""
    page = {"reason": reason, "progress": state.index.progress()}
    return TEMPLATES.TemplateResponse(request, "error.html", page, status)


def drop_empty(form: SearchRequest) -> SearchRequest:
    """Return a request without its empty fields and blank items."""
    values = form.model_dump(by_alias=True, exclude_unset=True)
    kept = {
        name: [text for text in value if text.strip()] if isinstance(value, list) else value for name, value in values.items()
    }
    return SearchRequest.model_validate({name: value for name, value in kept.items() if value not in ("", [], None)})


def address(form: SearchRequest, **changes: Any) -> str:
    """Return the address of a query with changed fields, on its first page."""
    values = form.model_dump(by_alias=True, exclude_defaults=True) | {"page": 1} | changes
    return "/?" + urlencode(
        {name: value for name, value in values.items() if value and (name, value) != ("page", 1)}, doseq=True
    )


def chips(form: SearchRequest, hits: Sequence[Hit]) -> list[QueryChip]:
    """Return the chips above the hits, each with the address that removes it."""
    names = {hit.id: f"{short_name(hit.recording)} {span(hit.start, hit.end)}" for hit in hits}
    fields = form.model_dump(by_alias=True)
    found = []
    for kind in CHIPS:
        for text in fields[kind]:
            others = [other for other in fields[kind] if other != text]
            sound = "an uploaded sound" if text.startswith(PREFIX) else f"clip {text[:8]}"
            words = short_name(text) if kind == "within" else text if kind in ("not", "move") else names.get(text, sound)
            found.append(QueryChip(kind, words, address(form, **{kind: others})))
    if form.region:
        found.append(QueryChip("region", "of the map", address(form, region=None)))
    return found


def facets(index: IndexSnapshot, hits: Sequence[Hit], form: SearchRequest) -> Mapping[str, list[FacetValue]]:
    """Count the values of text fields among the hits and all clips that match the filters, by field."""
    fields = facet_fields(index)
    totals = index.values(fields, parse_filter(*form.spec().where))
    counted = (Facet(name, count_values(name, hits, index.store), totals[name]) for name in fields)
    return {facet.field: facet_values(facet, form) for facet in counted if is_useful(facet)}


def facet_fields(index: IndexSnapshot) -> list[str]:
    """Return the fields of the facets in their fixed order: predictions and metadata by turns of FIRST, then the others."""
    known = group_fields(key for key, kind in index.store.schema().items() if kind == "text")
    metadata = sorted(name for name, keys in known.items() if keys[0].startswith("metadata."))
    heard = [ATTRIBUTE, *(attribute.name for attribute in heard_attributes(index.model.card))]
    predicted = [name for name in dict.fromkeys((*FIRST_FACETS, *heard)) if name in known and name in heard]
    ordered = (*predicted[:FIRST], *metadata[:FIRST], *predicted[FIRST:], *metadata[FIRST:])
    return list(dict.fromkeys(ordered))[:MAX_FACETS]


def is_useful(facet: Facet) -> bool:
    """Return whether the values of a facet narrow an answer down: several, of which some have more than one clip."""
    is_distinct = len(facet.total) > MAX_VALUES and sum(facet.total.values()) < 2 * len(facet.total)
    return (len(facet.total) > 1 or bool(facet.hits)) and not is_distinct


def facet_values(facet: Facet, form: SearchRequest) -> list[FacetValue]:
    """Return the most frequent values of a facet."""
    filters = list(form.spec().where)
    values = sorted(facet.total, key=lambda value: (-facet.hits.get(value, 0), -facet.total[value], value))[:MAX_VALUES]
    found = []
    for value in values:
        condition = f'"{facet.field}"="{value}"' if '"' not in value else f'"{facet.field}"={value}'
        selected = condition in filters
        where = [each for each in filters if each != condition] + ([] if selected else [condition])
        found.append(
            FacetValue(value, facet.hits.get(value, 0), facet.total[value], selected, address=address(form, where=where))
        )
    return found
