"""Calibration of scores."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from voxdex.encoders.training.validation import calibration_error, fit_scale


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
