"""What the API takes and gives, beside what search/ calls so already."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from voxdex.search.query import Hit, Ranking
from voxdex.search.query_parser import QuerySpec

MOST_PARTS = 50
Texts = Annotated[list[str], Field(default_factory=list, max_length=MOST_PARTS)]


class SearchRequest(BaseModel):
    """A query. Sounds are named by the id of a clip, or as POST /api/sounds named what was sent; clips by their ids.

    "::2" behind a caption, a sound or a move lets it count double.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"captions": ["breathy, sad female voice"], "not": ["shouting"], "where": ["duration>2"], "limit": 10},
                {"like": ["0b6cd1a8-95ac-5d0c-9f5d-7d2f4a4f2c11"], "move": ["calm -> angry"], "facets": ["emotion"]},
            ]
        },
    )

    caption: str | None = Field(None, description="One caption; the same as captions with one.")
    captions: Texts
    like: Texts
    without: Texts = Field(alias="not", description="Captions of voices to stay away from.")
    unlike: Texts
    move: Texts
    liked: Texts
    disliked: Texts
    says: str = Field("", max_length=2000, description="What is said: a text, or IPA between slashes.")
    language: str = Field("en-us", max_length=40, description="Of that text, as espeak-ng calls it.")
    where: Texts
    facets: Texts
    region: str | None = Field(None, max_length=8000, description="Of the map: x,y;x,y;x,y with numbers from 0 to 1.")
    group_by: str | None = None
    per_group: int = Field(1, ge=1, le=1000)
    diverse: float = Field(0.0, ge=0, le=1)
    fold: float = Field(Ranking.fold, ge=0, le=1)
    min_score: float | None = Field(None, allow_inf_nan=False)
    limit: int = Field(10, ge=1, le=1000)
    page: int = Field(1, ge=1, le=10_000)

    def asked(self) -> QuerySpec:
        """The query as it was written."""
        captions = [*([self.caption] if self.caption and self.caption not in self.captions else []), *self.captions]
        voices = (captions, self.like, self.without, self.unlike, self.move, self.liked, self.disliked)
        return QuerySpec(*voices, self.where, self.says, self.language)

    def ranking(self) -> Ranking:
        """How hits are ranked."""
        least = Ranking.least if self.min_score is None else self.min_score
        return Ranking(self.group_by, self.per_group, self.fold, self.diverse, least)


class SearchAnswer(BaseModel):
    """The same document as `search --json` prints."""

    query: dict[str, Any]
    hits: list[Hit]
    facets: dict[str, dict[str, dict[str, int]]] = Field(default_factory=dict)


class Embeddings(BaseModel):
    """captions, speech: rows of unit length. clips: "file#start-end" for each row of speech, in seconds."""

    space: str
    captions: list[list[float]]
    speech: list[list[float]]
    clips: list[str]


class Rewards(BaseModel):
    """rewards: of the takes, in the order in which they were sent, -1 to 1. results: as `rerank --json` prints them."""

    rewards: list[float]
    results: list[dict[str, Any]]


class PlaylistRequest(BaseModel):
    """Clips by id, in order."""

    clips: list[str] = Field(min_length=1, max_length=1000)


class ErrorResponse(BaseModel):
    """A sentence that says what was wrong."""

    error: str
