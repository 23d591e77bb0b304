"""CTC over phonemes: likelihoods, alignment and matching."""

import itertools

import numpy as np
import pytest

from voxdex.encoders.phonetic.ctc import (
    PMI_FLOOR,
    PhoneticEmbedding,
    align,
    locate,
    log_likelihoods,
    match,
    pack_posteriorgram,
    pmi,
    unpack_posteriorgram,
)


def test_likelihoods_sum_over_all_alignments():
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(4), size=5)

    def spelled(path):
        return [symbol for symbol, before in zip(path, (None, *path), strict=False) if symbol and symbol != before]

    sequences = [[1], [1, 2], [2, 2], [3, 1, 2], [1, 1, 1, 1]]
    paths = list(itertools.product(range(4), repeat=5))
    expected = [sum(np.prod(shares[range(5), path]) for path in paths if spelled(path) == said) for said in sequences]
    with np.errstate(divide="ignore"):
        assert np.allclose(log_likelihoods(np.log(shares), sequences), np.log(expected), atol=1e-4)
    usual = np.array([0.1, 0.2, 0.3, 0.4])
    found = pmi(PhoneticEmbedding(np.zeros(2), np.log(shares)), sequences, usual)
    assert found[1] == pytest.approx(np.log(expected[1]) - np.log(0.2 * 0.3), abs=1e-4) and found[4] == 4 * PMI_FLOOR


def test_match_and_locate_phonemes():
    rng = np.random.default_rng(0)
    said = [3, 4, 4, 5, 6]
    log_probs = np.log(np.full((40, 10), 0.01) + 0.005 * rng.random((40, 10)))
    log_probs[:, 0] = np.log(0.9)
    for place, phoneme in enumerate(said):
        log_probs[12 + 3 * place, [0, phoneme]] = np.log([0.05, 0.9])
    packed = pack_posteriorgram(log_probs)
    assert np.abs(unpack_posteriorgram(packed, 10) - log_probs)[:, :1].max() <= 0.06
    other = pack_posteriorgram(np.log(np.tile([0.9] + [0.01] * 9, (25, 1))))
    matches = match([other, packed], said, 10)
    assert matches[1] > 0.95 > matches[0] and locate(packed, said, 10) == (12, 25)
    assert locate(packed, [4, 4, 5], 10) == (15, 22)
    assert match([packed], [6, 5, 4, 4, 3], 10)[0] < 0.5
    assert match([], said, 10).shape == (0,)


def test_frames_are_aligned_with_phonemes():
    shares = np.full((2, 12, 5), 0.01)
    for frame, symbol in enumerate([0, 1, 1, 0, 2, 2, 0, 0, 3, 0, 0, 0]):
        shares[:, frame, symbol] = 0.9
    found = align(np.log(shares), [12, 2], [[1, 2, 3], [1, 2, 3]])
    assert found[0].tolist() in ([1, 4, 8], [2, 5, 8]) and len(found[1]) == 0
