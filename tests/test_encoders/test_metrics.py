"""Metrics, against values worked out by hand."""

import numpy as np
import pytest

from voxdex.encoders.metrics import area_under_curve, average_precision, bootstrap, classification, mean_interval, retrieval


def test_classification():
    result = classification(list("aaaabb"), list("aaabba"), ("a", "b", "c"))
    assert result.confusion.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert result.accuracy == pytest.approx(100 * 4 / 6)
    assert result.uar == pytest.approx(100 * (0.75 + 0.5) / 2)
    assert result.macro_f1 == pytest.approx(100 * (0.75 + 0.5) / 2)


def test_retrieval():
    scores = np.array([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.2, 0.2, 0.2]])
    right = np.array([[True, False, False], [False, False, True], [False, True, False]])
    result = retrieval(scores, right)
    assert result.ranks.tolist() == [1, 3, 3]
    assert result.recall_at(1) == pytest.approx(100 / 3)
    assert (result.median_rank, result.mean_rank) == (3, pytest.approx(7 / 3))


def test_retrieval_with_several_right_answers():
    assert retrieval(np.array([[0.1, 0.9, 0.5]]), np.array([[True, False, True]])).ranks.tolist() == [2]


def test_average_precision():
    scores = np.array([[4.0, 3.0, 2.0, 1.0]])
    assert average_precision(scores, np.array([[True, False, True, False]]), 10) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(scores, np.array([[True, False, True, True]]), 2) == pytest.approx(0.5)
    assert retrieval(scores, np.array([[False, True, False, False]])).metrics()["mAP@10"] == pytest.approx(50)


def test_bootstrap_interval():
    hits = np.arange(400) < 300
    low, high = bootstrap(lambda rows: {"share": 100 * hits[rows].mean()}, 400)["share"]
    spread = 196 * np.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == (pytest.approx(75 - spread, abs=0.8), pytest.approx(75 + spread, abs=0.8))


def test_area_under_curve():
    scores, right = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    assert area_under_curve(scores, right) == pytest.approx(100 * 3.5 / 4)
    assert area_under_curve(-scores, right) == pytest.approx(100 * 0.5 / 4)


def test_mean_interval_agrees_with_the_bootstrap():
    rng = np.random.default_rng(1)
    truth = rng.choice(["a", "b", "c"], 200, p=[0.7, 0.2, 0.1])
    predicted = np.where(rng.random(200) < 0.6, truth, "a")
    slow = bootstrap(lambda rows: classification(truth[rows], predicted[rows], ("a", "b", "c")).metrics(), 200)["UAR"]
    fast = mean_interval(predicted == truth, truth)
    assert np.allclose(100 * np.array(fast), slow, atol=1.0)
    speakers = [f"s{i // 20}" for i in range(200)]
    clustered = bootstrap(
        lambda rows: classification(truth[rows], predicted[rows], ("a", "b", "c")).metrics(), 200, clusters=speakers
    )["UAR"]
    assert np.allclose(clustered, 100 * np.array(mean_interval(predicted == truth, truth, clusters=speakers)), atol=2.5)
    low, high = mean_interval(predicted == truth)
    assert low < np.mean(predicted == truth) < high and high - low < fast[1] - fast[0]
