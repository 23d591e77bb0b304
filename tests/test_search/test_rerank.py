"""Rewards of takes."""

import numpy as np
import pytest

from voxdex.search.query import QueryError
from voxdex.search.rerank import Reward, TakeSet, rank


def test_rewards_of_samples_equal_those_of_files(mini, takes):
    from voxdex.encoders.audio.reader import read_audio

    reward, caption = Reward(mini), "a man with a deep voice"
    sounds = [read_audio(take) for take in takes]
    singly = [reward(take, caption) for take in takes]
    assert reward.many(sounds, [caption] * 3) == pytest.approx(singly, abs=1e-4)
    ranked = rank(TakeSet("x", caption, tuple(takes)), reward)
    assert [score for _, score in ranked.takes] == pytest.approx(sorted(singly, reverse=True), abs=1e-5)
    with pytest.raises(QueryError, match="nothing to rank takes by"):
        reward(sounds[0])
    with pytest.raises(Exception, match="it has 0 samples"):
        reward(np.zeros(0, np.float32), caption)
