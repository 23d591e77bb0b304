"""The question and the answer of a search: QuerySpec as written, Query as parsed, Hit as found."""

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
"""Weight of negative terms relative to positive ones. Results are flat from 0.5 to 1."""


class QueryError(VoxdexError):
    """A query that cannot be answered. The message is a sentence for the user."""


@dataclass(frozen=True, kw_only=True)
class QuerySpec:
    """A query as text: what the command line builds, POST /api/search takes, and Client.search sends.

    Args:
        captions: descriptions of the voice to find.
        like: recordings ("take.wav", "take.wav:3.5-7" in seconds), clip ids or uploads that hits should sound like.
        without: descriptions of voices to avoid.
        unlike: recordings, clip ids or uploads to avoid.
        move: directions between two captions, "calm -> angry".
        liked: clips of an earlier answer to move towards.
        disliked: clips of an earlier answer to move away from.
        spoken_text: words to find in the speech, or their phonemes (IPA) between slashes: "/kɪdz/".
        language: language of the spoken text, by its espeak-ng name.
        text: words to find in the transcripts beside the recordings.
        voice: recordings, clip ids or uploads of the person who speaks in the hits.
        where: filter expressions that every hit must match; see parse_filter.
        within: recordings that the hits must be in, by their paths as hits have them; () for all.
        facets: text fields whose values are counted.
        group_by: field of which each value is shown at most `per_group` times.
        per_group: hits shown of each group.
        diverse: weight of diversity against score, 0 to 1.
        fold: cosine from which on two clips count as duplicates, 0 to 1; 1 shows all.
        min_score: lowest score shown; None for no limit.
        limit: hits on a page.
        page: page number, from 1.

    A weight may follow an item of the first five: "a woman::2" counts double.
    """

    captions: Sequence[str] = ()
    like: Sequence[str] = ()
    without: Sequence[str] = ()
    unlike: Sequence[str] = ()
    move: Sequence[str] = ()
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()
    spoken_text: str = ""
    language: str = "en-us"
    text: str = ""
    voice: Sequence[str] = ()
    where: Sequence[str] = ()
    within: Sequence[str] = ()
    facets: Sequence[str] = ()
    group_by: str | None = None
    per_group: int = 1
    diverse: float = 0.0
    fold: float = 0.995
    min_score: float | None = None
    limit: int = 10
    page: int = 1

    def document(self) -> dict[str, Any]:
        """Return the fields under their JSON names."""
        values = {JSON_NAMES.get(name, name): value for name, value in vars(self).items()}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


JSON_NAMES = {"without": "not", "spoken_text": "says"}
"""JSON names of the QuerySpec fields whose JSON name differs."""


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
    """The difference of two captions in the embedding space: Direction("calm", "angry")."""

    source: str
    target: str


QueryInput = str | Sound | ClipId | Direction


@dataclass(frozen=True)
class QueryTerm:
    """An input of a query and its weight; a negative weight avoids the input."""

    input: QueryInput
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Selection of the hits among the candidates.

    Args:
        group_by: field, such as "recording" or "speaker", of which each value is shown at most `per_group` times.
        per_group: hits shown of each group.
        fold: cosine from which on two clips count as duplicates and are shown once; 1 shows all.
        diversity: weight of diversity against score, 0 to 1 (MMR; Carbonell and Goldstein 1998).
        min_score: lowest score shown.

    Raises:
        QueryError: a value is out of its range.
    """

    group_by: str | None = None
    per_group: int = 1
    fold: float = QuerySpec.fold
    diversity: float = 0.0
    min_score: float = -math.inf

    def __post_init__(self) -> None:
        if self.per_group < 1 or not (0 <= self.fold <= 1 and 0 <= self.diversity <= 1) or math.isnan(self.min_score):
            raise QueryError(
                "Fold and diversity must be from 0 to 1, a group must have at least 1 hit, and the lowest score is a number."
            )


@dataclass(frozen=True)
class Query:
    """A parsed query. Terms count alike unless their weights differ.

    Args:
        terms: captions, sounds, clips and directions.
        where: filter that every hit must match; see parse_filter.
        liked: ids of clips to move towards.
        disliked: ids of clips to move away from.
        phonemes: phonemes (IPA) to find in the speech; "" for any.
        text: words to find in the transcripts; "" for any.
        voice: clips and sounds of the person who speaks in the hits; () for anybody.
        ranking: selection among the candidates.
        limit: number of hits.
        skip: number of better hits left out, as they were shown before.
    """

    terms: Sequence[QueryTerm] = ()
    where: Filter = MATCH_ALL
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()
    phonemes: str = ""
    text: str = ""
    voice: Sequence[ClipId | Sound] = ()
    ranking: Ranking = Ranking()
    limit: int = 10
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """The stored description of a clip.

    id: point id in the index. start, end: seconds in the recording. track: number of its audio track, from 1, in a recording
    with several. channel: number of its channel, from 1, where channels of a track differ. timecode: of the start, where the
    recording has one; timecode_rate: its frames a second, or "ms" for a time of day. transcript: "text" and "lines" [start,
    end, text] of the transcript beside the recording, where there is one.
    """

    id: str
    recording: str
    start: float
    end: float
    attributes: dict[str, str]
    probabilities: dict[str, float]
    measured: dict[str, float]
    metadata: dict[str, Any]
    tags: dict[str, str]
    track: int | None = None
    channel: int | None = None
    timecode: str | None = None
    timecode_rate: str | None = None
    transcript: dict[str, Any] | None = None


@dataclass(frozen=True)
class SpokenMatch:
    """The location of a text in a clip, which was found by its sound or in a transcript.

    start, end: seconds in the recording. match: 0 to 1. deviations: of the logarithm of the match from the median of the
    archive's, in robust standard deviations; None for fewer clips than tell them, and in a transcript. transcript: the lines
    that have the text; None where it was found by its sound.
    """

    start: float
    end: float
    match: float
    deviations: float | None = None
    transcript: str | None = None


@dataclass(frozen=True, kw_only=True)
class Hit(ClipRecord):
    """A clip of the answer.

    rank: from 1. score: ranking score; without spoken text, the cosine less the term penalty. cosine: with the query vector,
    -1 to 1. percentile: share of the archive's clips that score lower, 0 to 100. matched: for each term of the captions,
    whether the clip matches it; None for a term that the model does not hear. duplicates: number of folded duplicates.
    spoken: location of the spoken text, or of words of a transcript. same_voice: cosine of the speaker vectors of the clip and
    of the voice asked for, -1 to 1.

    In a search for a text or a voice alone, the score is the match of `spoken`, and there is no cosine or percentile.
    """

    rank: int
    score: float
    cosine: float | None
    percentile: float | None
    matched: dict[str, bool | None]
    duplicates: int
    spoken: SpokenMatch | None = None
    same_voice: float | None = None


def clip_fields(point: Point | ScoredPoint) -> dict[str, Any]:
    """Return the fields of ClipRecord of a clip's point."""
    return {"id": point.id} | {field.name: point.payload.get(field.name) for field in fields(ClipRecord) if field.name != "id"}


@dataclass(frozen=True)
class Facet:
    """Clips for each value of a field: among the hits, and in total among all clips that match the query's filter."""

    field: str
    hits: Mapping[str, int]
    total: Mapping[str, int]


Example = Path | str | Hit
"""A recording, by its path, or a hit of an earlier answer."""


def ask(
    *captions: str,
    like: Example | Sequence[Example] = (),
    without: str | Sequence[str] = (),
    unlike: Example | Sequence[Example] = (),
) -> list[QueryTerm]:
    """Build query terms from captions and examples to find, and captions and examples to avoid."""
    wanted: list[QueryInput] = [*captions, *map(_input_of, _as_sequence(like))]
    unwanted: list[QueryInput] = [*_as_sequence(without), *map(_input_of, _as_sequence(unlike))]
    return [*map(QueryTerm, wanted), *(QueryTerm(each, -NEGATIVE_WEIGHT) for each in unwanted)]


def _as_sequence(values: Any) -> Sequence[Any]:
    return [values] if isinstance(values, (str, Path, Hit)) else values


def _input_of(example: Example) -> Sound | ClipId:
    return ClipId(example.id) if isinstance(example, Hit) else Sound(example)
