"""Captions for the clips of a batch, hard negatives, and the truth of each caption for each clip."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.data.caption_templates import choose_claims, write_caption
from voxdex.encoders.training.data.dataset import CLAIMS, Clips
from voxdex.encoders.training.losses import match

NEGATION_ALONE = 0.3
"""Probability that a caption with a negation has no other claim."""
TWO_NEGATIONS = 0.25
"""Probability that a caption with a negation has a second one."""
EXCLUSIVE = [attribute.name for attribute in load_attributes().values() if attribute.exclusive]
PROMPTED = [i for i, claim in enumerate(CLAIMS) if claim.attribute in EXCLUSIVE]
"""Columns of the claims about exclusive attributes, which have prompts."""
ATTRIBUTE_COLUMNS = [[i for i, column in enumerate(PROMPTED) if CLAIMS[column].attribute == name] for name in EXCLUSIVE]
"""For each exclusive attribute, the positions of its labels in PROMPTED."""


@dataclass(frozen=True)
class Captions:
    """Captions, usually one for each clip.

    claims: claims (1) and negated claims (-1) of captions composed from labels, float [captions, claims]. written: whether a
    caption is from the manifest, rather than composed.
    """

    texts: list[str]
    claims: Tensor
    written: list[bool]

    @classmethod
    def from_claims(cls, claims: Tensor, rng: random.Random) -> "Captions":
        """Compose one caption for each row of `claims`."""
        return cls([_write(row, rng) for row in claims], claims, [False] * len(claims))

    def __add__(self, other: "Captions") -> "Captions":
        return Captions(self.texts + other.texts, torch.cat([self.claims, other.claims]), self.written + other.written)


def draw_captions(clips: Clips, rng: random.Random, negations: float = 0.0) -> Captions:
    """Draw one caption for each clip: one of its own, or, where it has none, one composed from its labels.

    negations: fraction of the composed captions that negate a claim that does not hold.
    """
    texts, claims, written = [], torch.zeros(len(clips), len(CLAIMS)), []
    for i in range(len(clips)):
        written.append(bool(clips.captions[i]))
        if written[-1]:
            texts.append(rng.choice(clips.captions[i]))
        else:
            claims[i] = _choose_claims(clips.truth[i], rng, negate=rng.random() < negations)
            texts.append(_write(claims[i], rng))
    return Captions(texts, claims, written)


def hard_negative_captions(clips: Clips, captions: Captions, fraction: float, rng: random.Random) -> Captions:
    """Compose hard negatives for a fraction of the composed captions: the same claims, one of them false of the clip."""
    negatives = []
    for truth, claims, written in zip(clips.truth, captions.claims, captions.written, strict=True):
        if written or rng.random() >= fraction:
            continue
        false = _falsify(claims, truth, rng)
        if false is not None:
            negatives.append(false)
    return Captions.from_claims(torch.stack(negatives) if negatives else torch.zeros(0, len(CLAIMS)), rng)


def caption_matches(clips: Clips, captions: Captions) -> Tensor:
    """Return whether each caption is true of each clip: [clips, captions] of 1 (true), -1 (false), 0 (unknown).

    A composed caption is true where its claims hold, and unknown if it has none. A caption of the manifest is true of its own
    clips, false of clips whose labels differ from theirs, and unknown for all others.
    """
    truth = torch.from_numpy(clips.truth)
    known = match(truth, captions.claims)
    known[:, (captions.claims != 0).sum(dim=1) == 0] = 0
    for column in np.flatnonzero(captions.written):
        told_apart = (truth * truth[column] < 0).any(dim=1) | ~(truth != 0).any(dim=1) | ~(truth[column] != 0).any()
        about = torch.tensor([captions.texts[column] in own for own in clips.captions])
        known[:, column] = torch.where(about, 1.0, torch.where(told_apart, -1.0, 0.0))
    return known


def label_prompts(rng: random.Random) -> list[str]:
    """Compose a short caption for each label in PROMPTED."""
    return [write_caption([CLAIMS[column]], rng) for column in PROMPTED]


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Tokenize texts: input_ids and attention_mask, int64 [texts, longest]."""
    encodings = tokenizer.encode_batch(list(texts))
    return torch.tensor([e.ids for e in encodings]), torch.tensor([e.attention_mask for e in encodings])


def _write(claims: Tensor, rng: random.Random) -> str:
    stated = torch.nonzero(claims).flatten().tolist()
    return write_caption([CLAIMS[column]._replace(holds=bool(claims[column] > 0)) for column in stated], rng)


def _choose_claims(truth: np.ndarray, rng: random.Random, *, negate: bool) -> Tensor:
    """Choose claims that hold (1), and with `negate` also, or only, one or two that do not (-1): [claims]."""
    alone = negate and rng.random() < NEGATION_ALONE
    chosen = [] if alone else choose_claims([CLAIMS[column] for column in np.flatnonzero(truth == 1)], rng)
    claims = torch.zeros(len(CLAIMS))
    claims[[CLAIMS.index(claim) for claim in chosen]] = 1
    names = {claim.attribute for claim in chosen}
    failing = [int(column) for column in np.flatnonzero(truth == -1) if CLAIMS[column].attribute not in names]
    if negate and failing:
        count = 2 if rng.random() < TWO_NEGATIONS else 1
        claims[rng.sample(failing, min(count, len(failing)))] = -1
    return claims


def _falsify(claims: Tensor, truth: np.ndarray, rng: random.Random) -> Tensor | None:
    """Return `claims` with one of them moved to a label of the same attribute that does not hold; None if none is known."""
    options = []
    for column in torch.nonzero(claims).flatten().tolist():
        if claims[column] < 0:
            options += [(column, other) for other in _labels_beside(column) if truth[other] == 1]
        else:
            options += [(column, other) for other in _labels_beside(column) if truth[other] == -1]
    if not options:
        return None
    column = rng.choice(sorted({column for column, _ in options}))
    other = rng.choice([other for former, other in options if former == column])
    false = claims.clone()
    false[other], false[column] = claims[column].item(), 0
    return false


def _labels_beside(column: int) -> list[int]:
    name = CLAIMS[column].attribute
    return [other for other, claim in enumerate(CLAIMS) if claim.attribute == name and other != column]
