"""Captions written from claims."""

import random
import re

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.data.caption_templates import Claim, choose_claims, write_caption


def test_captions_vary_and_state_every_claim():
    rng = random.Random(0)
    captions = {write_caption([("gender", "female"), ("emotion", "sad")], rng).lower() for _ in range(300)}
    assert len(captions) > 200
    sad = {label.name: label for label in load_attributes()["emotion"].labels}["sad"]
    for caption in captions:
        assert re.search(r"\b(fem\w+|wom\w+|she|her|lady|girl|actress|mother)\b", caption), caption
        assert any(word in caption for word in (*sad.words, "sobb", "weep", "mourn", "lament")), caption


def test_captions_negate_claims_that_do_not_hold():
    rng = random.Random(0)
    claims = [Claim("gender", "male"), Claim("phonation", "whispered", holds=False)]
    captions = {write_caption(claims, rng).lower() for _ in range(200)}
    assert len(captions) > 100
    whispered = {label.name: label for label in load_attributes()["phonation"].labels}["whispered"]
    for caption in captions:
        cues = r"\b(?:non-|(?:not|no means|anything but|without(?: any)?|with no|no|free of) )"
        denied = re.split(cues, caption, maxsplit=1)
        assert len(denied) == 2 and denied[1].startswith(("whisper", *whispered.words)), caption


def test_one_word_states_claims_that_it_implies():
    rng = random.Random(0)
    captions = {write_caption([("gender", "female"), ("age", "old")], rng).lower() for _ in range(300)}
    assert sum(bool(re.search(r"grandmother|granny|grandma", caption)) for caption in captions) > 15
    weary = [write_caption([("speed", "slow"), ("intonation", "monotone"), ("pitch", "low")], rng) for _ in range(300)]
    assert sum(bool(re.search("(?i)tired|weary|sleepy|drowsy|exhausted", caption)) for caption in weary) > 60
    holding = [Claim("gender", "male"), Claim("pitch", "low"), Claim("emotion", "sad"), Claim("speed", "fast")]
    chosen = [{claim[:2] for claim in choose_claims(holding, rng)} for _ in range(400)]
    together = sum({("gender", "male"), ("pitch", "low")} <= claims for claims in chosen)
    assert together > 120 and all(1 <= len(claims) <= 4 for claims in chosen)


def test_captions_negate_several_claims():
    rng = random.Random(0)
    claims = [Claim("gender", "male"), Claim("emotion", "angry", holds=False), Claim("phonation", "whispered", holds=False)]
    captions = [write_caption(claims, rng).lower() for _ in range(300)]
    for form in ("neither ", "non-", "without ", "free of ", "anything but ", "not "):
        assert any(form in caption for caption in captions), form
    assert all(re.search(r"\bm[ae]n\b|male|\bhe\b|his|gentleman|guy|actor|father|fellow", caption) for caption in captions)


def test_captions_describe_the_recording():
    rng = random.Random(0)
    claims = [("gender", "female"), ("pitch", "low"), ("noise", "noisy")]
    captions = {write_caption(claims, rng).lower() for _ in range(200)}
    phrases = next(label.phrases for label in load_attributes()["noise"].labels if label.name == "noisy")
    assert len(captions) > 100
    assert all(any(phrase in caption for phrase in phrases) for caption in captions)
    assert {write_caption([("reverberation", "reverberant")], random.Random(i)) for i in range(20)}
