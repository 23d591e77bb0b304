"""The pages, rendered here; static/ makes them play."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates

from encoders import TextError
from encoders.zero_shot import heard_attributes
from indexer import StoreError
from indexer.store import FilterError
from indexer.store.filters import group_fields
from search import Facet, Hit, QueryError
from search.finding import count_among
from search.rendering import TOLD, short_name, span
from web.library import Opened
from web.listening import is_played
from web.schemas import SearchRequest
from web.services import Services, known_models

EXAMPLES = ("breathy, sad female voice", "an angry man, not shouting", "a calm old lady", "whispering", "a deep, rough voice")
FACETED = 100
"""Of how many hits values are counted; so many are found, and shown a page at a time."""
SHOWN = 20
MOST_VALUES, MOST_FACETS = 12, 14
AROUND = 100
"""Clips of a recording that are shown before and after one."""
TEMPLATES = Jinja2Templates(directory=Path(__file__).parent / "templates")
TEMPLATES.env.filters |= {"span": lambda clip: span(clip.start, clip.end), "short": short_name}
TEMPLATES.env.globals["told"] = TOLD


@dataclass(frozen=True)
class Choice:
    """A value of a facet: how many hits have it, and all; whether it is chosen, and where that can be changed."""

    value: str
    hits: int
    all: int
    chosen: bool
    address: str


@dataclass(frozen=True)
class Part:
    """A part of the query that has no box of its own, and the address of the query without it."""

    kind: str
    text: str
    address: str


def routes(services: Services) -> APIRouter:
    """All pages."""
    pages = APIRouter()

    @pages.get("/", response_class=HTMLResponse)
    def search(request: Request, asked: Annotated[SearchRequest, Query()]) -> HTMLResponse:
        asked = without_blanks(asked)
        empty = not any((asked.caption, asked.captions, asked.like, asked.move, asked.liked, asked.says))
        page = {"asked": asked, "examples": EXAMPLES, "empty": empty, "hits": [], "facets": {}, "more": False, "error": ""}
        with services.library.opened() as index:
            try:
                found = [] if empty else services.search(index, asked.model_copy(update={"limit": FACETED, "page": 1}))[1]
                first = (asked.page - 1) * SHOWN
                page |= {
                    "hits": found[first : first + SHOWN],
                    "found": len(found),
                    "more": len(found) > first + SHOWN,
                    "facets": facets(index, found, asked),
                }
            except (QueryError, FilterError, TextError) as error:
                page["error"] = str(error)
            page |= {"clips": index.clips, "model": index.model.card, "says": index.store.says}
        page |= {"parts": parts(asked, page["hits"]), "address": lambda **changes: address(asked, **changes)}
        return TEMPLATES.TemplateResponse(request, "search.html", page, 400 if page["error"] else 200)

    @pages.get("/clips/{id}", response_class=HTMLResponse)
    def recording(request: Request, id: str) -> HTMLResponse:
        with services.library.opened() as index:
            clip = services.clip(index, id)
            clips = services.neighbours(index, clip)
        first = max(0, clips.index(clip) - AROUND)
        page = {
            "clip": clip,
            "clips": clips[first : first + 2 * AROUND],
            "first": first,
            "all": len(clips),
            "whole": is_played(clip),
        }
        return TEMPLATES.TemplateResponse(request, "recording.html", page)

    @pages.get("/map", response_class=HTMLResponse)
    def map_page(request: Request) -> HTMLResponse:
        with services.library.opened() as index:
            return TEMPLATES.TemplateResponse(request, "map.html", {"attributes": heard_attributes(index.model)})

    @pages.get("/status", response_class=HTMLResponse)
    def status(request: Request) -> HTMLResponse:
        progress, reason, found = services.library.progress(), "", None
        try:
            with services.library.opened() as index:
                found = services.status(index)
        except StoreError as error:
            reason = str(error)
        page = {"progress": progress, "found": found, "reason": reason, "models": known_models()}
        return TEMPLATES.TemplateResponse(request, "status.html", page)

    @pages.get("/help", response_class=HTMLResponse)
    def about(request: Request) -> HTMLResponse:
        return TEMPLATES.TemplateResponse(request, "help.html", {"document": request.app.openapi()})

    return pages


def refusal(request: Request, status: int, reason: str, services: Services) -> HTMLResponse:
    """A page that says why there is none."""
    page = {"reason": reason, "progress": services.library.progress()}
    return TEMPLATES.TemplateResponse(request, "refusal.html", page, status)


def without_blanks(asked: SearchRequest) -> SearchRequest:
    """A query without the boxes that were left empty."""
    values = asked.model_dump(by_alias=True, exclude_unset=True)
    kept = {
        name: [text for text in value if text.strip()] if isinstance(value, list) else value for name, value in values.items()
    }
    return SearchRequest.model_validate({name: value for name, value in kept.items() if value not in ("", [], None)})


def address(asked: SearchRequest, **changes: Any) -> str:
    """Of the page of a query, in which some parts are others."""
    values = asked.model_dump(by_alias=True, exclude_defaults=True) | {"page": 1} | changes
    return "/?" + urlencode({name: value for name, value in values.items() if value and (name, value) != ("page", 1)}, True)


def parts(asked: SearchRequest, hits: Sequence[Hit]) -> list[Part]:
    """What of a query is shown above its hits, to be taken away again."""
    names = {hit.id: f"{short_name(hit.recording)} {span(hit.start, hit.end)}" for hit in hits}
    values = asked.model_dump(by_alias=True)
    shown = []
    for kind in ("like", "not", "unlike", "move", "liked", "disliked"):
        for text in values[kind]:
            rest = [other for other in values[kind] if other != text]
            sound = "a sound that was sent" if text.startswith("sound:") else f"clip {text[:8]}"
            words = text if kind in ("not", "move") else names.get(text, sound)
            shown.append(Part(kind, words, address(asked, **{kind: rest})))
    if asked.region:
        shown.append(Part("region", "of the map", address(asked, region=None)))
    return shown


def facets(index: Opened, hits: Sequence[Hit], asked: SearchRequest) -> Mapping[str, list[Choice]]:
    """How often values occur in the hits and in all clips that meet the conditions; what can be chosen, by field."""
    known = group_fields(key for key, kind in index.store.schema().items() if kind == "text")
    stored = [name for name, keys in known.items() if keys[0].startswith("metadata.")]
    named = [attribute.name for attribute in heard_attributes(index.model)]
    fields = [name for name in dict.fromkeys(stored + named) if name in known][:MOST_FACETS]
    where = asked.asked().filter()
    everywhere = index.values(fields, where)
    counted = (Facet(name, count_among(name, hits, index.store), everywhere[name]) for name in fields)
    return {facet.field: choices(facet, asked) for facet in counted if len(facet.all) > 1 or facet.hits}


def choices(facet: Facet, asked: SearchRequest) -> list[Choice]:
    """The commonest values of a field, and links that choose them or let them go."""
    values = sorted(facet.all, key=lambda value: (-facet.hits.get(value, 0), -facet.all[value], value))[:MOST_VALUES]
    found = []
    for value in values:
        condition = f'"{facet.field}"="{value}"' if '"' not in value else f'"{facet.field}"={value}'
        chosen = condition in asked.where
        where = [each for each in asked.where if each != condition] + ([] if chosen else [condition])
        found.append(Choice(value, facet.hits.get(value, 0), facet.all[value], chosen, address(asked, where=where)))
    return found
