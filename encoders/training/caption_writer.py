"""A caption for each clip of a batch, and which captions of the batch fit which clips."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from encoders.attributes import load_attributes
from encoders.training.captions import write_caption
from encoders.training.data import CLAIMS, Clips
from encoders.training.losses import match

UNREMARKABLE = {("phonation", "modal"), ("pitch", "medium"), ("intensity", "normal")}
"""What people seldom mention."""
EXCLUSIVE = [attribute.name for attribute in load_attributes().values() if attribute.exclusive]
PROMPTED = [i for i, (name, _) in enumerate(CLAIMS) if name in EXCLUSIVE]
"""Columns of the claims that can be prompted for: those of exclusive attributes."""
ATTRIBUTE_COLUMNS = [[i for i, column in enumerate(PROMPTED) if CLAIMS[column][0] == name] for name in EXCLUSIVE]
"""Where the labels of each exclusive attribute lie among PROMPTED."""


@dataclass(frozen=True)
class Captions:
    """A caption for each clip.

    claims: float [clips, claims], what those made from labels say. written: which of them somebody wrote.
    """

    texts: list[str]
    claims: Tensor
    written: list[bool]


def draw_captions(clips: Clips, rows: Sequence[int], rng: random.Random) -> Captions:
    """One caption for each of `rows`: one of its own, or where it has none, one made from its labels."""
    texts, claims, written = [], torch.zeros(len(rows), len(CLAIMS)), []
    for place, row in enumerate(rows):
        written.append(bool(clips.captions[row]))
        if written[-1]:
            texts.append(rng.choice(clips.captions[row]))
        else:
            columns = _choose_claims(clips.truth[row], rng)
            texts.append(write_caption([CLAIMS[column] for column in columns], rng))
            claims[place, columns] = 1
    return Captions(texts, claims, written)


def fitting(clips: Clips, rows: Sequence[int], captions: Captions) -> Tensor:
    """Which captions fit which clips: [rows, captions] of 1 (fits), -1 (does not), 0 (unknown).

    A caption made from labels fits where its claims hold; where nothing was known to claim, nothing is known of it. One that
    was written fits the clips it was written about and no other, but that nothing is known where the labels of both clips
    do not tell them apart.
    """
    truth = torch.from_numpy(clips.truth[list(rows)])
    known = match(truth, captions.claims)
    known[:, captions.claims.sum(dim=1) == 0] = 0
    for column in np.flatnonzero(captions.written):
        told_apart = (truth * truth[column] < 0).any(dim=1) | ~(truth != 0).any(dim=1) | ~(truth[column] != 0).any()
        about = torch.tensor([captions.texts[column] in clips.captions[row] for row in rows])
        known[:, column] = torch.where(about, 1.0, torch.where(told_apart, -1.0, 0.0))
    return known


def label_prompts(rng: random.Random) -> list[str]:
    """A short caption for every label of an exclusive attribute, in the order of PROMPTED."""
    return [write_caption([CLAIMS[column]], rng) for column in PROMPTED]


def tokens(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """input_ids and attention_mask, int64 [texts, longest]."""
    encodings = tokenizer.encode_batch(list(texts))
    return torch.tensor([e.ids for e in encodings]), torch.tensor([e.attention_mask for e in encodings])


def _choose_claims(truth: np.ndarray, rng: random.Random) -> list[int]:
    """Columns of one to four claims that hold, of different attributes."""
    holding = [int(column) for column in np.flatnonzero(truth == 1)]
    telling = [column for column in holding if CLAIMS[column] not in UNREMARKABLE or rng.random() < 0.15]
    by_attribute: dict[str, list[int]] = {}
    for column in telling or holding:
        by_attribute.setdefault(CLAIMS[column][0], []).append(column)
    names = rng.sample(list(by_attribute), min(len(by_attribute), rng.choice((1, 1, 2, 2, 3, 4))))
    return [rng.choice(by_attribute[name]) for name in names]
