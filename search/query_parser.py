"""What people write for the parts of a query, on a command line or to the HTTP API, and the document that answers them."""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from voxdex.encoders.audio.remote import as_location
from voxdex.encoders.errors import short
from voxdex.encoders.phonetic.g2p import EspeakError, to_phonemes
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import Filter
from voxdex.search.caption_parser import has_words
from voxdex.search.query import NEGATIVE_WEIGHT, Direction, Facet, Hit, Query, QueryError, QueryInput, QueryTerm, Ranking, Sound

MOST_SECONDS = 1e9
"""Of a recording: thirty years."""


@dataclass(frozen=True)
class QuerySpec:
    """A query as it was written. "::2" behind a caption, a sound or a move lets it count double.

    captions, without: descriptions to look for, and to stay away from. like, unlike: sounds, in whatever form the asker
    names them. move: "calm -> angry". liked, disliked: clips, in whatever form. where: filters, see parse_filter. says: what is
    said, as text of a language, or as IPA between slashes: "/kɪdz/".
    """

    captions: Sequence[str] = ()
    like: Sequence[str] = ()
    without: Sequence[str] = ()
    unlike: Sequence[str] = ()
    move: Sequence[str] = ()
    liked: Sequence[str] = ()
    disliked: Sequence[str] = ()
    where: Sequence[str] = ()
    says: str = ""
    language: str = "en-us"

    def query(
        self, sound: Callable[[str], QueryInput], clip: Callable[[str], str], ranking: Ranking, limit: int, skip: int = 0
    ) -> Query:
        """The query that this means, given what finds a sound, and the id of a clip, by its name.

        Raises:
            QueryError: a weight or a move is not as it should be written; or text cannot be made phonemes.
            TextError: what is said is not valid text.
            FilterError: a filter is not.
        """
        wanted = [*map(_caption, self.captions), *(_wish(text, sound) for text in self.like), *map(_move, self.move)]
        unwanted = [*map(_caption, self.without), *(_wish(text, sound) for text in self.unlike)]
        return Query(
            [*wanted, *(QueryTerm(wish.part, -NEGATIVE_WEIGHT * wish.weight) for wish in unwanted)],
            self.filter(),
            [clip(name) for name in self.liked],
            [clip(name) for name in self.disliked],
            self.phonemes(),
            ranking,
            limit,
            skip,
        )

    def phonemes(self) -> str:
        """What is said, as IPA; "" for no matter what.

        Raises:
            QueryError: there is nothing to say in it, or no such language.
            TextError: it is not valid text.
        """
        ipa = re.fullmatch(r"/(.+)/", self.says.strip(), re.DOTALL)
        if (ipa and has_words(ipa[1])) or not self.says:
            return ipa[1] if ipa else ""
        if not has_words(self.says):
            raise QueryError(f"Nothing of {short(self.says)} can be said: give words, or IPA between slashes.")
        try:
            phonemes = to_phonemes([self.says], self.language)[0]
        except EspeakError as error:
            raise QueryError(str(error)) from error
        if phonemes:
            return phonemes
        raise QueryError(f"Nothing of {short(self.says)} can be said: give words, or IPA between slashes.")

    def filter(self) -> Filter:
        """What all hits must meet.

        Raises:
            FilterError: a filter is not as it should be written.
        """
        return parse_filter(*self.where)

    def document(self, hits: Sequence[Hit], facets: Sequence[Facet] = ()) -> dict[str, Any]:
        """What programs are told: the query, its hits and, where they were asked for, counts of values."""
        asked = {name: texts if isinstance(texts, str) else list(texts) for name, texts in vars(self).items()}
        asked["not"] = asked.pop("without")
        found = {
            "query": {"caption": self.captions[0] if len(self.captions) == 1 else None} | asked,
            "hits": [asdict(hit) for hit in hits],
        }
        counts = {facet.field: {"hits": dict(facet.hits), "all": dict(facet.all)} for facet in facets}
        return found | ({"facets": counts} if facets else {})


def sound_in_file(text: str) -> Sound:
    """ "take.wav", or "take.wav:3.5-7" for a part of it in seconds; a URL likewise.

    Raises:
        QueryError: the part ends before it starts, or lies beyond all recordings.
    """
    if os.path.exists(text):
        return Sound(Path(text))
    name, start, end = split_span(text)
    return Sound(as_location(name), start, end)


def split_span(text: str) -> tuple[str, float | None, float | None]:
    """What stands before ":3.5-7", and from and to which second, None for no bound.

    Raises:
        QueryError: it ends before it starts, or lies beyond all recordings.
    """
    part = re.fullmatch(r"(.+):(\d+(?:\.\d+)?)?-(\d+(?:\.\d+)?)?", text)
    if not part:
        return text, None, None
    start, end = (float(bound) if bound else None for bound in part.groups()[1:])
    if max(start or 0, end or 0) > MOST_SECONDS:
        raise QueryError(f"{short(text)} lies beyond {MOST_SECONDS:g} s; write FILE:START-END in seconds.")
    if end is not None and end <= (start or 0):
        raise QueryError(f"{short(text)} ends before it starts; write FILE:START-END in seconds.")
    return part[1], start, end


def _caption(text: str) -> QueryTerm:
    return _wish(text, str)


def _move(text: str) -> QueryTerm:
    return _wish(text, _shift)


def _shift(text: str) -> Direction:
    away, arrow, towards = (part.strip() for part in text.partition("->"))
    if not (away and arrow and towards):
        raise QueryError(f"The move {short(text)} needs two captions, as in 'calm -> angry'.")
    return Direction(away, towards)


def _wish(text: str, read: Callable[[str], QueryInput]) -> QueryTerm:
    """A part, and behind "::" how much it counts."""
    part, colons, weight = text.rpartition("::")
    try:
        number = float(weight) if colons else None
    except ValueError:
        number = None
    if number is None:
        return QueryTerm(read(text))
    if not 0 < number <= 100:
        raise QueryError(f"The weight of {short(text)} must be above 0 and at most 100.")
    return QueryTerm(read(part), number)
