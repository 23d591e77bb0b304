"""Acoustic measures of clips."""

import numpy as np
import pytest

from tests.fakes.sounds import RATE, two_pitches
from voxdex.encoders.audio.acoustics import measure


def test_no_pitch_range_without_a_median_pitch():
    for gap in (0.0, 0.05, 0.1):
        measured = measure(two_pitches(gap))
        assert all(value is None or np.isfinite(value) for value in vars(measured).values())
    assert measured.pitch_hz and measured.pitch_range_semitones is None


@pytest.mark.parametrize("sound", [np.zeros(RATE), np.ones(RATE), np.full(10, 0.5), np.zeros(1), np.tile([1, -1], 8000)])
def test_measures_of_unusual_sounds_are_finite_or_none(sound):
    assert all(value is None or np.isfinite(value) for value in vars(measure(sound.astype(np.float32))).values())
