"""Probabilities that mean what they say: a scale for each attribute's cosines, fitted on held-out clips."""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

SCALES = (1.0, 200.0)
"""Between what factors a scale is looked for."""


def fit_scale(cosines: np.ndarray, truth: np.ndarray) -> float:
    """What the cosines are to be multiplied with for the softmax over the labels to be calibrated (Guo et al. 2017).

    Args:
        cosines: [clips, labels].
        truth: [clips, labels] of 1 (holds), -1 (does not), 0 (could hold); no row without a 1 or a 0.

    Returns:
        The scale of the least negative log-likelihood, in which every label that holds counts as much as any other.
    """
    possible = np.where(truth >= 0, 0.0, -np.inf)
    held = truth.argmax(axis=1)
    weights = 1.0 / np.bincount(held, minlength=truth.shape[1])[held]

    def loss(log_scale: float) -> float:
        logits = np.exp(log_scale) * cosines
        return float(np.average(logsumexp(logits, axis=1) - logsumexp(logits + possible, axis=1), weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(SCALES), method="bounded").x))


def calibration_error(probabilities: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """How far confidence is from accuracy in percent, averaged over bins of confidence (expected calibration error).

    Args:
        probabilities: [clips] of the label that was answered.
        right: [clips], whether it was right.
    """
    place = np.minimum((probabilities * bins).astype(int), bins - 1)
    gaps = [abs(probabilities[place == i].mean() - right[place == i].mean()) * np.mean(place == i) for i in set(place.tolist())]
    return 100 * float(np.sum(gaps))
