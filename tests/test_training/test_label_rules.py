"""Labels from measured values, and their change with the playing speed."""

from dataclasses import fields

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.sounds import voice
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.annotate.acoustics import Measures
from voxdex.encoders.training.annotate.label_rules import load_measured, played
from voxdex.encoders.training.data.dataset import Clips


@pytest.mark.parametrize(
    ("measures", "cells", "speed", "changed"),
    [
        ({"pitch_hz": "210"}, {"pitch": "medium"}, 1.1, {"pitch": "high"}),
        ({"pitch_hz": "120"}, {"pitch": "medium"}, 1 / 1.1, {"pitch": "low"}),
        ({"pitch_hz": "150"}, {"pitch": "medium"}, 1.1, {}),
        ({"pitch_hz": "210"}, {"pitch": "medium"}, 1.0, {}),
        ({"syllables_per_second": "5.4"}, {"speed": "fast"}, 0.92, {"speed": ""}),
        ({"syllables_per_second": "3.4"}, {"speed": ""}, 0.92, {"speed": "slow"}),
        ({"centroid_hz": "690", "snr_db": "30"}, {"brightness": ""}, 1.1, {"brightness": "bright"}),
        ({"rt60_seconds": "0.26"}, {"reverberation": ""}, 1.1, {"reverberation": "dry"}),
        ({"pitch_range_semitones": "4.0", "jitter_percent": "2.0"}, {}, 1.1, {}),
        ({"pitch_hz": "210"}, {"pitch": ""}, 1.1, {}),  # cleared by an edit
        ({"pitch_hz": "210"}, {"pitch": "low"}, 1.1, {}),  # from the manifest, not measured
        ({}, {"pitch": "medium", "speed": "slow"}, 1.1, {}),
    ],
)
def test_labels_change_with_speed(measures, cells, speed, changed):
    assert played(measures | cells, speed) == changed


def test_labels_at_another_speed_equal_those_measured():
    """Compare with measures of the changed sound, over the range of pitches and speeds."""
    from voxdex.encoders.training.annotate.acoustics import measure
    from voxdex.encoders.training.annotate.annotation import make_row

    for f0 in (100, 109, 118, 140, 170):
        sound = voice(3.0, f0, f0)
        row = make_row({}, measure(sound))
        for speed in (1 / 1.1, 1.1):
            clip = Clips(
                ((32767 * sound).astype(np.int16),), *(np.array([n]) for n in (0, len(sound), 0)), np.zeros((1, 1)), [()], [{}]
            )
            faster = clip.crops([0], 5.0, [0.0], [speed])[0][0].numpy()
            measured = make_row({}, measure(faster))
            pitch = float(row["pitch_hz"]) * speed
            assert float(measured["pitch_hz"]) == pytest.approx(pitch, rel=0.03)
            if min(abs(pitch / edge - 1) for edge in load_measured()["pitch"].bins[0].edges) > 0.03:
                assert (row | played(row, speed))["pitch"] == measured["pitch"]


def test_bins_refer_to_measures_and_labels():
    names = {field.name for field in fields(Measures)}
    for name, measured in load_measured().items():
        known = {label.name for label in load_attributes()[name].labels}
        for bins in measured.bins:
            assert bins.measure in names and len(bins.labels) == len(bins.edges) + 1
            assert list(bins.edges) == sorted(bins.edges)
            assert set(filter(None, "|".join(bins.labels).split("|"))) <= known


def test_label_needs_all_its_measures():
    texture, pitch_of = load_measured()["texture"], load_measured()["pitch"]
    hoarse = {"jitter_percent": 6.0, "hnr_db": 4.0, "shimmer_percent": 18.0, "snr_db": 40.0}
    assert texture.label(hoarse) == "rough"
    assert texture.label(hoarse | {"hnr_db": 20.0}) == texture.label(hoarse | {"snr_db": 5.0}) == ""
    assert texture.label(hoarse | {"snr_db": None}) == texture.label({}) == ""
    assert [pitch_of.label({"pitch_hz": hz}) for hz in (90.0, 150.0, 250.0, None)] == ["low", "medium", "high", ""]
