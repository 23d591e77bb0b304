"""Losses over a batch of clips [rows] and captions [columns]: contrastive, classification, and self-distillation."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss


def match(truth: Tensor, claims: Tensor) -> Tensor:
    """Return whether captions are true of clips.

    Args:
        truth: [clips, all claims] of 1 (holds), -1 (does not hold), 0 (unknown).
        claims: [captions, all claims], 1 where the caption makes the claim, -1 where it negates it.

    Returns:
        [clips, captions]: 1 where all of its claims hold, -1 where one does not, else 0.
    """
    holds, fails = (truth == 1).float(), (truth == -1).float()
    claimed, negated = (claims == 1).float(), (claims == -1).float()
    holding = holds @ claimed.T + fails @ negated.T
    failing = fails @ claimed.T + holds @ negated.T
    fits = (holding == claims.abs().sum(dim=1)).float()
    return torch.where(failing > 0, -1.0, fits)


def multi_positive(logits: Tensor, matches: Tensor) -> Tensor:
    """Cross-entropy of each row's softmax against a uniform distribution over its matches; unknown pairs are left out.

    Args:
        logits: [rows, columns], cosine times logit scale.
        matches: [rows, columns] of 1, -1 or 0 (unknown).

    Returns:
        The mean over rows that have a match; zero where none has.
    """
    log_probs = logits.masked_fill(matches == 0, -1e4).log_softmax(dim=1)
    positive = (matches == 1).float()
    count = positive.sum(dim=1)
    rows = -(positive * log_probs).sum(dim=1) / count.clamp(min=1)
    return rows[count > 0].mean() if (count > 0).any() else logits.sum() * 0


def contrastive(logits: Tensor, matches: Tensor) -> Tensor:
    """Symmetric InfoNCE with several positives for a clip; with an identity matrix as matches, the loss of CLIP."""
    return (multi_positive(logits, matches) + multi_positive(logits.T, matches.T)) / 2


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Symmetric cross-entropy of the softmax of `logits` against that of `targets`, over rows and over columns, averaged."""

    def over_columns(left: Tensor, right: Tensor) -> Tensor:
        return -(right.softmax(dim=1) * left.log_softmax(dim=1)).sum(dim=1).mean()

    return (over_columns(logits, targets) + over_columns(logits.T, targets.T)) / 2


def self_distillation(student: Tensor, teacher: Tensor, form: str, temperature: float) -> Tensor:
    """Distance of a student's similarities to a frozen teacher's (RA-CLAP, arXiv 2505.19437, second stage).

    The formula of the paper is not public. "cross-entropy" is that of Primus et al. (arXiv 2408.11641), with both similarities
    divided by the temperature; "squared" is the mean squared difference of the cosines.

    Args:
        student, teacher: cosines [clips, captions].
        form: "cross-entropy" or "squared".
        temperature: for the cross-entropy.
    """
    if form == "squared":
        return mse_loss(student, teacher)
    return soft_cross_entropy(student / temperature, teacher / temperature)


def tag_classification(logits: Tensor, tags: Tensor) -> Tensor:
    """Multi-label classification over prompts for tags (ParaSpeechCLAP-Intrinsic, arXiv 2603.28737).

    Args:
        logits: [clips, tags], the cosine to each tag's prompt (in the paper without a scale).
        tags: [clips, tags], 1 where the clip has the tag.

    Returns:
        The binary cross-entropy, averaged over the clips that have a tag and all tags; zero where none has.
    """
    tagged = tags.sum(dim=1) > 0
    return binary_cross_entropy_with_logits(logits[tagged], tags[tagged]) if tagged.any() else logits.sum() * 0


def attribute_classification(
    logits: Tensor,
    truth: Tensor,
    attributes: Sequence[list[int]],
    weights: Sequence[float] | None = None,
    ambiguous: float = 1.0,
) -> Tensor:
    """Zero-shot classification as a loss: softmax over the prompts of each exclusive attribute.

    Args:
        logits: [clips, claims], cosine to a prompt for each claim times logit scale.
        truth: [clips, claims] of 1, -1 or 0.
        attributes: the columns of each exclusive attribute's labels.
        weights: weight of each attribute; None for equal weights.
        ambiguous: weight of a clip with several possible labels, relative to a clip with one.

    Returns:
        The weighted mean over attributes of the mean over labelled clips, where the weight of a label is the square root of
        its number of clips; for several possible labels, their summed probability is used.
    """
    losses, counts = [], []
    for columns, weight in zip(attributes, weights or [1.0] * len(attributes), strict=True):
        part = truth[:, columns]
        possible = part >= 0
        known = (part == -1).any(dim=1)
        if known.any():
            log_probs = logits[:, columns].log_softmax(dim=1)[known]
            missed = -log_probs.masked_fill(~possible[known], -1e4).logsumexp(dim=1)
            held = part[known].argmax(dim=1)
            clip_weights = held.bincount()[held].rsqrt()
            clip_weights = torch.where(possible[known].sum(dim=1) > 1, ambiguous * clip_weights, clip_weights)
            losses.append(weight * (clip_weights * missed).sum() / clip_weights.sum().clamp(min=1e-6))
            counts.append(weight)
    return torch.stack(losses).sum() / sum(counts) if losses else logits.sum() * 0
