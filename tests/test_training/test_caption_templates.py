"""Captions written from claims."""

import random
import re

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.data.caption_templates import Claim, write_caption


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
        denied = re.split(
            r"\b(?:not|no means|anything but|non-|without(?: any)?|with no|no|free of)(?:\b |(?<=-))", caption, maxsplit=1
        )
        assert len(denied) == 2 and denied[1].startswith(("whisper", *whispered.words)), caption


def test_captions_describe_the_recording():
    rng = random.Random(0)
    claims = [("gender", "female"), ("pitch", "low"), ("noise", "noisy")]
    captions = {write_caption(claims, rng).lower() for _ in range(200)}
    phrases = next(label.phrases for label in load_attributes()["noise"].labels if label.name == "noisy")
    assert len(captions) > 100
    assert all(any(phrase in caption for phrase in phrases) for caption in captions)
    assert {write_caption([("reverberation", "reverberant")], random.Random(i)) for i in range(20)}
