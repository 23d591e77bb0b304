"""Classification of recordings by attributes and own labels."""

import pytest

from tests.fakes.sounds import tone, voice, write_sound
from voxdex.encoders.audio.container import AudioError
from voxdex.search.classify import classify_file, label_set
from voxdex.search.query import QueryError


def test_classify_file(mini, demo_archive, tmp_path):
    questions = [label_set(mini, "gender"), label_set(mini, "mood", ["bored", "excited"], ["someone who sounds {}"])]
    (clip,) = classify_file(mini, demo_archive / "anna-1.wav", questions)
    assert set(clip.probabilities) == {"gender", "mood"}
    assert set(clip.probabilities["gender"]) == {"female", "male"} and set(clip.probabilities["mood"]) == {"bored", "excited"}
    assert all(sum(scores.values()) == pytest.approx(1, abs=1e-3) for scores in clip.probabilities.values())
    long = write_sound(tmp_path / "long.wav", voice(15))
    clips = classify_file(mini, long, questions)
    assert clips[0].start < 0.2 and 14.5 < clips[-1].end <= 15 and all(clip.end - clip.start <= 10 for clip in clips)
    assert [(clip.start, clip.end) for clip in classify_file(mini, long, questions, vad=False)] == [(0.0, 10.0), (9.0, 15.0)]


def test_recordings_without_speech_are_refused(mini, tmp_path):
    hum = write_sound(tmp_path / "hum.wav", tone(3.0))
    with pytest.raises(AudioError, match="nobody speaks in it"):
        classify_file(mini, hum, [label_set(mini, "gender")])
    assert len(classify_file(mini, hum, [label_set(mini, "gender")], vad=False)) == 1


def test_invalid_label_sets(mini):
    with pytest.raises(QueryError, match=r"no attribute 'mood'.*gender"):
        label_set(mini, "mood")
    with pytest.raises(QueryError, match="where the label goes"):
        label_set(mini, "gender", templates=["a voice"])
