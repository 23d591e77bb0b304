"""Bodies of the HTTP API: requests and answers."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from voxdex.search.query import JSON_NAMES, Hit, QuerySpec

MAX_ITEMS = 50
"""Items in each list of a query."""
CONSTRAINTS: dict[str, dict[str, Any]] = {
    "captions": {"description": "Captions of voices to find."},
    "like": {"description": "Clips or uploaded sounds that the hits should sound like."},
    "without": {"description": "Captions of voices to avoid."},
    "unlike": {"description": "Clips or uploaded sounds to avoid."},
    "move": {"description": "Directions between two captions, as in `calm -> angry`."},
    "liked": {"description": "Ids of clips to move the query towards."},
    "disliked": {"description": "Ids of clips to move the query away from."},
    "spoken_text": {"max_length": 2000, "description": "Spoken text to find, or phonemes (IPA) between slashes."},
    "language": {"max_length": 40, "description": "Language of `says`, as an espeak-ng code."},
    "text": {"max_length": 2000, "description": "Words to find in the transcripts beside the recordings."},
    "voice": {"description": "Clips or uploaded sounds of the person who speaks in the hits."},
    "where": {"description": "Filters, as in `duration>2`; a hit matches all of them."},
    "facets": {"description": "Text fields whose values are counted."},
    "group_by": {"description": "Field of which each value has at most `per_group` hits."},
    "per_group": {"ge": 1, "le": 1000, "description": "Number of hits of each group."},
    "diverse": {"ge": 0, "le": 1, "description": "Weight of diversity against score."},
    "fold": {"ge": 0, "le": 1, "description": "Cosine similarity from which on clips are shown once; 1 shows all."},
    "min_score": {"allow_inf_nan": False, "description": "Lowest score of a hit; null for no limit."},
    "limit": {"ge": 1, "le": 1000, "description": "Number of hits on a page."},
    "page": {"ge": 1, "le": 10_000, "description": "Number of the page, from 1."},
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

    caption: str | None = Field(None, description="A caption, in addition to `captions`.")
    region: str | None = Field(
        None, max_length=8000, description="Polygon of the map in which the hits lie: x,y;x,y;x,y, from 0 to 1."
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
        __doc__="""A query. A sound is a clip id, or a name that POST /api/sounds returned.

        A weight may follow a caption, a sound or a move: "::2" counts double.
        """,
        **_body_fields(),
    )


class SearchAnswer(BaseModel):
    """The document that `search --json` prints."""

    query: dict[str, Any]
    notes: list[str]
    clips: int
    hits: list[Hit]
    facets: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict)


class Embeddings(BaseModel):
    """captions, speech: rows of unit length. clips: "file#start-end" of each row of speech, in seconds."""

    space: str
    captions: list[list[float]]
    speech: list[list[float]]
    clips: list[str]


class Rewards(BaseModel):
    """rewards: of the takes, -1 to 1, in the order of the request. results: as `rerank --json` prints them."""

    rewards: list[float]
    results: list[dict[str, Any]]


class TeachRequest(BaseModel):
    """A word, and the ids of clips that sound so and of clips that do not. keep: store it, rather than only judge it."""

    name: str = Field(max_length=40)
    liked: list[str] = Field(max_length=1000)
    unliked: list[str] = Field(default_factory=list, max_length=1000)
    keep: bool = True


class TaughtWord(BaseModel):
    """A taught word. quality: as `teach --json` prints it. next: ids of the clips whose judgement would help most."""

    name: str
    quality: dict[str, float]
    kept: bool = True
    next: list[str] = Field(default_factory=list)


class TaughtWords(BaseModel):
    """The words that the index was taught."""

    taught: list[TaughtWord]


class SpeakerRow(BaseModel):
    """A speaker of the index; name: "" for none. seconds, clips, recordings: of their speech."""

    number: int
    name: str
    seconds: float
    clips: int
    recordings: int


class Speakers(BaseModel):
    """The speakers of the index."""

    speakers: list[SpeakerRow]


class PlaylistRequest(BaseModel):
    """Clip ids, in order."""

    clips: list[str] = Field(min_length=1, max_length=1000)


class ErrorResponse(BaseModel):
    """The reason for a refusal, as a sentence."""

    error: str
