"""A caption for each clip of a batch, and which captions of the batch fit which clips."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.training.caption_templates import choose_claims, write_caption
from voxdex.encoders.training.data import CLAIMS, Clips
from voxdex.encoders.training.losses import match

ALONE = 0.3
"""How many denials say nothing else."""
EXCLUSIVE = [attribute.name for attribute in load_attributes().values() if attribute.exclusive]
PROMPTED = [i for i, claim in enumerate(CLAIMS) if claim.attribute in EXCLUSIVE]
"""Columns of the claims that can be prompted for: those of exclusive attributes."""
ATTRIBUTE_COLUMNS = [[i for i, column in enumerate(PROMPTED) if CLAIMS[column].attribute == name] for name in EXCLUSIVE]
"""Where the labels of each exclusive attribute lie among PROMPTED."""


@dataclass(frozen=True)
class Captions:
    """Captions: one for each clip, unless it is said otherwise.

    claims: float [captions, claims], what those made from labels say (1) and deny (-1). written: which of them somebody
    wrote.
    """

    texts: list[str]
    claims: Tensor
    written: list[bool]

    @classmethod
    def from_claims(cls, claims: Tensor, rng: random.Random) -> "Captions":
        """One caption for each row of `claims`."""
        return cls([_write(row, rng) for row in claims], claims, [False] * len(claims))

    def __add__(self, other: "Captions") -> "Captions":
        return Captions(self.texts + other.texts, torch.cat([self.claims, other.claims]), self.written + other.written)


def draw_captions(clips: Clips, rng: random.Random, denials: float = 0.0) -> Captions:
    """One caption for each clip: one of its own, or where it has none, one made from its labels.

    denials: the share of the latter that also say what does not hold.
    """
    texts, claims, written = [], torch.zeros(len(clips), len(CLAIMS)), []
    for i in range(len(clips)):
        written.append(bool(clips.captions[i]))
        if written[-1]:
            texts.append(rng.choice(clips.captions[i]))
        else:
            claims[i] = _choose_claims(clips.truth[i], rng, rng.random() < denials)
            texts.append(_write(claims[i], rng))
    return Captions(texts, claims, written)


def twist(clips: Clips, captions: Captions, share: float, rng: random.Random) -> Captions:
    """Of a share of the captions made from labels, another one with one claim that is false of the clip, all else kept."""
    twisted = []
    for truth, claims, written in zip(clips.truth, captions.claims, captions.written, strict=True):
        if written or rng.random() >= share:
            continue
        false = _falsify(claims, truth, rng)
        if false is not None:
            twisted.append(false)
    return Captions.from_claims(torch.stack(twisted) if twisted else torch.zeros(0, len(CLAIMS)), rng)


def fitting(clips: Clips, captions: Captions) -> Tensor:
    """Which captions fit which clips: [clips, captions] of 1 (fits), -1 (does not), 0 (unknown).

    A caption made from labels fits where its claims hold; where nothing was known to claim, nothing is known of it. One that
    was written fits the clips it was written about and no other, but that nothing is known where the labels of both clips
    do not tell them apart.
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
    """A short caption for every label of an exclusive attribute, in the order of PROMPTED."""
    return [write_caption([CLAIMS[column]], rng) for column in PROMPTED]


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """input_ids and attention_mask, int64 [texts, longest]."""
    encodings = tokenizer.encode_batch(list(texts))
    return torch.tensor([e.ids for e in encodings]), torch.tensor([e.attention_mask for e in encodings])


def _write(claims: Tensor, rng: random.Random) -> str:
    said = torch.nonzero(claims).flatten().tolist()
    return write_caption([CLAIMS[column]._replace(holds=bool(claims[column] > 0)) for column in said], rng)


def _choose_claims(truth: np.ndarray, rng: random.Random, deny: bool) -> Tensor:
    """Some claims that hold (1), and if asked for a denial of one that does not (-1), or that alone: [claims]."""
    alone = deny and rng.random() < ALONE
    chosen = [] if alone else choose_claims([CLAIMS[column] for column in np.flatnonzero(truth == 1)], rng)
    claims = torch.zeros(len(CLAIMS))
    claims[[CLAIMS.index(claim) for claim in chosen]] = 1
    names = {claim.attribute for claim in chosen}
    failing = [int(column) for column in np.flatnonzero(truth == -1) if CLAIMS[column].attribute not in names]
    if deny and failing:
        claims[rng.choice(failing)] = -1
    return claims


def _falsify(claims: Tensor, truth: np.ndarray, rng: random.Random) -> Tensor | None:
    """`claims` with one of them exchanged for a label of the same attribute that does not hold; None where none is known."""
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
