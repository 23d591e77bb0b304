"""Captions drawn for clips, and which clips they match."""

import random

import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.clips import labelled
from voxdex.encoders.training.data.caption_sampling import caption_matches, draw_captions, hard_negative_captions
from voxdex.encoders.training.data.dataset import CLAIMS
from voxdex.encoders.training.losses import match


def test_matches_of_written_and_generated_captions():
    rows = [{"gender": "female"}, {"gender": "male"}, {"gender": "female"}, {}]
    clips = labelled(rows, [(), (), ("she murmurs",), ("she murmurs",)])
    captions = draw_captions(clips, random.Random(0))
    assert captions.written == [False, False, True, True] and captions.texts[2] == "she murmurs"
    fits = caption_matches(clips, captions)
    assert fits[:, 0].tolist() == [1, -1, 1, 0] and fits[:, 1].tolist() == [-1, 1, -1, 0]
    assert fits[:, 2].tolist() == [0, -1, 1, 1]


def test_hard_negative_captions_change_one_claim():
    rows = [{"gender": "female", "emotion": "sad", "phonation": "whispered"}, {"gender": "male", "emotion": "calm"}] * 8
    clips = labelled(rows, [("she weeps",)] + [()] * 15)
    captions = draw_captions(clips, random.Random(1), negations=0.5)
    twisted = hard_negative_captions(clips, captions, 1.0, random.Random(0))
    assert len(twisted.texts) == 15 and (captions.claims < 0).any()
    for clip, (own, false) in enumerate(zip(captions.claims[1:], twisted.claims, strict=True), 1):
        changed = torch.nonzero(own != false).flatten().tolist()
        assert len({CLAIMS[column].attribute for column in changed}) == 1 and len(changed) == 2
        assert match(torch.from_numpy(clips.truth[clip : clip + 1]), false[None]).item() == -1
    assert caption_matches(clips, captions + twisted).shape == (16, 31)
    assert hard_negative_captions(clips, captions, 0.0, random.Random(0)).texts == []


def test_caption_without_claims_matches_nothing():
    clips = labelled([{}, {"gender": "male"}])
    assert caption_matches(clips.select([0, 1]), draw_captions(clips.select([0, 1]), random.Random(0)))[:, 0].tolist() == [0, 0]
