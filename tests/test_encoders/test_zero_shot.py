"""Zero-shot classification: softmax over labels, and calibration of scores on an archive."""

import numpy as np
import pytest

from voxdex.encoders.zero_shot import archive_offsets, probabilities

LABELS = np.eye(4, 16, dtype=np.float32)


def archive(fractions: list[float], count: int = 400, shift: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of clips with labels in these fractions, all shifted towards the second label; and their labels."""
    rng = np.random.default_rng(1)
    truth = rng.choice(4, count, p=fractions)
    vectors = 0.3 * LABELS[truth] + shift * LABELS[1] + rng.normal(0, 0.08, (count, 16))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), truth


def recall(truth: np.ndarray, vectors: np.ndarray, offsets: np.ndarray | float = 0.0) -> float:
    """Return the unweighted average recall in percent."""
    predicted = probabilities(vectors, LABELS, 10.0, offsets).argmax(axis=1)
    return 100 * float(np.mean([np.mean(predicted[truth == label] == label) for label in np.unique(truth)]))


def test_offsets_undo_the_shift_of_an_archive():
    vectors, truth = archive([0.25] * 4)
    assert recall(truth, vectors, archive_offsets(vectors, LABELS)) > recall(truth, vectors) + 5


@pytest.mark.parametrize("fraction", [0.8, 0.95])
def test_offsets_of_a_lopsided_archive_harm_no_other(fraction):
    others = (1 - fraction) / 3
    vectors, truth = archive([0.25] * 4)
    lopsided, _ = archive([fraction, others, others, others])
    assert recall(truth, vectors, archive_offsets(lopsided, LABELS)) >= recall(truth, vectors) - 1


def test_archives_of_one_label_and_of_few_clips_have_no_offsets():
    alike, _ = archive([0, 1, 0, 0])
    assert not archive_offsets(alike, LABELS).any()
    assert not archive_offsets(archive([0.25] * 4, count=19)[0], LABELS).any()
    assert archive_offsets(alike, LABELS).shape == (4,)


def test_probabilities_add_up_to_one():
    vectors, _ = archive([0.25] * 4, count=5)
    probs = probabilities(vectors, LABELS, 10.0, archive_offsets(vectors, LABELS))
    assert probs.shape == (5, 4) and np.allclose(probs.sum(axis=1), 1)
