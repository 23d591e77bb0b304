"""Notes on what a model does not understand of a query, and terms that it does not hear."""

from dataclasses import replace

import pytest

from voxdex.encoders.model_card import locate, read_card
from voxdex.encoders.zero_shot import heard_attributes
from voxdex.search.caption_parser import parse_caption
from voxdex.search.formats import as_hours, span
from voxdex.search.query_parser import split_span
from voxdex.search.understanding import caption_notes, is_known


@pytest.fixture(scope="module")
def card():
    return read_card(locate("mini"))


@pytest.fixture
def demo_library(home, library, monkeypatch):
    """The user's data folder with the sample archive indexed."""
    monkeypatch.setenv("VOXDEX_HOME", str(library))


@pytest.mark.parametrize(
    "caption",
    [
        "breathy, sad female voice",
        "a man with a deep raspy voice",
        "a child",
        "a tired man",
        "neither angry nor sad",
        "not a man",
        "a nervous young boy speaking fast",
        "a voice full of joy",
        "she mutters",
        "an angry woman, shouting",
    ],
)
def test_captions_that_are_understood(card, caption):
    assert caption_notes([caption], card) == []


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("speaking German", ["mini does not hear 'German': it only counts through the whole caption.", "--where language="]),
        ("a British accent", ["does not hear 'British' and 'accent': they only count"]),
        ("xyzzy qwrtp", ["does not hear 'xyzzy' and 'qwrtp'"]),
        ("an old woman", ["does not hear 'old'"]),
        ("a grandmother", ["does not hear 'grandmother'"]),
        ("a woman laughing", ["does not hear 'laughing'", "Sounds other than speech"]),
        ("a sarcastic man", ["does not hear 'sarcastic'"]),
        ("somebody talking about politics", ["does not hear 'politics'", "--says"]),
        ("a phone recording", ["'phone'", "--where snr_db"]),
        ("a whispring man", ["does not hear 'whispring'", "Did you mean 'whispering' by 'whispring'?"]),
        ("angery woman", ["Did you mean 'angry' by 'angery'?"]),
        ("eine traurige Frau", ["'eine traurige Frau' is German, it seems: captions are understood in English."]),
        ("une femme triste", ["is French"]),
        ("una mujer enojada", ["is Spanish"]),
        ("грустная женщина", ["is in Cyrillic letters"]),
        ("悲しい女性", ["is in Chinese or Japanese"]),
        ("امرأة حزينة", ["is in Arabic letters"]),
    ],
)
def test_captions_that_are_not_understood(card, caption, words):
    told = " ".join(caption_notes([caption], card))
    assert all(word in told for word in words), told


def test_terms_of_a_model_without_emotion():
    card = read_card(locate("mini-open"))
    states = {term.words: is_known(term, card) for term in parse_caption("a sad man, whispering").terms}
    assert states == {"sad": False, "man": True, "whispering": True}


def test_a_model_that_was_not_evaluated_hears_every_label(card):
    unknown = replace(card, hears={}, scales={})
    assert caption_notes(["an old man with a husky voice"], unknown) == []
    assert {attribute.name for attribute in heard_attributes(unknown)} > {
        attribute.name for attribute in heard_attributes(card)
    }


def test_unknown_terms_have_no_mark(voxdex, demo_library):
    found = voxdex("search", "a German woman, not sarcastic", "-n", 3, "--json")
    assert [set(hit["matched"]) for hit in found.json["hits"]] == [{"German", "woman", "not sarcastic"}] * 3
    assert all(hit["matched"]["German"] is hit["matched"]["not sarcastic"] is None for hit in found.json["hits"])
    assert any("does not hear 'German' and 'sarcastic'" in note for note in found.json["notes"])
    shown = voxdex("search", "a German woman", "-n", 3)
    assert "German ?" in shown.out and "does not hear 'German'" in shown.err and "German ✓" not in shown.out


def test_unknown_terms_do_not_change_the_penalty(voxdex, demo_library):
    scores = [
        [hit["matched"]["woman"] for hit in voxdex("search", text, "-n", 8, "--json").json["hits"]]
        for text in ("a woman", "a woman from Xyzzy")
    ]
    assert sum(scores[1]) >= sum(scores[0]) - 2


def test_values_that_no_clip_has(voxdex, demo_library):
    told = voxdex("search", "a voice", "--where", "gender=femle")
    assert told.status == 0 and "No clip has gender 'femle'; there is female" in told.err
    assert "No clip meets these conditions." in told.err
    assert "Did you mean gender" in voxdex("search", "a voice", "--where", "gendr=female").err
    assert "There is no page 9" in voxdex("search", "a voice", "--page", 9, "-n", 100).err
    assert "No clip scores 2 or more." in voxdex("search", "a voice", "--min-score", 2).err


def test_labels_that_are_not_heard_are_refused(voxdex, takes, tmp_path):
    refused = voxdex("classify", takes[0], "--labels", "laughing,crying")
    assert refused.status == 2 and "mini does not hear 'laughing'" in refused.err and "--anyway" in refused.err
    assert voxdex("classify", takes[0], "--labels", "laughing,crying", "--anyway").status == 0
    assert "mini does not hear noise" in voxdex("classify", takes[0], "--attribute", "noise").err
    assert voxdex("classify", takes[0], "--labels", "happy,furious").status == 0


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [("a.wav:3.5-7", 3.5, 7), ("a.wav:1:02:03.5-1:02:07", 3723.5, 3727), ("a.wav:2:05-", 125, None), ("a.wav:-1:00", None, 60)],
)
def test_times_in_hours(text, start, end):
    assert split_span(text) == ("a.wav", start, end)


def test_times_of_long_recordings_are_in_hours():
    assert span(3.5, 7.25) == "3.5-7.2" and span(3598.0, 3601.5, 2) == "0:59:58.00-1:00:01.50"
    assert as_hours(36_000 - 0.01) == "10:00:00.0"
    assert split_span(f"x:{span(7199.96, 7207.5)}")[1:] == (7200.0, 7207.5)
