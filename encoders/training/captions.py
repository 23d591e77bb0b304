"""Captions written from labels: varied wording for the same claims about a voice."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from encoders.attributes import Label, load_attributes

if TYPE_CHECKING:
    from inflect import engine


class Claim(NamedTuple):
    """What a caption says of a voice, such as ("emotion", "sad"), or, where it does not hold, that it is not so."""

    attribute: str
    label: str
    holds: bool = True


SPEAKERS = ("a person", "a speaker", "somebody", "a voice actor", "a narrator", "someone")
PRONOUNS = {"female": ("she", "her"), "male": ("he", "his"), None: ("the speaker", "the speaker's")}
SPEAKING = ("speak", "speak", "talk", "say something", "read", "narrate", "deliver a line", "tell something")
MANNERS = ("voice", "voice", "voice", "tone", "tone of voice", "manner", "style", "way", "delivery")
FEELINGS = ("full of {}", "with {}", "expressing {}", "conveying a sense of {}", "with a touch of {}", "revealing {}", "in {}")
OPENINGS = ("a recording of ", "find ", "please play ", "I want to hear ", "this is ", "the voice of ")
KINDS = {"adjectives": 5, "adverbs": 2, "verbs": 1, "feelings": 2, "phrases": 2}
"""How often a claim is put into each kind of words, where its label has them."""


UNREMARKABLE = {("phonation", "modal"), ("pitch", "medium"), ("intensity", "normal"), ("channel", "full-band")}
SELDOM = 0.15
"""How often people mention what is unremarkable."""


@dataclass
class Said:
    """Claims put into words, by where in a sentence they may stand.

    gender: its label, if it is claimed. adjectives: of the speaker or the voice. verb: what replaces "speak".
    tails: whatever may follow after a comma.
    """

    gender: str | None = None
    subject: str = ""
    adjectives: list[str] = field(default_factory=list)
    adverbs: list[str] = field(default_factory=list)
    verb: str = ""
    tails: list[str] = field(default_factory=list)


def choose_claims(holding: Sequence[Claim], rng: random.Random) -> list[Claim]:
    """One to four of the claims that hold, of different attributes, as somebody might mention them."""
    telling = [claim for claim in holding if claim[:2] not in UNREMARKABLE or rng.random() < SELDOM]
    by_attribute: dict[str, list[Claim]] = {}
    for claim in telling or holding:
        by_attribute.setdefault(claim.attribute, []).append(claim)
    names = rng.sample(list(by_attribute), min(len(by_attribute), rng.choice((1, 1, 2, 2, 3, 4))))
    return [rng.choice(by_attribute[name]) for name in names]


def write_caption(claims: Sequence[tuple], rng: random.Random) -> str:
    """One of many captions that say just `claims` (each a Claim or as one), at most one of them that a gender holds."""
    said = _put_into_words([Claim(*claim) for claim in claims], rng)
    caption = rng.choice(SHAPES)(said, rng)
    for tail in said.tails:
        caption = f"{tail}: {caption}" if rng.random() < 0.1 else f"{caption}{rng.choice((', ', ', ', ' ', ' - '))}{tail}"
    if rng.random() < 0.4:
        caption = caption[0].upper() + caption[1:] + rng.choice(("", "."))
    return caption


def _put_into_words(claims: list[Claim], rng: random.Random) -> Said:
    said = Said()
    attributes = load_attributes()
    for claim in rng.sample(claims, len(claims)):
        label = next(label for label in attributes[claim.attribute].labels if label.name == claim.label)
        if not claim.holds:
            said.tails.append(_denial(label, rng))
        elif claim.attribute == "gender":
            said.gender, said.subject = label.name, _word(label.nouns, rng)
        elif claim.attribute == "age" and not any(other.attribute == "gender" for other in claims) and rng.random() < 0.6:
            said.subject = _word(label.nouns, rng)
        else:
            _say(said, label, rng)
    said.subject = said.subject or rng.choice(SPEAKERS)
    return said


def _say(said: Said, label: Label, rng: random.Random) -> None:
    kinds = [kind for kind in KINDS if getattr(label, kind) and not (kind == "verbs" and said.verb)]
    kind = rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
    word = _word(getattr(label, kind), rng)
    if kind == "adjectives":
        said.adjectives.append(word)
    elif kind == "adverbs":
        said.adverbs.append(word)
    elif kind == "verbs":
        said.verb = word
    else:
        said.tails.append(rng.choice(FEELINGS).format(word) if kind == "feelings" else word)


def _denial(label: Label, rng: random.Random) -> str:
    """That a label does not hold, to follow after a comma."""
    ways = [f"not {_word(label.adjectives, rng)}", f"by no means {_word(label.adjectives, rng)}"] if label.adjectives else []
    ways += [f"not {_word(label.phrases, rng)}"] if label.phrases and not ways else []
    ways += [f"without {_word(label.feelings, rng)}"] if label.feelings else []
    ways += [f"not {_participle(_word(label.verbs, rng))}"] if label.verbs else []
    ways += [f"not {_word(label.nouns, rng)}"] if label.nouns else []
    return rng.choice(("", "", "but ")) + rng.choice(ways)


def _word(words: Sequence[str], rng: random.Random) -> str:
    """One of `words`, the first ones oftener."""
    return words[rng.randrange(rng.randint(1, len(words)))]


def _noun_phrase(said: Said, rng: random.Random) -> str:
    """a sad old man with a deep voice speaking slowly"""
    split = rng.randint(0, len(said.adjectives))
    before, after = said.adjectives[:split], said.adjectives[split:]
    bare = said.subject.split(" ", 1)[-1] if said.subject.startswith(("a ", "an ")) else "person"
    noun = _grammar().a(" ".join((*before, bare))) if before else said.subject
    if after:
        noun += f" {rng.choice(('with', 'in', 'speaking in'))} {_grammar().a(_listed(after, rng))} {rng.choice(MANNERS)}"
    if said.verb or said.adverbs:
        noun += f" {_participle(_action(said, rng))}"
    return rng.choice(OPENINGS) + noun if rng.random() < 0.4 else noun


def _sentence(said: Said, rng: random.Random) -> str:
    """she speaks slowly in a deep, sad voice"""
    pronoun, possessive = PRONOUNS[said.gender]
    subject = rng.choice((said.subject, said.subject, pronoun, said.subject.replace("a ", "the ", 1)))
    action = _action(said, rng)
    does = f"is {_participle(action)}" if rng.random() < 0.5 else _third_person(action)
    sentence = f"{subject} {does}"
    if said.adjectives and rng.random() < 0.3:
        return f"{sentence}. {possessive.capitalize()} voice is {_listed(said.adjectives, rng)}"
    if said.adjectives:
        sentence += f" {rng.choice(('in', 'with'))} {_grammar().a(_listed(said.adjectives, rng))} {rng.choice(MANNERS)}"
    return sentence


def _predicate(said: Said, rng: random.Random) -> str:
    """her voice is deep and sad, speaking slowly"""
    pronoun, possessive = PRONOUNS[said.gender]
    if not said.adjectives:
        return _sentence(said, rng)
    owner = possessive if said.gender and rng.random() < 0.7 else f"{said.subject}'s"
    listed = _listed(said.adjectives, rng)
    subject = f"{owner} voice {rng.choice(('is', 'sounds', 'seems'))}" if rng.random() < 0.6 else f"{pronoun} sounds"
    action = f", {_participle(_action(said, rng))}" if said.verb or said.adverbs else ""
    return f"{subject} {listed}{action}"


def _voice(said: Said, rng: random.Random) -> str:
    """a deep, sad female voice speaking slowly"""
    gender = {"female": "female ", "male": "male ", None: ""}[said.gender]
    voice = f"{_listed(said.adjectives, rng)} {gender}".lstrip() + rng.choice(("voice", "voice", "voice", "speech", "speaker"))
    if said.verb or said.adverbs:
        voice += f" {_participle(_action(said, rng))}"
    return _grammar().a(voice) if rng.random() < 0.6 else voice


def _keywords(said: Said, rng: random.Random) -> str:
    """female, deep, sad, slowly"""
    words = [*said.adjectives, *said.adverbs, *filter(None, [said.verb and _participle(said.verb)])]
    if said.gender or not words:
        words.insert(0, rng.choice((said.gender, said.subject)) if said.gender else said.subject)
    return rng.choice((", ", ", ", " ", "; ")).join(words)


def _about_the_voice(said: Said, rng: random.Random) -> str:
    """speaking slowly in a deep, sad voice"""
    if said.gender or not (said.adjectives or said.adverbs or said.verb):
        return _sentence(said, rng)
    start = _participle(_action(said, rng))
    return f"{start} in {_grammar().a(_listed(said.adjectives, rng))} {rng.choice(MANNERS)}" if said.adjectives else start


SHAPES = (_noun_phrase, _noun_phrase, _sentence, _sentence, _predicate, _voice, _voice, _keywords, _about_the_voice)


def _action(said: Said, rng: random.Random) -> str:
    """speak slowly and softly"""
    return " ".join((said.verb or rng.choice(SPEAKING), _listed(said.adverbs, rng))).strip()


def _listed(words: Sequence[str], rng: random.Random) -> str:
    """sad, deep and slow"""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])}{rng.choice((' and ', ' and ', ', '))}{words[-1]}"


def _participle(action: str) -> str:
    """speak slowly -> speaking slowly"""
    verb, _, rest = action.partition(" ")
    return f"{_grammar().present_participle(_third_person(verb))} {rest}".strip()


def _third_person(action: str) -> str:
    """speak slowly -> speaks slowly"""
    verb, _, rest = action.partition(" ")
    return f"{_grammar().plural_noun(verb)} {rest}".strip()


@cache
def _grammar() -> "engine":
    import inflect  # takes two seconds

    return inflect.engine()
