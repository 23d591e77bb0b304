"""Captions: terms, affirmed and negated parts."""

import pytest

from voxdex.search.caption_parser import parse_caption


def test_terms_of_captions():
    terms = parse_caption("A tired old man who shouts, not whispering, gravelly").terms
    assert [(term.words, dict(term.labels), term.affirmed) for term in terms] == [
        ("tired", {"speed": "slow", "intonation": "monotone"}, True),
        ("old", {"age": "old"}, True),
        ("man", {"gender": "male"}, True),
        ("shouts", {"emotion": "angry", "loudness": "loud"}, True),
        ("gravelly", {"texture": "rough"}, True),
        ("whispering", {"phonation": "whispered"}, False),
    ]
    assert parse_caption("please play me the voice of somebody").terms == ()


def test_words_that_imply_several_labels():
    terms = parse_caption("a gravelly baritone and a grandmother, old woman, not a little boy").terms
    assert [(term.words, dict(term.labels), term.together) for term in terms] == [
        ("gravelly", {"texture": "rough"}, False),
        ("baritone", {"pitch": "low", "gender": "male"}, True),
        ("grandmother", {"age": "old", "gender": "female"}, True),
        ("old", {"age": "old"}, False),
        ("woman", {"gender": "female"}, False),
        ("little boy", {"age": "child", "gender": "male"}, True),
    ]


@pytest.mark.parametrize(
    ("caption", "affirmed", "negated"),
    [
        ("a sad woman", "a sad woman", ()),
        ("not whispered", "", ("whispered",)),
        ("A woman, but not whispering.", "A woman", ("whispering",)),
        ("a calm voice without sadness, deep", "a calm voice, deep", ("sadness",)),
        ("someone who is not a child with a deep voice", "someone with a deep voice", ("child",)),
        ("never shouting, by no means too loud", "", ("shouting", "loud")),
        ("a man without any particular emotion, in no hurry", "a man without any particular emotion, in no hurry", ()),
        ("neither angry nor sad", "", ("angry", "sad")),
        ("a woman who is neither a child nor very old", "a woman", ("child", "old")),
        ("a non-female, non angry voice", "a, voice", ("female", "angry")),
        ("not a man", "", ("man",)),
        ("a man, not angry at all", "a man", ("angry",)),
        ("a voice that doesn't sound sad", "a voice", ("sad",)),
        ("far from happy, free of anger, with a deep voice", "with a deep voice", ("happy", "anger")),
        ("a man rather than a woman", "a man", ("woman",)),
        ("no accent, a woman", "no accent, a woman", ()),
        ("without an accent, without anger", "without an accent", ("anger",)),
        ("knotty, nothing, another", "knotty, nothing, another", ()),
    ],
)
def test_affirmed_and_negated_parts(caption, affirmed, negated):
    parsed = parse_caption(caption)
    assert (parsed.affirmed, parsed.negated) == (affirmed, negated)
