"""What one asks for: voices described, voices to be like, and what they must not be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from voxdex.encoders.audio.remote import Location
from voxdex.encoders.errors import VoxdexError
from voxdex.indexer.store.base import Point, ScoredPoint
from voxdex.indexer.store.filters import MATCH_ALL, Filter

NEGATIVE_WEIGHT = 0.7
"""How much what is unwanted counts against a clip, over what is wanted; 0.5 to 1 serve equally well."""


class QueryError(VoxdexError):
    """A query that cannot be answered. The message is a sentence for the user."""


@dataclass(frozen=True)
class Sound:
    """A recording, or the part of it from `start` to `end` (seconds; None for no bound)."""

    path: Location
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class ClipId:
    """A clip of the index, by its id."""

    id: str


@dataclass(frozen=True)
class Direction:
    """From what one caption says towards what another one says: Direction("calm", "angry")."""

    away: str
    towards: str


QueryInput = str | Sound | ClipId | Direction


@dataclass(frozen=True)
class QueryTerm:
    """A part of a query and how much it counts. weight: above 0 asks for it, below 0 for its opposite."""

    part: QueryInput
    weight: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """Which of the clips that fit are shown.

    group: a field, such as "recording" or "speaker", of each value of which at most `per_group` clips are shown. fold:
    clips that are as like each other as that (cosine) are shown once; 1 folds none. diversity: 0 ranks by fit alone; towards
    1, hits differ more from those before them (MMR; Carbonell and Goldstein 1998). least: a score that hits must reach.

    Raises:
        QueryError: fold or diversity is not from 0 to 1, per_group is less than 1, or least is no number.
    """

    group: str | None = None
    per_group: int = 1
    fold: float = 0.995
    diversity: float = 0.0
    least: float = -math.inf

    def __post_init__(self) -> None:
        if self.per_group < 1 or not (0 <= self.fold <= 1 and 0 <= self.diversity <= 1) or math.isnan(self.least):
            raise QueryError(
                "Clips are folded and varied from 0 to 1, a group has at least 1 hit, and the least score is a number."
            )


@dataclass(frozen=True)
class Query:
    """What is looked for; all parts count alike unless their weights say otherwise.

    wishes: captions, sounds, clips and shifts. where: conditions, see parse_filter. liked, disliked: ids of clips of an
    earlier answer that this one is to be nearer to and farther from. says: what is said, as phonemes (IPA); see find_said.
    skip: hits that were shown before.
    """

    wishes: Sequence[QueryTerm] = ()
    where: Filter = MATCH_ALL
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()
    says: str = ""
    ranking: Ranking = Ranking()
    limit: int = 10
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """What an index knows of a clip. id: in the index. start, end: seconds in the recording."""

    id: str
    recording: str
    start: float
    end: float
    attributes: dict[str, str]
    probabilities: dict[str, float]
    measured: dict[str, float]
    metadata: dict[str, Any]
    tags: dict[str, str]


@dataclass(frozen=True)
class SpokenMatch:
    """Where something is said in a clip, and how surely. start, end: seconds in the recording. match: 0 to 1, see spotting."""

    start: float
    end: float
    match: float


@dataclass(frozen=True, kw_only=True)
class Hit(ClipRecord):
    """A clip that fits.

    rank: from 1. score: what hits are ranked by, the cosine less what is doubtful of the captions' words. cosine: with the
    query, -1 to 1. percentile: of the archive's clips that fit less well, 0 to 100. meets: for each thing that the captions
    say, as worded there, whether it is heard. copies: clips like it that were folded into it. said: where it says what was
    asked for, if that was.

    Of hits of what is said alone, the score is the match of `said`, and there is no cosine of the voice.
    """

    rank: int
    score: float
    cosine: float | None
    percentile: float | None
    meets: dict[str, bool]
    copies: int
    said: SpokenMatch | None = None


def clip_fields(point: Point | ScoredPoint) -> dict[str, Any]:
    """What the index knows of a clip, by the names of ClipRecord."""
    return {"id": point.id} | {field.name: point.payload[field.name] for field in fields(ClipRecord) if field.name != "id"}


@dataclass(frozen=True)
class Facet:
    """How often each value of a field occurs among hits, and among all clips that meet the query's conditions."""

    field: str
    hits: Mapping[str, int]
    all: Mapping[str, int]


Sounding = Path | str | Hit
"""A recording, by its path, or a hit of an earlier answer."""


def ask(
    *captions: str,
    like: Sounding | Sequence[Sounding] = (),
    without: str | Sequence[str] = (),
    unlike: Sounding | Sequence[Sounding] = (),
) -> list[QueryTerm]:
    """Wishes from plain values: captions and sounds to look for, and those to stay away from, one or several of each."""
    wanted = [*captions, *map(_sound, _several(like))]
    unwanted = [*_several(without), *map(_sound, _several(unlike))]
    return [*map(QueryTerm, wanted), *(QueryTerm(part, -NEGATIVE_WEIGHT) for part in unwanted)]


def _several(values: Any) -> Sequence[Any]:
    return [values] if isinstance(values, (str, Path, Hit)) else values


def _sound(sound: Sounding) -> Sound | ClipId:
    return ClipId(sound.id) if isinstance(sound, Hit) else Sound(sound)
