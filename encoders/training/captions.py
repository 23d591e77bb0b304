"""Captions written from labels: varied wording for the same claims about a voice."""

import random
from collections.abc import Sequence

from encoders.attributes import Attribute, Label
from encoders.training.measured import caption_attributes

Claim = tuple[str, str]
"""(attribute, label): what a caption says of a voice, such as ("emotion", "sad")."""

NEUTRAL_SUBJECTS = ("a person", "a speaker", "a voice actor", "a narrator")
PRONOUNS = {"female": ("she", "her"), "male": ("he", "his")}
FRAMES = (
    "{article_adjectives} {bare_subject}",
    "{article_adjectives} {bare_subject} is speaking",
    "{adjectives} {gender_adjective}voice",
    "{article_adjectives} {gender_adjective}voice",
    "{subject} speaking in {article_adjectives} voice",
    "{subject} with {article_adjectives} voice",
    "{subject} who sounds {adjectives}",
    "{subject} is speaking in {article_adjectives} style.",
    "{pronoun} sounds {adjectives}",
    "{possessive} voice is {adjectives}",
    "in {article_adjectives} tone, {subject} is talking",
    "a recording of {article_adjectives} {bare_subject}",
)


def write_caption(claims: Sequence[Claim], rng: random.Random) -> str:
    """One of many captions that say just `claims`, at most one of them about gender."""
    attributes = caption_attributes()
    gender = next((label for attribute, label in claims if attribute == "gender"), None)
    others = [_label(attributes[attribute], label) for attribute, label in claims if attribute != "gender"]
    rng.shuffle(others)

    adjectives, phrases = [], []
    for label in others:
        if label.phrases and (not label.adjectives or rng.random() < 0.3):
            phrases.append(rng.choice(label.phrases))
        else:
            adjectives.append(rng.choice(label.adjectives[: rng.randint(1, len(label.adjectives))]))

    gender_label = _label(attributes["gender"], gender) if gender else None
    caption = _frame(adjectives, gender_label, rng) if adjectives else _subject(gender_label, rng)
    for phrase in phrases:
        caption = f"{caption.rstrip('.')}, {phrase}" if rng.random() < 0.7 else f"{phrase}: {caption}"
    return caption if rng.random() < 0.7 else caption[0].upper() + caption[1:]


def _label(attribute: Attribute, name: str) -> Label:
    return next(label for label in attribute.labels if label.name == name)


def _subject(gender: Label | None, rng: random.Random) -> str:
    if gender is None:
        return rng.choice(NEUTRAL_SUBJECTS)
    noun = rng.choice(gender.nouns[: rng.randint(1, len(gender.nouns))])
    return rng.choice((noun, f"{noun} is speaking", f"{gender.adjectives[0]} voice", f"the voice of {noun}", noun[2:].strip()))


def _frame(adjectives: list[str], gender: Label | None, rng: random.Random) -> str:
    listed = rng.choice((", ", ", ", " and ")).join(adjectives) if len(adjectives) < 3 else ", ".join(adjectives)
    subject = rng.choice(gender.nouns if gender else NEUTRAL_SUBJECTS)
    pronoun, possessive = PRONOUNS[gender.name] if gender else ("the speaker", "the")
    return rng.choice(FRAMES).format(
        adjectives=listed,
        article_adjectives=f"{'an' if listed[0] in 'aeiou' else 'a'} {listed}",
        subject=subject,
        bare_subject=subject.split(" ", 1)[-1],
        gender_adjective=f"{gender.adjectives[0]} " if gender else "",
        pronoun=pronoun,
        possessive=possessive,
    )
