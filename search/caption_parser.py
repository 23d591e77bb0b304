"""Captions as text -> their affirmative part, their negations, and the terms that stand for attribute labels."""

import re
from dataclasses import dataclass
from functools import cache

from voxdex.encoders.attributes import load_attributes, load_compounds

NEGATION_CUES = (
    r"not|never|no|without|neither|nor|isn't|is not|doesn't|does not|don't|do not|aren't|by no means|anything but|nothing like|"
    r"far from|free (?:of|from)|lacking|devoid of|hardly|rather than|instead of"
)
EMPHASIS = r"at all|in the least"
FILLERS = rf"(?:(?:a|an|the|any|too|so|very|really|{EMPHASIS}|of|sound|sounding|seem|seeming|be|being|speak|speaking)\s+)*"
LINKS = r"(?:\b(?:but|and|yet|who is|who|that is|that|it is|it)\s+)*"
END = r"(?=\s*(?:$|[,.;:]|\b(?:but|yet|with|who|nor|neither|and not|or not)\b))"
NEGATION = re.compile(
    rf"{LINKS}\b(?:{NEGATION_CUES})\s+{FILLERS}(?P<negated>[^,.;:]+?)(?:\s+(?:{EMPHASIS}))?{END}|\bnon[- ](?P<word>\w+)",
    re.I,
)
STOP_WORDS = frozenset(
    "a about an and any are as at be being but by can clip clips do find for from give has have her him his i in is it its "
    "like me my of on or our over person please play recording said saying says she show so some somebody someone something "
    "sound sounding sounds speak speaker speaking speaks speech still such talk talker talking talks tell than that the their "
    "them they this to tone very voice voices want was were what when where which while who whose with you your he "
    "conveying conveys deliver delivering delivers delivery express expressing expresses hear line manner narrate narrates "
    "narrating narration read reading reads revealing reveals seem seeming seems sense style telling tells touch way word "
    "words utter utters uttering utterance bit little quite rather slightly somewhat extremely really quality".split()
)
"""Words that describe no voice and so are no terms."""
WORD = re.compile(r"\w(?:[\w'-]*\w)?")


@dataclass(frozen=True)
class CaptionTerm:
    """A word or phrase of a caption.

    words: as in the caption. labels: pairs of attribute and label that the words may stand for; () if the words are unknown.
    affirmed: False for a negated term, which is matched where no label applies. together: whether the words imply all of the
    labels, as "grandmother" implies old and female.
    """

    words: str
    labels: tuple[tuple[str, str], ...]
    affirmed: bool = True
    together: bool = False

    @property
    def name(self) -> str:
        """The words, after "not" for a negated term."""
        return self.words if self.affirmed else f"not {self.words}"


@dataclass(frozen=True)
class ParsedCaption:
    """affirmed: the caption without its negations, "" if no word is left. negated: the negated phrases. terms: of both."""

    affirmed: str
    negated: tuple[str, ...]
    terms: tuple[CaptionTerm, ...]


def parse_caption(caption: str) -> ParsedCaption:
    """Split a caption into its parts: "a woman, not whispering" affirms "a woman" and negates "whispering".

    Label phrases that contain a cue ("without any particular emotion") are not negations.
    """
    phrases: list[str] = []

    def mask(match: re.Match[str]) -> str:
        phrases.append(match[0])
        return f"\x00{len(phrases) - 1}\x00"

    def unmask(text: str) -> str:
        return re.sub(r"\x00(\d+)\x00", lambda match: phrases[int(match[1])], text)

    masked = _phrases_with_cues().sub(mask, re.sub(r"[\x00-\x20]+", " ", caption))
    found = (unmask(match["negated"] or match["word"]).strip() for match in NEGATION.finditer(masked))
    negated = tuple(filter(has_words, found))
    rest = re.sub(r"\s+([,.;:])", r"\1", unmask(NEGATION.sub(" ", masked)))
    rest = re.sub(r"\s+", " ", rest).strip(" ,.;:-")
    affirmed = rest if has_words(rest) else ""
    terms = [*_terms(affirmed, affirmed=True)]
    for phrase in negated:
        terms += _terms(phrase, affirmed=False)
    return ParsedCaption(affirmed, negated, tuple(terms))


def has_words(text: str) -> bool:
    """Return whether a text contains a letter or a digit of any script."""
    return any(map(str.isalnum, text))


def _terms(text: str, *, affirmed: bool) -> list[CaptionTerm]:
    """The terms of a text from left to right: the longest label phrases, and every other word that is no stop word."""
    words, position = list(WORD.finditer(text)), 0
    terms: dict[str, CaptionTerm] = {}
    while position < len(words):
        for length in range(min(_max_label_words(), len(words) - position), 0, -1):
            phrase = text[words[position].start() : words[position + length - 1].end()]
            words_of = {_normalised(phrase), _normalised(phrase).removesuffix("'s")}
            together = not words_of.isdisjoint(_compounds_by_words())
            known = _compounds_by_words() if together else _labels_by_words()
            labels = next((known[each] for each in sorted(words_of, key=len, reverse=True) if each in known), ())
            if labels or length == 1:
                break
        if labels or phrase.lower().removesuffix("'s") not in STOP_WORDS:
            terms.setdefault(phrase.lower(), CaptionTerm(phrase, labels, affirmed, together))
        position += length
    return list(terms.values())


def _normalised(words: str) -> str:
    return " ".join(WORD.findall(words.lower()))


@cache
def _phrases_with_cues() -> re.Pattern[str]:
    """Label phrases that contain a negation cue."""
    words = {word for attribute in load_attributes().values() for label in attribute.labels for word in label.words}
    phrases = sorted((word for word in words if re.search(rf"\b(?:{NEGATION_CUES})\b", word)), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, phrases)), re.I)


@cache
def _labels_by_words() -> dict[str, tuple[tuple[str, str], ...]]:
    """Pairs of attribute and label of the exclusive attributes, by the label's words in lower case."""
    labels: dict[str, list[tuple[str, str]]] = {}
    for attribute in load_attributes().values():
        for label in attribute.labels if attribute.exclusive else ():
            words = {label.name, *label.words, *(form for verb in label.verbs for form in _verb_forms(verb))}
            for word in map(_without_article, words):
                pairs = labels.setdefault(word, [])
                if (attribute.name, label.name) not in pairs:
                    pairs.append((attribute.name, label.name))
    return {words: tuple(pairs) for words, pairs in labels.items()}


@cache
def _compounds_by_words() -> dict[str, tuple[tuple[str, str], ...]]:
    """The labels that words imply together, by the words in lower case; not of "old woman", which is two terms."""
    labels = {_without_article(word): compound.labels for compound in load_compounds() for word in compound.words}
    return {word: pairs for word, pairs in labels.items() if not all(part in _labels_by_words() for part in word.split())}


def _without_article(words: str) -> str:
    return _normalised(re.sub(r"^(an?|the) ", "", words.lower()))


@cache
def _max_label_words() -> int:
    """The number of words of the longest label phrase."""
    return max(words.count(" ") for words in (*_labels_by_words(), *_compounds_by_words())) + 1


def _verb_forms(verb: str) -> list[str]:
    """Return the regular forms of a verb: "cry out" -> cries out, crying out, cried out."""
    verb, _, rest = verb.partition(" ")
    stem = verb.removesuffix("e")
    third = (
        f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}es" if re.search(r"(s|x|ch|sh)$", verb) else f"{verb}s"
    )
    past = f"{verb[:-1]}ied" if third.endswith("ies") else f"{stem}ed"
    return [f"{form} {rest}".strip() for form in (third, f"{stem}ing", past)]
