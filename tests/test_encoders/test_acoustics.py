"""Acoustic measures of clips."""

import numpy as np
import pytest

from tests.fakes.sounds import RATE, silence, tone, two_pitches, voice
from voxdex.encoders.audio.acoustics import measure
from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio


def test_no_pitch_range_without_a_median_pitch():
    for gap in (0.0, 0.05, 0.1):
        measured = measure(two_pitches(gap))
        assert all(value is None or np.isfinite(value) for value in vars(measured).values())
    assert measured.pitch_hz and measured.pitch_range_semitones is None


@pytest.mark.parametrize("sound", [np.zeros(RATE), np.ones(RATE), np.full(10, 0.5), np.zeros(1), np.tile([1, -1], 8000)])
def test_measures_of_unusual_sounds_are_finite_or_none(sound):
    assert all(value is None or np.isfinite(value) for value in vars(measure(sound.astype(np.float32))).values())


def test_measures_of_a_voice():
    sound = np.concatenate([silence(0.2), voice(4.0, 110, seed=1), silence(0.2)])
    found = measure(sound)
    assert found.pitch_hz == pytest.approx(110, rel=0.06)
    assert 0.3 < found.pitch_range_semitones < 2.0
    assert found.syllables_per_second == pytest.approx(4 * 4.0 / 4.4, abs=0.7)
    assert measure(0.1 * sound).loudness_lufs == pytest.approx(found.loudness_lufs - 20, abs=0.1)


def test_loudness_agrees_with_pyloudnorm():
    pyloudnorm = pytest.importorskip("pyloudnorm", reason="pyloudnorm comes with the train and test extras")
    sound = np.concatenate([voice(3.0), 0.1 * voice(2.0, seed=2), silence(2.0), tone(2.0, 1000.0)])
    expected = pyloudnorm.Meter(SAMPLE_RATE).integrated_loudness(sound.astype(np.float64))
    assert measure(sound).loudness_lufs == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("snr_db", [5.0, 15.0, 25.0])
def test_snr(snr_db):
    speech = np.concatenate([silence(0.4), voice(3.0), silence(0.4)])
    level = np.sqrt(np.square(speech).mean()) * 10 ** (-snr_db / 20)
    noise = level * np.random.default_rng(0).standard_normal(len(speech))
    assert measure((speech + noise).astype(np.float32)).snr_db == pytest.approx(snr_db, abs=2.0)


@pytest.mark.parametrize("sound", [silence(0.01), silence(2.0), 0.1 * np.random.default_rng(0).standard_normal(32_000)])
def test_unvoiced_sound_has_no_pitch(sound):
    found = measure(sound.astype(np.float32))
    assert found.pitch_hz is None and found.pitch_range_semitones is None


def test_measures_agree_with_those_for_annotation(demo_archive):
    careful = pytest.importorskip(
        "voxdex.encoders.training.annotate.acoustics", reason="the measures of annotate come with the train extra"
    )
    for path in sorted(demo_archive.rglob("*.wav")):
        if "whisper" not in path.name:
            sound = read_audio(path)
            quick, slow = measure(sound), careful.measure(sound)
            assert quick.pitch_hz == pytest.approx(slow.pitch_hz, rel=0.1), path.name
            assert quick.loudness_lufs == pytest.approx(slow.loudness_lufs, abs=0.5), path.name
