"""Sampling of clips into batches."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.clips import labelled
from voxdex.encoders.training.data.sampling import balanced_order, epoch_batches, sampling_weights
from voxdex.encoders.training.recipe import Sampling


def test_weights_are_even_over_data_sets_and_speakers():
    speakers = [("a", "x")] * 90 + [("a", "y")] * 10 + [("b", "z")] * 100
    rows = [{"dataset": dataset, "speaker": speaker} for dataset, speaker in speakers]
    weights = sampling_weights(rows, {"b": 3.0})
    assert weights[:90].sum() == pytest.approx(0.125)
    assert weights[90:100].sum() == pytest.approx(0.125)
    assert weights[100:].sum() == pytest.approx(0.75)


def test_balanced_order_evens_tags_and_spreads_rare_clips():
    tags = [{"deep"}] * 900 + [{"deep", "soft"}] * 95 + [{"lisp"}] * 3 + [set()] * 2
    drawn = np.array(balanced_order(tags, 50, Sampling("balanced"), np.random.default_rng(0)))
    share = {name: np.mean([name in tags[i] for i in drawn]) for name in ("deep", "soft", "lisp")}
    assert share["lisp"] > 0.2 and share["soft"] > 0.2
    scarce = [{"deep"}] * 9999 + [{"lisp"}]
    for rare in (0, 2):
        order = balanced_order(scarce, 20, Sampling("balanced", rare_clips=rare), np.random.default_rng(0))
        counts = [sum(i == 9999 for i in order[start : start + 20]) for start in range(0, 200, 20)]
        assert min(counts) >= rare


def test_manifests_are_interleaved_until_the_longest_is_exhausted():
    clips = labelled([{}] * 13, source=[0] * 10 + [1] * 3)
    batches = epoch_batches(clips, [set()] * 13, Sampling(), 4, (1, 0))
    order = [i for batch in batches for i in batch]
    assert len(batches) == 5 and set(order) == set(range(13)) and sorted(order)[:10] == list(range(10))
    assert all(sum(i < 10 for i in batch) == 2 for batch in batches)
    assert (
        batches
        == epoch_batches(clips, [set()] * 13, Sampling(), 4, (1, 0))
        != epoch_batches(clips, [set()] * 13, Sampling(), 4, (1, 1))
    )
