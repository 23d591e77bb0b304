"""Contrastive and classification losses that know which captions fit which clips."""

from collections.abc import Sequence

import torch
from torch import Tensor


def match(truth: Tensor, claims: Tensor) -> Tensor:
    """Which captions fit which clips.

    Args:
        truth: [clips, all claims] of 1 (holds), -1 (does not hold), 0 (unknown).
        claims: [captions, all claims], 1 where the caption makes the claim.

    Returns:
        [clips, captions]: 1 where every claim holds, -1 where one does not, else 0.
    """
    holding = (truth == 1).float() @ claims.T
    failing = (truth == -1).float() @ claims.T
    fits = (holding == claims.sum(dim=1)).float()
    return torch.where(failing > 0, -1.0, fits)


def multi_positive(logits: Tensor, matches: Tensor) -> Tensor:
    """Cross-entropy of each row's softmax against its matches, all equally right; unknown pairs are left out.

    Args:
        logits: [rows, columns], cosine times logit scale.
        matches: [rows, columns] of 1, -1 or 0 (unknown).

    Returns:
        The mean over rows that have a match; zero where none has.
    """
    log_shares = logits.masked_fill(matches == 0, -1e4).log_softmax(dim=1)
    positive = (matches == 1).float()
    count = positive.sum(dim=1)
    rows = -(positive * log_shares).sum(dim=1) / count.clamp(min=1)
    return rows[count > 0].mean() if (count > 0).any() else logits.sum() * 0


def contrastive(logits: Tensor, matches: Tensor) -> Tensor:
    """Symmetric InfoNCE over clips [rows] and captions [columns] in which several captions may fit a clip."""
    return (multi_positive(logits, matches) + multi_positive(logits.T, matches.T)) / 2


def attribute_classification(logits: Tensor, truth: Tensor, attributes: Sequence[list[int]]) -> Tensor:
    """Zero-shot classification as a loss: softmax over the prompts of each exclusive attribute.

    Args:
        logits: [clips, claims], cosine to a prompt for each claim times logit scale.
        truth: [clips, claims] of 1, -1 or 0.
        attributes: the columns of each exclusive attribute's labels.

    Returns:
        The mean over attributes of the mean over the clips whose label is known; where several could hold, their
        summed probability counts.
    """
    losses = []
    for columns in attributes:
        part = truth[:, columns]
        possible = part >= 0
        known = (part == -1).any(dim=1)
        if known.any():
            log_shares = logits[:, columns].log_softmax(dim=1)[known]
            losses.append(-log_shares.masked_fill(~possible[known], -1e4).logsumexp(dim=1).mean())
    return torch.stack(losses).mean() if losses else logits.sum() * 0
