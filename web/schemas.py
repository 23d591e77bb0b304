"""Bodies of the HTTP API: requests and answers."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from voxdex.search.query import JSON_NAMES, Hit, QuerySpec

MAX_ITEMS = 50
"""Items in each list of a query."""
CONSTRAINTS: dict[str, dict[str, Any]] = {
    "without": {"description": "Captions of voices to avoid."},
    "spoken_text": {"max_length": 2000, "description": "Words to find in the speech, or phonemes (IPA) between slashes."},
    "language": {"max_length": 40, "description": "Language of `says`, by its espeak-ng name."},
    "per_group": {"ge": 1, "le": 1000},
    "diverse": {"ge": 0, "le": 1},
    "fold": {"ge": 0, "le": 1},
    "min_score": {"allow_inf_nan": False},
    "limit": {"ge": 1, "le": 1000},
    "page": {"ge": 1, "le": 10_000},
}
"""Limits and descriptions of the QuerySpec fields in a request."""


class QueryBody(BaseModel):
    """The fields of a request beside those of QuerySpec."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"captions": ["breathy, sad female voice"], "not": ["shouting"], "where": ["duration>2"], "limit": 10},
                {"like": ["0b6cd1a8-95ac-5d0c-9f5d-7d2f4a4f2c11"], "move": ["calm -> angry"], "facets": ["emotion"]},
            ]
        },
    )

    caption: str | None = Field(None, description="One caption; short for a list of one.")
    region: str | None = Field(
        None, max_length=8000, description="A polygon of the map that holds the clips: x,y;x,y;x,y with numbers from 0 to 1."
    )

    def spec(self) -> QuerySpec:
        """Return the query; `caption` comes first among its captions."""
        values = {field.name: getattr(self, field.name) for field in fields(QuerySpec)}
        if self.caption and self.caption not in values["captions"]:
            values["captions"] = [self.caption, *values["captions"]]
        return QuerySpec(**values)


def _body_fields() -> dict[str, Any]:
    """The fields of QuerySpec, under their JSON names and with their limits, as pydantic takes them."""
    hints, found = get_type_hints(QuerySpec), {}
    for field in fields(QuerySpec):
        options: dict[str, Any] = {"alias": JSON_NAMES.get(field.name)} | CONSTRAINTS.get(field.name, {})
        if field.default == ():
            found[field.name] = list[str], Field(default_factory=list, max_length=MAX_ITEMS, **options)
        else:
            found[field.name] = hints[field.name], Field(field.default, **options)
    return found


if TYPE_CHECKING:
    SearchRequest = QueryBody
else:
    SearchRequest = create_model(
        "SearchRequest",
        __base__=QueryBody,
        __doc__="""A query. Sounds are named by clip ids, or by the names that POST /api/sounds returned.

        A weight may follow a caption, a sound or a move: "::2" counts double.
        """,
        **_body_fields(),
    )


class SearchAnswer(BaseModel):
    """The document that `search --json` prints."""

    query: dict[str, Any]
    hits: list[Hit]
    facets: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict)


class Embeddings(BaseModel):
    """captions, speech: rows of unit length. clips: "file#start-end" of each row of speech, in seconds."""

    space: str
    captions: list[list[float]]
    speech: list[list[float]]
    clips: list[str]


class Rewards(BaseModel):
    """rewards: of the takes, in the order in which they were sent, -1 to 1. results: as `rerank --json` prints them."""

    rewards: list[float]
    results: list[dict[str, Any]]


class PlaylistRequest(BaseModel):
    """Clip ids, in order."""

    clips: list[str] = Field(min_length=1, max_length=1000)


class ErrorResponse(BaseModel):
    """The reason for a refusal, as a sentence."""

    error: str
