"""Candidates of a search for words in the transcripts beside recordings."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from voxdex.indexer.store.base import ScoredPoint, Store
from voxdex.indexer.store.filters import And, Condition, Filter
from voxdex.indexer.transcripts import TRANSCRIPT, TRANSCRIPT_TEXT
from voxdex.search.query import QueryError, SpokenMatch
from voxdex.search.spoken import MAX_CLIPS

PHRASE, SCATTERED = 1.0, 0.5
"""Match of a text whose words follow each other in the transcript of a clip, and of one whose words are all in it."""

SHORT = 40
"""Characters up to which a found text is shown with the lines around it."""


class TranscriptText:
    """A search of an index for words of transcripts.

    Args:
        text: the words.
        store: the index.

    Raises:
        QueryError: the index has no transcripts.
    """

    def __init__(self, text: str, store: Store) -> None:
        if TRANSCRIPT_TEXT not in store.schema():
            raise QueryError(
                "The index has no transcripts: put them beside the recordings, as talk.srt beside talk.wav, and index again."
            )
        self._text, self._store = text, store

    def candidates(self, where: Filter) -> list[ScoredPoint]:
        """Return clips with all the words that match a filter, with their vectors, best first; the score is the match, 0 to 1.

        Raises:
            FilterError: the filter names an unknown field, or compares values without an order.
        """
        [any_vector, *_] = self._store.sample_vectors(1)
        phrase, words = (And((where, Condition(TRANSCRIPT, operator, (self._text,)))) for operator in ("=", "~"))
        phrases = {clip.id for clip in self._store.query(any_vector, MAX_CLIPS, phrase)}
        found = self._store.query(any_vector, MAX_CLIPS, words, vectors=True)
        clips = [replace(clip, score=PHRASE if clip.id in phrases else SCATTERED) for clip in found]
        return sorted(clips, key=lambda clip: (-clip.score, clip.payload["recording"], clip.payload["start"]))

    def locate(self, clip: ScoredPoint, match: float) -> SpokenMatch:
        """Return the location of the words in a candidate: the fewest lines that follow each other and have them."""
        lines = clip.payload[TRANSCRIPT]["lines"]
        first, last = _fewest_lines([_words(text) for _, _, text in lines], _words(self._text))
        start, end = lines[first][0], max(end for _, end, _ in lines[first : last + 1])
        start, end = max(start, clip.payload["start"]), min(end, clip.payload["end"])
        return SpokenMatch(round(start, 3), round(max(start, end), 3), match, transcript=_in_context(lines, first, last))


def _words(text: str) -> list[str]:
    """Return the words of a text in lower case without accents, as the engine compares them."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(each))
    return re.findall(r"\w+", plain)


def _in_context(lines: Sequence[tuple[float, float, str]], first: int, last: int) -> str:
    """Return the text of some lines, with those around them as long as it is short: lines may be single words."""
    while True:
        text = " ".join(text for _, _, text in lines[first : last + 1])
        if len(text) >= SHORT or (first == 0 and last >= len(lines) - 1):
            return text
        first, last = max(0, first - 1), last + 1


def _fewest_lines(lines: Sequence[Sequence[str]], wanted: Sequence[str]) -> tuple[int, int]:
    """Return the first and the last of the fewest lines, by their words, that have all wanted words; all lines where none have.

    Of the same number of lines, those in which the wanted words follow each other come first. Words of languages without spaces
    are parts of longer ones.
    """
    joined = " ".join(wanted)
    best = (len(lines), True, 0)
    for first in range(len(lines)):
        text = ""
        for last in range(first, min(len(lines), first + best[0])):
            text += " " + " ".join(lines[last])
            if all(word in text for word in wanted):
                best = min(best, (last - first + 1, joined not in text, first))
                break
    return best[2], best[2] + best[0] - 1
