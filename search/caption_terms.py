"""What a caption says, thing by thing, and which of it a clip meets."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.model import Model
from voxdex.encoders.zero_shot import classifier, logit_scale, probabilities, supported_attributes
from voxdex.search.caption_parser import parse_caption
from voxdex.search.cohort import ScoreCohort

UPPER_THIRD = 100 * 2 / 3
"""Percentile from which on a clip meets words that are no label of an attribute."""
COMMON = frozenset(
    "a about an and any are as at be being but by can clip clips do find for from give has have her him his i in is it its "
    "like me my of on or our over person please play recording said saying says she show so some somebody someone something "
    "sound sounding sounds speak speaker speaking speaks speech still such talk talker talking talks tell than that the their "
    "them they this to tone very voice voices want was were what when where which while who whose with you your he".split()
)
"""Words that say nothing about how a voice sounds."""
WORD = re.compile(r"[\w'-]+")


@dataclass(frozen=True)
class CaptionTerm:
    """Something that a caption says or, where it does not hold, denies.

    words: as in the caption. labels: attribute and label that they stand for; several where they may mean either, none where
    they are no label's.
    """

    words: str
    labels: tuple[tuple[str, str], ...]
    holds: bool = True


def parse_terms(caption: str) -> list[CaptionTerm]:
    """What a caption says and denies, in the order of its words."""
    wording = parse_caption(caption)
    parts = [(wording.says, True), *((denied, False) for denied in wording.denies)]
    return [claim for text, holds in parts for claim in _claims(text, holds)]


def _claims(text: str, holds: bool) -> list[CaptionTerm]:
    """The longest words of labels in a text, and what else says something, from left to right."""
    words, place = list(WORD.finditer(text)), 0
    found: dict[str, CaptionTerm] = {}
    while place < len(words):
        for length in range(min(_longest(), len(words) - place), 0, -1):
            said = text[words[place].start() : words[place + length - 1].end()]
            labels = _labels().get(_plain(said), ())
            if labels or length == 1:
                break
        if labels or said.lower() not in COMMON:
            found.setdefault(said.lower(), CaptionTerm(said, labels, holds))
        place += length
    return list(found.values())


def _plain(words: str) -> str:
    return " ".join(WORD.findall(words.lower()))


@cache
def _labels() -> dict[str, tuple[tuple[str, str], ...]]:
    """The words for labels of exclusive attributes, in lower case."""
    found: dict[str, list[tuple[str, str]]] = {}
    for attribute in load_attributes().values():
        for label in attribute.labels if attribute.exclusive else ():
            words = {label.name, *label.words, *(form for verb in label.verbs for form in _forms(verb))}
            for word in {_plain(re.sub(r"^(an?|the) ", "", word.lower())) for word in words}:
                found.setdefault(word, []).append((attribute.name, label.name))
    return {word: tuple(labels) for word, labels in found.items()}


def _forms(verb: str) -> list[str]:
    """ "cry out" -> cries out, crying out, cried out; only regular ones."""
    verb, _, rest = verb.partition(" ")
    stem = verb.removesuffix("e")
    third = (
        f"{verb[:-1]}ies" if re.search(r"[^aeiou]y$", verb) else f"{verb}es" if re.search(r"(s|x|ch|sh)$", verb) else f"{verb}s"
    )
    past = f"{verb[:-1]}ied" if third.endswith("ies") else f"{stem}ed"
    return [f"{form} {rest}".strip() for form in (third, f"{stem}ing", past)]


@cache
def _longest() -> int:
    """How many words the longest words for a label have."""
    return max(words.count(" ") for words in _labels()) + 1


class TermScorer:
    """Says which claims of some captions clips meet, and how surely.

    A label is met where it is the most probable of its attribute; words that are no label's are met in the upper third of the
    archive.

    Args:
        claims: what is to be met.
        model: embeds the prompts.
        background: of the archive.
    """

    def __init__(self, claims: list[CaptionTerm], model: Model, background: ScoreCohort) -> None:
        self._claims, self._model, self._background = claims, model, background
        self._heard = {attribute.name: attribute for attribute in supported_attributes(model)}

    def meets(self, vectors: np.ndarray) -> list[dict[str, bool]]:
        """[clips, dimension] -> for each clip the words of each claim, and whether it is met."""
        met = {_named(claim): self._met(claim, vectors) == claim.holds for claim in self._claims}
        return [{words: bool(row[clip]) for words, row in met.items()} for clip in range(len(vectors))]

    def doubt(self, vectors: np.ndarray) -> np.ndarray:
        """How unsure it is that clips meet the claims about labels: mean -log probability, 0 to 7, [clips]."""
        shares = [share if claim.holds else 1 - share for claim in self._claims for share in self._shares(claim, vectors)]
        return -np.log(np.array(shares) + 1e-3).mean(axis=0) if shares else np.zeros(len(vectors))

    def _met(self, claim: CaptionTerm, vectors: np.ndarray) -> np.ndarray:
        labels = self._labels(claim)
        if labels:
            shares = {name: self._probabilities(name, vectors) for name, _ in labels}
            return np.any([shares[name].argmax(axis=1) == place for name, place in labels], axis=0)
        [word] = self._model.embed_text([claim.words])
        return self._background.percentiles(lambda clips: clips @ word, vectors @ word) >= UPPER_THIRD

    def _shares(self, claim: CaptionTerm, vectors: np.ndarray) -> list[np.ndarray]:
        """The probability of a claim in clips, [[clips]], the highest where it may mean several things; [] if none is known."""
        shares = [self._probabilities(name, vectors)[:, place] for name, place in self._labels(claim)]
        return [np.max(shares, axis=0)] if shares else []

    def _labels(self, claim: CaptionTerm) -> list[tuple[str, int]]:
        """Attributes that the model hears, and the place of the label in each, that a claim may be about."""
        return [
            (name, [each.name for each in self._heard[name].labels].index(label))
            for name, label in claim.labels
            if name in self._heard
        ]

    def _probabilities(self, name: str, vectors: np.ndarray) -> np.ndarray:
        return probabilities(vectors, _label_vectors(self._model, name), logit_scale(self._model.card, name))


def _named(claim: CaptionTerm) -> str:
    return claim.words if claim.holds else f"not {claim.words}"


@lru_cache(maxsize=64)
def _label_vectors(model: Model, name: str) -> np.ndarray:
    """Of an attribute's labels, [labels, dimension]."""
    attribute = load_attributes()[name]
    return classifier(model, [attribute.prompts(label) for label in attribute.labels])
