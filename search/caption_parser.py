"""What a caption says, and what it denies."""

import re
from functools import cache
from typing import NamedTuple

from voxdex.encoders.attributes import load_attributes

DENIERS = r"not|never|no|without|isn't|is not|by no means|anything but|nothing like"
FILLERS = r"(?:(?:a|an|the|any|too|so|very|really|at all|in the least|of)\s+)*"
LINKS = r"(?:\b(?:but|and|yet|who is|who|that is|that|it is|it)\s+)*"
END = r"(?=\s*(?:$|[,.;:]|\b(?:but|yet|with|who)\b))"
DENIAL = re.compile(rf"{LINKS}\b(?:{DENIERS})\s+{FILLERS}(?P<what>[^,.;:]+?){END}", re.I)


class ParsedCaption(NamedTuple):
    """says: the caption without its denials, "" where no word is left. denies: what they deny, in plain words."""

    says: str
    denies: tuple[str, ...]


def parse_caption(caption: str) -> ParsedCaption:
    """Takes a caption apart: "a woman, not whispering" says "a woman" and denies "whispering".

    Words of a label that have a "no" or "without" in them ("without any particular emotion") say something.
    """
    kept: list[str] = []

    def keep(match: re.Match) -> str:
        kept.append(match[0])
        return f"\x00{len(kept) - 1}\x00"

    def restore(text: str) -> str:
        return re.sub(r"\x00(\d+)\x00", lambda match: kept[int(match[1])], text)

    masked = _set_phrases().sub(keep, re.sub(r"[\x00-\x20]+", " ", caption))
    denies = tuple(restore(match["what"]).strip() for match in DENIAL.finditer(masked))
    says = re.sub(r"\s+([,.;:])", r"\1", restore(DENIAL.sub(" ", masked)))
    says = re.sub(r"\s+", " ", says).strip(" ,.;:-")
    return ParsedCaption(says if has_words(says) else "", tuple(filter(has_words, denies)))


def has_words(text: str) -> bool:
    """Whether there is a letter or a digit in a text, of whatever script."""
    return any(map(str.isalnum, text))


@cache
def _set_phrases() -> re.Pattern:
    """Words of labels that only look like denials."""
    words = {word for attribute in load_attributes().values() for label in attribute.labels for word in label.words}
    looking = sorted((word for word in words if re.search(rf"\b(?:{DENIERS})\b", word)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, looking)), re.I)
