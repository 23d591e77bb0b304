"""The notation of queries: weights, spans, directions and phonemes; QuerySpec -> Query."""

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from voxdex.encoders.audio.remote import as_location
from voxdex.encoders.errors import check_text, short
from voxdex.encoders.phonetic.g2p import EspeakError, to_phonemes
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import And, Condition, Filter
from voxdex.search.caption_parser import has_words
from voxdex.search.query import (
    NEGATIVE_WEIGHT,
    ClipId,
    Direction,
    Query,
    QueryError,
    QueryInput,
    QuerySpec,
    QueryTerm,
    Ranking,
    Sound,
)

MAX_SECONDS = 1e9
"""Largest time in a recording: thirty years, in seconds."""
TIME = r"(?:\d+:){0,2}\d+(?:\.\d+)?"
"""A time in a recording: seconds, m:ss or h:mm:ss."""
MAX_WEIGHT = 100
"""Largest weight of a term."""


def parse_query(spec: QuerySpec, find_sound: Callable[[str], QueryInput], find_clip: Callable[[str], str]) -> Query:
    """Parse a query.

    Args:
        spec: the query as text.
        find_sound: reads an item of `like` and `unlike`, without its weight.
        find_clip: returns the clip id of an item of `liked` and `disliked`.

    Raises:
        QueryError: a weight, a span, a direction or the ranking is invalid, or a text to find has no words or phonemes.
        TextError: a text to find is not valid text.
        FilterError: a filter expression is invalid.
    """
    if spec.min_score is not None and not math.isfinite(spec.min_score):
        raise QueryError("The lowest score must be a finite number.")
    wanted = [*_terms(spec.captions, parse_caption_text), *_terms(spec.like, find_sound), *_terms(spec.move, parse_direction)]
    unwanted = [*_terms(spec.without, parse_caption_text), *_terms(spec.unlike, find_sound)]
    return Query(
        terms=[*wanted, *(QueryTerm(term.input, -NEGATIVE_WEIGHT * term.weight) for term in unwanted)],
        where=_filter(spec),
        liked=list(map(find_clip, spec.liked)),
        disliked=list(map(find_clip, spec.disliked)),
        phonemes=parse_phonemes(spec.spoken_text, spec.language),
        text=parse_words(spec.text),
        voice=[sound for sound in map(find_sound, spec.voice) if isinstance(sound, (ClipId, Sound))],
        ranking=Ranking(
            group_by=spec.group_by,
            per_group=spec.per_group,
            fold=spec.fold,
            diversity=spec.diverse,
            min_score=-math.inf if spec.min_score is None else spec.min_score,
        ),
        limit=spec.limit,
        skip=(spec.page - 1) * spec.limit,
    )


def _filter(spec: QuerySpec) -> Filter:
    where = parse_filter(*spec.where)
    return And((where, Condition("recording", "=", tuple(spec.within)))) if spec.within else where


def parse_caption_text(text: str) -> str:
    """Return a caption without its weight, unchanged.

    Raises:
        QueryError: what follows "::" is no weight.
    """
    if has_words(text) and "::" in text:
        raise QueryError(f"The weight of {short(text)} is no number; write it as in 'a woman::2'.")
    return text


def parse_phonemes(text: str, language: str) -> str:
    """Return the phonemes (IPA) of a text, or of IPA between slashes; "" for no text.

    Raises:
        QueryError: the text has no phonemes, or espeak-ng does not know the language.
        TextError: it is not valid text.
    """
    ipa = re.fullmatch(r"/(.+)/", text.strip(), re.DOTALL)
    if (ipa and has_words(ipa[1])) or not text:
        return ipa[1] if ipa else ""
    try:
        phonemes = to_phonemes([text], language)[0] if has_words(text) else ""
    except EspeakError as error:
        raise QueryError(str(error)) from error
    if phonemes:
        return phonemes
    raise QueryError(f"{short(text)} has no words to pronounce: give words, or IPA between slashes.")


def parse_words(text: str) -> str:
    """Return a text to find in transcripts, unchanged.

    Raises:
        QueryError: it has no words.
        TextError: it is not valid text.
    """
    if text and not has_words(check_text(text)):
        raise QueryError(f"{short(text)} has no words to find in transcripts.")
    return text


def parse_direction(text: str) -> Direction:
    """Parse "calm -> angry".

    Raises:
        QueryError: a caption is missing.
    """
    source, arrow, target = (part.strip() for part in text.partition("->"))
    if not (source and arrow and target):
        raise QueryError(f"The move {short(text)} needs two captions, as in 'calm -> angry'.")
    return Direction(source, target)


def parse_sound(text: str) -> Sound:
    """Parse "take.wav", "take.wav:3.5-7" (seconds) or "tape.wav:1:02:03-1:02:07" (h:mm:ss); a URL likewise.

    Raises:
        QueryError: the span is invalid; see split_span.
    """
    if os.path.exists(text):
        return Sound(Path(text))
    name, start, end = split_span(text)
    return Sound(as_location(name), start, end)


def split_span(text: str) -> tuple[str, float | None, float | None]:
    """Split "NAME:3.5-7" or "NAME:1:02:03.5-1:02:07" into the name, the start and the end in seconds; None for no bound.

    Raises:
        QueryError: the end is not after the start, or beyond MAX_SECONDS.
    """
    part = re.fullmatch(rf"(.+?):({TIME})?-({TIME})?", text)
    if not part:
        return text, None, None
    start, end = (_seconds(bound) if bound else None for bound in (part[2], part[3]))
    if max(start or 0, end or 0) > MAX_SECONDS:
        raise QueryError(f"{short(text)} lies beyond {MAX_SECONDS:g} s; write FILE:START-END in seconds.")
    if end is not None and end <= (start or 0):
        raise QueryError(f"{short(text)} ends before it starts; write FILE:START-END in seconds.")
    return part[1], start, end


def _seconds(time: str) -> float:
    """Return the seconds of h:mm:ss.s, m:ss.s or seconds alone."""
    total = 0.0
    for part in time.split(":"):
        total = 60 * total + float(part)
    return total


def split_weight(text: str) -> tuple[str, float]:
    """Split "a woman::2" into the item and its weight; 1 where there is none.

    Raises:
        QueryError: the weight is not above 0 and at most MAX_WEIGHT.
    """
    item, colons, number = text.rpartition("::")
    if not colons:
        return text, 1.0
    try:
        weight = float(number)
    except ValueError:
        return text, 1.0
    if not 0 < weight <= MAX_WEIGHT:
        raise QueryError(f"The weight of {short(text)} must be above 0 and at most {MAX_WEIGHT}.")
    return item, weight


def _terms(texts: Sequence[str], parse: Callable[[str], QueryInput]) -> list[QueryTerm]:
    return [QueryTerm(parse(item), weight) for item, weight in map(split_weight, texts)]
