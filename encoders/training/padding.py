"""Sequences of several lengths as one batch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def pad(ids: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids of several texts -> input_ids and attention_mask, int64 [texts, longest]."""
    input_ids = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in ids], batch_first=True)
    lengths = torch.tensor([len(row) for row in ids])
    return input_ids, (torch.arange(input_ids.shape[1]) < lengths[:, None]).long()
