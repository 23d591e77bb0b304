"""Classification of recordings by attributes and own labels."""

import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.search.classify import classify_file, label_set
from voxdex.search.query import QueryError


def test_classify_file(mini, demo_archive, tmp_path):
    questions = [label_set(mini, "gender"), label_set(mini, "mood", ["bored", "excited"], ["someone who sounds {}"])]
    (clip,) = classify_file(mini, demo_archive / "anna-1.wav", questions)
    assert set(clip.probabilities) == {"gender", "mood"}
    assert set(clip.probabilities["gender"]) == {"female", "male"} and set(clip.probabilities["mood"]) == {"bored", "excited"}
    assert all(sum(scores.values()) == pytest.approx(1, abs=1e-3) for scores in clip.probabilities.values())
    clips = classify_file(mini, write_sound(tmp_path / "long.wav", voice(15)), questions)
    assert [(clip.start, clip.end) for clip in clips] == [(0.0, 10.0), (9.0, 15.0)]


def test_invalid_label_sets(mini):
    with pytest.raises(QueryError, match=r"no attribute 'mood'.*gender"):
        label_set(mini, "mood")
    with pytest.raises(QueryError, match="where the label goes"):
        label_set(mini, "gender", templates=["a voice"])
