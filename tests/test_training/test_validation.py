"""Calibration of scores, and labels that are heard."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.data.dataset import Clips, truth_of
from voxdex.encoders.training.validation import calibration_error, fit_scale, heard_labels


def test_a_fitted_scale_calibrates():
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-0.3, 0.3, (4000, 3))
    shares = np.exp(12 * cosines) / np.exp(12 * cosines).sum(axis=1, keepdims=True)
    held = np.array([rng.choice(3, p=row) for row in shares])
    truth = np.where(np.arange(3) == held[:, None], 1, -1)
    assert fit_scale(cosines, truth) == pytest.approx(12, rel=0.1)
    vague = np.where(truth == -1, -1, 0)
    vague[np.arange(4000), (held + 1) % 3] = 0
    assert fit_scale(cosines, vague) == pytest.approx(12, rel=0.3)
    right = shares.argmax(axis=1) == held
    assert calibration_error(shares.max(axis=1), right) < 3 < 10 < calibration_error(np.full(4000, 0.99), right)


def test_labels_that_are_heard():
    rng = np.random.default_rng(0)
    columns = [f"s{i % 12}" for i in range(240)]
    rows = [
        {"path": str(i), "speaker": speaker, "dataset": "one", "gender": ("male", "female")[int(speaker[1:]) % 2],
         "emotion": ("sad", "happy", "angry")[i % 3]}
        for i, speaker in enumerate(columns)
    ]  # fmt: skip
    clips = Clips((), *np.zeros((3, 240), int), np.stack([truth_of(row) for row in rows]), [()] * 240, rows)
    attributes = load_attributes()
    cosines = {attribute: rng.normal(0, 0.05, (240, len(attribute.labels))) for attribute in attributes.values()}
    labels = [label.name for label in attributes["gender"].labels]
    cosines[attributes["gender"]][np.arange(240), [labels.index(row["gender"]) for row in rows]] += 0.2
    emotions = [label.name for label in attributes["emotion"].labels]
    cosines[attributes["emotion"]][:, emotions.index("sad")] += [0.3 if row["emotion"] == "sad" else 0 for row in rows]
    heard = heard_labels(clips, cosines)
    assert sorted(heard["gender"]) == ["female", "male"] and "sad" in heard["emotion"]
    assert set(heard) == {"gender", "emotion"}, "no clip has a label of other attributes"
    cosines[attributes["emotion"]][:, emotions.index("sad")] -= [0.3 if row["emotion"] == "sad" else 0 for row in rows]
    assert set(heard_labels(clips, cosines)) == {"gender"}, "cosines with emotions are random"
    apart = [row | {"dataset": row["gender"]} for row in rows]
    clips = Clips((), *np.zeros((3, 240), int), clips.truth, clips.captions, apart)
    assert "gender" not in heard_labels(clips, cosines), "data sets may be told apart rather than voices"
