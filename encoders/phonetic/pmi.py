"""How much more probable a clip makes phonemes: the score of a model for what is said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.phonetic.ctc import log_likelihoods

LEAST = -15.0
"""Evidence for each phoneme of what a clip is too short to say."""


@dataclass(frozen=True)
class PhoneticEmbedding:
    """What is heard of a clip.

    vector: float32 [dimension]. log_shares: of BLANK and the phonemes in each frame, float32 [frames, vocabulary].
    """

    vector: np.ndarray
    log_shares: np.ndarray


def pmi(spoken: PhoneticEmbedding, sequences: Sequence[Sequence[int]], shares: np.ndarray) -> np.ndarray:
    """log p(phonemes | clip) - log p(phonemes): pointwise mutual information, which a contrastive cosine only estimates.

    Args:
        spoken: the clip.
        sequences: phoneme ids of each sequence, one at least.
        shares: of each phoneme id among all phonemes, [vocabulary]; they make log p(phonemes).

    Returns:
        Nats, float32 [sequences]; about 2 for each phoneme that is clearly said, below 0 for those that are not.
    """
    found = log_likelihoods(spoken.log_shares, sequences)
    usual = np.log(shares)
    expected = np.array([usual[list(sequence)].sum() for sequence in sequences])
    return np.maximum(found - expected, [LEAST * len(sequence) for sequence in sequences]).astype(np.float32)
