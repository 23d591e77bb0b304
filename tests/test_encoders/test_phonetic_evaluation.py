"""Evaluation of a phonetic model: corrupted phonemes, disturbed sound and the metrics of SCRAPS."""

import random

import numpy as np
import pytest

from voxdex.encoders.phonetic.ctc import PhoneticEmbedding
from voxdex.encoders.phonetic.evaluation import (
    PhoneticScorer,
    add_babble,
    add_noise,
    add_room,
    corrupt,
    evaluate_scraps,
    fit_intelligibility,
    replace_phonemes,
)


def test_share_of_replaced_phonemes():
    phonemes, inventory = list("abcdefghij" * 4), list("abcdefghijklm")
    for share in (0.05, 0.2, 1.0):
        changed = replace_phonemes(phonemes, share, inventory, random.Random(1))
        assert sum(one != other for one, other in zip(phonemes, changed, strict=True)) == round(40 * share)
    assert replace_phonemes(["a"], 0.01, inventory, random.Random(1)) != ["a"]


def test_corrupt_changes_phonemes():
    rng, phonemes = random.Random(2), list(range(30))
    assert all(corrupt(phonemes, 0.1, [*range(40)], rng) != phonemes for _ in range(20))
    assert all(corrupt([1], 0.4, [1, 2], rng) for _ in range(20))


def test_power_of_disturbances():
    rng = np.random.default_rng(0)
    clip = np.sin(np.arange(16_000) / 5).astype(np.float32)
    noise = add_noise(clip, 0.75, rng) - 0.25 * clip
    assert np.mean(noise**2) == pytest.approx(0.75**2 * np.mean(clip**2), rel=1e-3)
    babble = add_babble(clip, [clip, np.roll(clip, 50)[:9000]], 0.5, rng) - 0.5 * clip
    assert np.mean(babble**2) == pytest.approx(0.25 * np.mean(clip**2), rel=1e-3)
    hiss = rng.standard_normal(16_000).astype(np.float32)
    room = add_room(hiss, 0.0, rng) - hiss
    assert np.mean(room**2) == pytest.approx(np.mean(hiss**2), rel=0.1) and len(room) == len(hiss)


def perfect_vectors(sequences):
    """Unit vectors in which each phoneme at each position has equal weight."""
    table = np.random.default_rng(5).standard_normal((200, 40, 64))
    vectors = np.stack([sum(table[ord(phoneme) - 97, place] for place, phoneme in enumerate(each)) for each in sequences])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_metrics_of_perfect_and_useless_models():
    rng = np.random.default_rng(3)
    spoken = [["abcdefghijklmnopqrstuvwxyz"[i] for i in rng.integers(0, 26, 20)] for _ in range(30)]
    clips = [rng.standard_normal(800).astype(np.float32) for _ in spoken]

    def listener(heard):
        return PhoneticScorer(
            listen=lambda sounds: [PhoneticEmbedding(vector, np.zeros((1, 1))) for vector in perfect_vectors(heard)],
            pmi=lambda spoken, sequences: 20 * perfect_vectors(sequences) @ spoken.vector,
            embed=perfect_vectors,
        )

    hearing, deaf = listener(spoken), listener([spoken[0]] * len(spoken))
    assert {metric.value for metric in evaluate_scraps(hearing, clips, hearing.listen(clips), spoken)} == {100.0}
    metrics = {metric.name: metric for metric in evaluate_scraps(deaf, clips, deaf.listen(clips), spoken)}
    for by in ("", ", by vectors"):
        assert metrics[f"falls with 20% of phonemes replaced{by}"].value < 75
        assert metrics[f"speech to phonemes R@1 of 30 under 75% white noise{by}"].value == pytest.approx(100 / 30, abs=0.1)
    curve = np.array(fit_intelligibility(hearing, hearing.listen(clips), spoken))
    assert (np.diff(curve, axis=0) > 0).all() and curve[-1].tolist() == [1.0, 1.0]
