"""Captions composed from labels, with varied wording for the same claims."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from voxdex.encoders.attributes import Label, load_attributes, load_compounds

if TYPE_CHECKING:
    from inflect import engine


class Claim(NamedTuple):
    """A claim about a voice, such as ("emotion", "sad"), or its negation."""

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
"""Weight of each kind of words for a claim, if its label has them."""


INFORMATIVE = ("emotion", "noise")
"""Attributes whose unremarkable label is mentioned as often as the others: it was acted or recorded on purpose."""
UNREMARKABLE = {
    (attribute.name, attribute.unremarkable)
    for attribute in load_attributes().values()
    if attribute.unremarkable and attribute.name not in INFORMATIVE
}
MENTIONED_UNREMARKABLE = 0.15
"""Probability that an unremarkable label is mentioned."""
COUNTS = (1, 1, 2, 2, 3, 3, 4, 5)
"""Numbers of claims of a caption, equally likely."""
COMPOUND_CHOSEN, COMPOUND_WORDED = 0.2, 0.6
"""Probabilities that claims are chosen that one word implies, where they hold, and that such claims are stated by that word."""


@dataclass
class Phrases:
    """The words of claims, by their role in a sentence.

    gender: its label, if it is claimed. adjectives: of the speaker or the voice. verb: replaces "speak".
    tails: phrases after a comma.
    """

    gender: str | None = None
    subject: str = ""
    adjectives: list[str] = field(default_factory=list)
    adverbs: list[str] = field(default_factory=list)
    verb: str = ""
    tails: list[str] = field(default_factory=list)


def choose_claims(holding: Sequence[Claim], rng: random.Random) -> list[Claim]:
    """Choose one to five of the claims that hold, of different attributes."""
    telling = [claim for claim in holding if claim[:2] not in UNREMARKABLE or rng.random() < MENTIONED_UNREMARKABLE]
    by_attribute: dict[str, list[Claim]] = {}
    for claim in telling or holding:
        by_attribute.setdefault(claim.attribute, []).append(claim)
    known = {claim[:2] for claim in holding}
    compounds = [compound for compound in load_compounds() if known.issuperset(compound.labels)]
    chosen: list[Claim] = []
    if compounds and rng.random() < COMPOUND_CHOSEN:
        chosen = [Claim(*label) for label in rng.choice(compounds).labels]
    others = [name for name in by_attribute if name not in {claim.attribute for claim in chosen}]
    count = min(len(others), max(0, rng.choice(COUNTS) - len(chosen)))
    return chosen + [rng.choice(by_attribute[name]) for name in rng.sample(others, count)]


def write_caption(claims: Sequence[tuple[Any, ...]], rng: random.Random) -> str:
    """Compose a random caption of exactly these claims (each a Claim or a tuple), at most one of them a gender that holds."""
    phrases = _put_into_words([Claim(*claim) for claim in claims], rng)
    caption = rng.choice(SHAPES)(phrases, rng)
    for tail in phrases.tails:
        caption = f"{tail}: {caption}" if rng.random() < 0.1 else f"{caption}{rng.choice((', ', ', ', ' ', ' - '))}{tail}"
    if rng.random() < 0.4:
        caption = caption[0].upper() + caption[1:] + rng.choice(("", "."))
    return caption


def _put_into_words(claims: list[Claim], rng: random.Random) -> Phrases:
    phrases = Phrases()
    held = [claim for claim in claims if claim.holds]
    for claim in _take_compounds(phrases, rng.sample(held, len(held)), rng):
        label = _label(claim)
        if claim.attribute == "gender":
            phrases.gender, phrases.subject = label.name, _word(label.nouns, rng)
        elif claim.attribute == "age" and not any(other.attribute == "gender" for other in claims) and rng.random() < 0.6:
            phrases.subject = _word(label.nouns, rng)
        else:
            _add_label(phrases, label, rng)
    denied = [claim for claim in claims if not claim.holds]
    phrases.tails += _negations([_label(claim) for claim in rng.sample(denied, len(denied))], rng)
    phrases.subject = phrases.subject or rng.choice(SPEAKERS)
    return phrases


def _take_compounds(phrases: Phrases, claims: list[Claim], rng: random.Random) -> list[Claim]:
    """State some claims by a word that implies them together, and return the others."""
    labels = {claim[:2] for claim in claims}
    compounds = [compound for compound in load_compounds() if labels.issuperset(compound.labels)]
    if not compounds or rng.random() >= COMPOUND_WORDED:
        return claims
    compound = rng.choice(compounds)
    gender = dict(compound.labels).get("gender")
    if gender:
        phrases.gender, phrases.subject = gender, _word(compound.nouns, rng)
    elif compound.phrases and rng.random() < 0.2:
        phrases.tails.append(_word(compound.phrases, rng))
    else:
        phrases.adjectives.append(_word(compound.adjectives, rng))
    return [claim for claim in claims if claim[:2] not in compound.labels]


def _label(claim: Claim) -> Label:
    return next(label for label in load_attributes()[claim.attribute].labels if label.name == claim.label)


def _add_label(phrases: Phrases, label: Label, rng: random.Random) -> None:
    kinds = [kind for kind in KINDS if getattr(label, kind) and not (kind == "verbs" and phrases.verb)]
    kind = rng.choices(kinds, [KINDS[kind] for kind in kinds])[0]
    word = _word(getattr(label, kind), rng)
    if kind == "adjectives":
        phrases.adjectives.append(word)
    elif kind == "adverbs":
        phrases.adverbs.append(word)
    elif kind == "verbs":
        phrases.verb = word
    else:
        phrases.tails.append(rng.choice(FEELINGS).format(word) if kind == "feelings" else word)


def _negations(labels: list[Label], rng: random.Random) -> list[str]:
    """Phrases that labels do not hold, to follow commas."""
    if len(labels) == 2 and all(label.adjectives for label in labels) and rng.random() < 0.6:
        first, second = (_word(label.adjectives, rng) for label in labels)
        return [rng.choice((f"neither {first} nor {second}", f"not {first} or {second}", f"not {first} and not {second}"))]
    return [_negation(label, rng) for label in labels]


def _negation(label: Label, rng: random.Random) -> str:
    """Phrase that a label does not hold, to follow a comma."""
    ways = []
    if label.adjectives:
        word = _word(label.adjectives, rng)
        ways += [f"not {word}", f"not {word} at all", f"by no means {word}", f"anything but {word}", f"non-{word}"]
    ways += [f"not {_word(label.phrases, rng)}"] if label.phrases and not ways else []
    if label.feelings:
        word = _word(label.feelings, rng)
        ways += [f"without {word}", f"with no {word}", f"without any {word}", f"free of {word}", f"no {word}"]
    ways += [f"not {_participle(_word(label.verbs, rng))}"] if label.verbs else []
    ways += [f"not {_word(label.nouns, rng)}"] if label.nouns else []
    return rng.choice(("", "", "but ")) + rng.choice(ways)


def _word(words: Sequence[str], rng: random.Random) -> str:
    """Draw one of `words`, the first ones more often."""
    return words[rng.randrange(rng.randint(1, len(words)))]


def _noun_phrase(phrases: Phrases, rng: random.Random) -> str:
    """a sad old man with a deep voice speaking slowly"""
    split = rng.randint(0, len(phrases.adjectives))
    before, after = phrases.adjectives[:split], phrases.adjectives[split:]
    bare = phrases.subject.split(" ", 1)[-1] if phrases.subject.startswith(("a ", "an ")) else "person"
    noun = _grammar().a(" ".join((*before, bare))) if before else phrases.subject
    if after:
        noun += f" {rng.choice(('with', 'in', 'speaking in'))} {_grammar().a(_listed(after, rng))} {rng.choice(MANNERS)}"
    if phrases.verb or phrases.adverbs:
        noun += f" {_participle(_action(phrases, rng))}"
    return rng.choice(OPENINGS) + noun if rng.random() < 0.4 else noun


def _sentence(phrases: Phrases, rng: random.Random) -> str:
    """she speaks slowly in a deep, sad voice"""
    pronoun, possessive = PRONOUNS[phrases.gender]
    subject = rng.choice((phrases.subject, phrases.subject, pronoun, phrases.subject.replace("a ", "the ", 1)))
    action = _action(phrases, rng)
    does = f"is {_participle(action)}" if rng.random() < 0.5 else _third_person(action)
    sentence = f"{subject} {does}"
    if phrases.adjectives and rng.random() < 0.3:
        return f"{sentence}. {possessive.capitalize()} voice is {_listed(phrases.adjectives, rng)}"
    if phrases.adjectives:
        sentence += f" {rng.choice(('in', 'with'))} {_grammar().a(_listed(phrases.adjectives, rng))} {rng.choice(MANNERS)}"
    return sentence


def _predicate(phrases: Phrases, rng: random.Random) -> str:
    """her voice is deep and sad, speaking slowly"""
    pronoun, possessive = PRONOUNS[phrases.gender]
    if not phrases.adjectives:
        return _sentence(phrases, rng)
    owner = possessive if phrases.gender and rng.random() < 0.7 else f"{phrases.subject}'s"
    listed = _listed(phrases.adjectives, rng)
    subject = f"{owner} voice {rng.choice(('is', 'sounds', 'seems'))}" if rng.random() < 0.6 else f"{pronoun} sounds"
    action = f", {_participle(_action(phrases, rng))}" if phrases.verb or phrases.adverbs else ""
    return f"{subject} {listed}{action}"


def _voice(phrases: Phrases, rng: random.Random) -> str:
    """a deep, sad female voice speaking slowly"""
    gender = {"female": "female ", "male": "male ", None: ""}[phrases.gender]
    voice = f"{_listed(phrases.adjectives, rng)} {gender}".lstrip() + rng.choice(
        ("voice", "voice", "voice", "speech", "speaker")
    )
    if phrases.verb or phrases.adverbs:
        voice += f" {_participle(_action(phrases, rng))}"
    return _grammar().a(voice) if rng.random() < 0.6 else voice


def _keywords(phrases: Phrases, rng: random.Random) -> str:
    """female, deep, sad, slowly"""
    words = [*phrases.adjectives, *phrases.adverbs, *filter(None, [phrases.verb and _participle(phrases.verb)])]
    if phrases.gender or not words:
        words.insert(0, rng.choice((phrases.gender, phrases.subject)) if phrases.gender else phrases.subject)
    return rng.choice((", ", ", ", " ", "; ")).join(words)


def _about_the_voice(phrases: Phrases, rng: random.Random) -> str:
    """speaking slowly in a deep, sad voice"""
    if phrases.gender or not (phrases.adjectives or phrases.adverbs or phrases.verb):
        return _sentence(phrases, rng)
    start = _participle(_action(phrases, rng))
    return f"{start} in {_grammar().a(_listed(phrases.adjectives, rng))} {rng.choice(MANNERS)}" if phrases.adjectives else start


SHAPES = (_noun_phrase, _noun_phrase, _sentence, _sentence, _predicate, _voice, _voice, _keywords, _about_the_voice)


def _action(phrases: Phrases, rng: random.Random) -> str:
    """speak slowly and softly"""
    return " ".join((phrases.verb or rng.choice(SPEAKING), _listed(phrases.adverbs, rng))).strip()


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
