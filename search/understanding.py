"""What of a query's captions a model understands, and notes on the rest for the user."""

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from voxdex.encoders.attributes import load_attributes, load_compounds
from voxdex.encoders.model_card import ModelCard
from voxdex.encoders.zero_shot import heard_attributes
from voxdex.indexer.speakers import SpeakerSpace
from voxdex.indexer.store.base import Store
from voxdex.indexer.store.filters import And, Condition, Filter, FilterError, Or
from voxdex.indexer.taught import read_taught
from voxdex.search.caption_parser import STOP_WORDS, CaptionTerm, parse_caption
from voxdex.search.query import Hit, Query

NOT_SPEECH = "sounds that are not speech"
"""Topic of words that are unknown even if they also stand for a label, as laughing for happy."""
SIMILARITY = 0.8
"""Least similarity of a word and the one that is suggested in its place, 0 to 1 (difflib)."""
SAID, SAID_DEVIATIONS, LEAST_PHONEMES = 0.2, 4.2, 10
"""Match and its deviations from which on a text is probably said, and the phonemes from which on that can be told."""
FEW = 5
"""Most frequent values of a field that are named where none is alike."""
LEAST_LETTERS = 4
"""Least length of a word for which another one is suggested."""


def known_term(term: CaptionTerm, card: ModelCard) -> CaptionTerm:
    """Return a term with those of its labels that a model hears; without any for words of sounds that are not speech."""
    if term.words.lower() in _topic(NOT_SPEECH):
        return replace(term, labels=())
    heard = {(attribute.name, label.name) for attribute in heard_attributes(card) for label in attribute.labels}
    return replace(term, labels=tuple(pair for pair in term.labels if pair in heard))


def heard_words(card: ModelCard) -> frozenset[str]:
    """Return the words that a model tells apart though they are no label of an exclusive attribute, in lower case."""
    words = set()
    for name, labels in card.hears.items():
        attribute = load_attributes().get(name)
        if attribute is not None and not attribute.exclusive:
            words |= {word.lower() for label in attribute.labels if label.name in labels for word in (label.name, *label.words)}
    return frozenset(words)


def is_known(term: CaptionTerm, card: ModelCard) -> bool:
    """Return whether a model hears what a term stands for, and all of it where it stands for several labels together.

    A model whose card does not say what it hears is taken to hear every label.
    """
    labels = known_term(term, card).labels
    return len(labels) == len(term.labels) > 0 if term.together else bool(labels) or term.words.lower() in heard_words(card)


def is_understood(caption: str, card: ModelCard) -> bool:
    """Return whether a model hears everything that a caption says."""
    return all(is_known(term, card) for term in parse_caption(caption).terms)


def search_notes(
    query: Query,
    hits: Sequence[Hit],
    *,
    card: ModelCard,
    store: Store,
    taught: Collection[str] | None = None,
    speakers: SpeakerSpace | None = None,
) -> list[str]:
    """Return sentences for the user on the answer to a query: what the model does not hear, and where nothing fits.

    Args:
        query: the query.
        hits: its answer.
        card: of the model of the index.
        store: the index.
        taught: names of its taught labels, for repeated searches; None reads them.
        speakers: its speakers, of a query for a person's voice.
    """
    captions = [term.input for term in query.terms if isinstance(term.input, str) and term.weight]
    notes = caption_notes(captions, card, taught=read_taught(store) if captions and taught is None else taught or ())
    if not hits:
        return notes + _filter_notes(query.where, store)
    return [*notes, *_fit_notes(hits), *_spoken_notes(query, hits), *(_voice_notes(hits, speakers) if speakers else ())]


def caption_notes(captions: Iterable[str], card: ModelCard, *, taught: Collection[str] = ()) -> list[str]:
    """Return sentences for the user on what of some captions a model does not understand; [] where it understands all.

    `taught` are names of labels that it was taught.
    """
    notes, unknown = [], []
    for caption in captions:
        if language := _other_language(caption):
            notes.append(f"{_quoted([caption])} is {language}, it seems: captions are understood in English.")
            continue
        terms = (term for term in parse_caption(caption).terms if term.words.lower() not in taught)
        unknown += [term.words for term in terms if not is_known(term, card)]
    unknown = list(dict.fromkeys(unknown))
    if not unknown:
        return notes
    counts = "it only counts" if len(unknown) == 1 else "they only count"
    notes.append(f"{card.name} does not hear {_quoted(unknown)}: {counts} through the whole caption.")
    notes += [f"Did you mean '{meant}' by '{word}'?" for word in unknown if (meant := _similar(word, card))]
    return notes + [f"{hint[0].upper()}{hint[1:]}." for hint in _hints(unknown)]


def _fit_notes(hits: Sequence[Hit]) -> list[str]:
    """Return a sentence where no hit of a first page matches all that its captions say and the model hears.

    It came for 8 of 9 captions of emotions and whispers on archives without any, and for none of 16 where there is something
    (docs/results/model-log.md).
    """
    known = [[matched for matched in hit.matched.values() if matched is not None] for hit in hits]
    if not any(known) or any(map(all, known)) or hits[0].rank > 1:
        return []
    return ["Probably nothing here fits: no hit matches all of the caption."]


def _spoken_notes(query: Query, hits: Sequence[Hit]) -> list[str]:
    """Return a sentence where no hit of a first page matches the spoken text better than clips match what nobody says.

    On two archives of known text it came for 59 to 100 % of the phrases of three to seven words that nobody says, and for 0 to
    3 % of those that were found in clear English; for 23 to 44 % in that of learners (docs/results/model-log.md).
    """
    matches = [hit.spoken for hit in hits if hit.spoken]
    if any(each.transcript is not None for each in matches):
        return []
    is_short = sum(map(str.isalpha, query.phonemes)) < LEAST_PHONEMES
    if not matches or is_short or hits[0].rank > 1:
        return []
    if any(each.match >= SAID or (each.deviations or 0) >= SAID_DEVIATIONS for each in matches):
        return []
    return ["Probably nobody says this: no clip matches it better than what is not said."]


def _voice_notes(hits: Sequence[Hit], speakers: SpeakerSpace) -> list[str]:
    """Return a sentence on the hits that are probably not of the person asked for."""
    threshold = speakers.model.thresholds.clip
    others = [hit.rank for hit in hits if hit.same_voice is not None and hit.same_voice < threshold]
    return [f"From hit {others[0]} on, it is probably someone else who speaks."] if others else []


def _filter_notes(where: Filter, store: Store) -> list[str]:
    """Return sentences on the values of a filter that no clip of an index has, with those that are nearest."""
    notes = []
    for condition in _equalities(where):
        try:
            values = store.facet(condition.field)
        except FilterError:  # numbers and dates
            continue
        for value in condition.values:
            if value not in values:
                lower = {each.lower(): each for each in values}
                alike = difflib.get_close_matches(value.lower(), lower, n=3, cutoff=0.5)
                named = [lower[each] for each in alike] or sorted(values, key=lambda each: -values[each])[:FEW]
                notes.append(f"No clip has {condition.field} '{value}'; there is {', '.join(named) or 'no value'}.")
    return notes


def _equalities(where: Filter) -> Iterator[Condition]:
    """Yield the conditions of a filter that ask for values."""
    match where:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _equalities(part)
        case Condition(operator="="):
            yield where


def _quoted(words: Sequence[str]) -> str:
    quoted = [f"'{word}'" for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def _hints(unknown: Iterable[str]) -> list[str]:
    """Return what helps in place of some words."""
    words = {part for each in unknown for part in each.lower().split()}
    return [hint for hint, topic in _topics().items() if words & topic]


def _similar(word: str, card: ModelCard) -> str:
    """Return the word of a heard label that an unknown one resembles, as a typing error does; "" for none."""
    if len(word) < LEAST_LETTERS or any(word.lower() in topic for topic in _topics().values()):
        return ""
    found = difflib.get_close_matches(word.lower(), _words_of(card), n=1, cutoff=SIMILARITY)
    return found[0] if found and found[0] not in word.lower() else ""


def _words_of(card: ModelCard) -> list[str]:
    """Return the single words that stand for what a model hears."""
    labels = [label for attribute in heard_attributes(card) for label in attribute.labels]
    phrases = [word for label in labels for word in (label.name, *label.words)] + [
        word for compound in load_compounds() for word in compound.words
    ]
    words = {part for phrase in phrases for part in phrase.lower().split() if part not in STOP_WORDS}
    return sorted({*words, *heard_words(card)})


def _other_language(caption: str) -> str:
    """Return the language or script that a caption seems to be in, "" for English."""
    letters = [letter for letter in caption if letter.isalpha()]
    for letter in letters:
        script = unicodedata.name(letter, "").split(" ")[0]
        if script not in ("LATIN", "FULLWIDTH", "MODIFIER", "FEMININE", "MASCULINE"):
            return (
                "in Chinese or Japanese" if script in ("CJK", "HIRAGANA", "KATAKANA") else f"in {script.capitalize()} letters"
            )
    words = set(re.findall(r"\w+", caption.lower()))
    english = words & (STOP_WORDS | _english())
    scores = {language: len(words & frequent) for language, frequent in _languages().items()}
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] > len(english) else ""


@cache
def _english() -> frozenset[str]:
    """The words of all labels, heard or not."""
    labels = [label for attribute in load_attributes().values() for label in attribute.labels]
    return frozenset(part for label in labels for word in label.words for part in word.lower().split())


@cache
def _topics() -> Mapping[str, frozenset[str]]:
    """Words that no model hears, by what helps in their place."""
    return {topic["hint"]: frozenset(topic["words"].split()) for topic in _data()["topic"]}


@cache
def _topic(name: str) -> frozenset[str]:
    return next(frozenset(topic["words"].split()) for topic in _data()["topic"] if topic["name"] == name)


@cache
def _languages() -> Mapping[str, frozenset[str]]:
    return {language: frozenset(words.split()) for language, words in _data()["languages"].items()}


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((files("voxdex.search") / "unheard.toml").read_text(encoding="utf-8"))
