"""Captions for recordings: composed from predictions, and found in a bank."""

import pytest

from voxdex.encoders.zero_shot import Prediction
from voxdex.search.caption import CaptionBank, compose


@pytest.mark.parametrize(
    ("heard", "caption"),
    [
        ({}, "A speaker."),
        ({"gender": Prediction("female", 0.9), "emotion": Prediction("angry", 0.8)}, "An angry woman."),
        (
            {"gender": Prediction("male", 0.9), "emotion": Prediction("sad", 0.4), "pitch": Prediction("low", 0.7)},
            "A man with a low-pitched voice.",
        ),
        (
            {
                "age": Prediction("old", 0.7),
                "gender": Prediction("female", 1),
                "speed": Prediction("slow", 0.7),
                "phonation": Prediction("whispered", 0.7),
            },
            "An old woman, slow and whispered.",
        ),
        ({"emotion": Prediction("neutral", 0.9), "phonation": Prediction("modal", 0.9)}, "A speaker."),
    ],
)
def test_compose(heard, caption):
    assert compose(heard) == caption


def test_caption_bank_cache(mini, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("a woman\na man")
    other.write_text("a man\na woman")
    [woman] = mini.embed_text(["a woman"])
    for file in (one, other, one):
        assert CaptionBank(mini, file).find(woman, 1)[0].caption == "a woman"
    for kept in tmp_path.rglob("*.npy"):
        kept.write_bytes(b"")
    assert CaptionBank(mini, one).find(woman, 1)[0].caption == "a woman"
