"""Captions: terms, affirmed and negated parts."""

import pytest

from voxdex.search.caption_parser import parse_caption


def test_terms_of_captions():
    terms = parse_caption("A tired old man who shouts, not whispering, gravelly").terms
    assert [(term.words, dict(term.labels), term.affirmed) for term in terms] == [
        ("tired", {}, True),
        ("old", {"age": "old"}, True),
        ("man", {"gender": "male"}, True),
        ("shouts", {"emotion": "angry", "loudness": "loud"}, True),
        ("gravelly", {"texture": "rough"}, True),
        ("whispering", {"phonation": "whispered"}, False),
    ]
    assert parse_caption("please play me the voice of somebody").terms == ()


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
        ("knotty, nothing, another", "knotty, nothing, another", ()),
    ],
)
def test_affirmed_and_negated_parts(caption, affirmed, negated):
    parsed = parse_caption(caption)
    assert (parsed.affirmed, parsed.negated) == (affirmed, negated)
