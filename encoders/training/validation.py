"""How good a network is on held-out clips: zero-shot classification by attribute and data set, and retrieval."""

import random
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from encoders.attributes import load_attributes
from encoders.metrics import classification, retrieval
from encoders.networks import DualEncoder
from encoders.training.caption_writer import EXCLUSIVE, draw_captions, fitting, tokens
from encoders.training.data import Clips

FEWEST = 20
"""Clips of a data set on which a figure is given; where less are held out in all, half of those."""


@dataclass(frozen=True)
class Figure:
    """A figure in percent, what it is of, on how many clips of which set, and what chance would give."""

    question: str
    set: str
    clips: int
    figure: float
    chance: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.inference_mode()
def validate(network: DualEncoder, clips: Clips, tokenizer: Tokenizer, device: torch.device) -> list[Figure]:
    """UAR of every exclusive attribute by data set, and R@1, R@10 and mAP@10 both ways over all clips; see FEWEST."""
    network.eval()
    speech = embed_clips(network, clips, device)
    return [
        *_retrieval_figures(network, clips, speech, tokenizer, device),
        *_attribute_figures(network, clips, speech, tokenizer, device),
    ]


def embed_clips(network: DualEncoder, clips: Clips, device: torch.device, batch: int = 32, seconds: float = 10.0) -> np.ndarray:
    """[clips, dimension] float32, of the first ten seconds of each."""
    order = np.argsort(clips.lengths, kind="stable")
    vectors = np.zeros((len(clips), network.dimension), dtype=np.float32)
    for start in range(0, len(order), batch):
        rows = order[start : start + batch].tolist()
        waveform, lengths = clips.crops(rows, seconds, np.zeros(len(rows)))
        vectors[rows] = network.embed_speech(waveform.to(device), lengths.to(device)).float().cpu().numpy()
    return vectors


def embed_captions(network: DualEncoder, texts: list[str], tokenizer: Tokenizer, device: torch.device) -> np.ndarray:
    """[captions, dimension] float32."""
    parts = [tokens(tokenizer, texts[start : start + 128]) for start in range(0, len(texts), 128)]
    return np.concatenate([network.embed_text(*(side.to(device) for side in part)).float().cpu().numpy() for part in parts])


def mean_score(figures: list[Figure]) -> float:
    """One number for a validation: the mean of its figures."""
    return float(np.mean([figure.figure for figure in figures])) if figures else 0.0


def _retrieval_figures(
    network: DualEncoder, clips: Clips, speech: np.ndarray, tokenizer: Tokenizer, device: torch.device
) -> list[Figure]:
    """Over de-duplicated captions, one drawn for each clip; one made from labels is right wherever it fits."""
    rows = list(range(len(clips)))
    captions = draw_captions(clips, rows, random.Random(0))
    first = {text: i for i, text in reversed(list(enumerate(captions.texts)))}
    columns = sorted(first.values())
    right = (fitting(clips, rows, captions)[:, columns] == 1).numpy()
    answered = right.any(axis=1)
    text = embed_captions(network, [captions.texts[i] for i in columns], tokenizer, device)
    scores, right = speech[answered] @ text.T, right[answered]
    chance = np.random.default_rng(0).random(scores.shape)
    figures = []
    for way, turn in (("speech to caption", np.asarray), ("caption to speech", np.transpose)):
        answerable = turn(right).any(axis=1)
        found, guessed = (retrieval(turn(values)[answerable], turn(right)[answerable]).figures() for values in (scores, chance))
        for name in ("R@1", "R@10", "mAP@10"):
            figures.append(Figure(f"{way} {name}", "all", int(answered.sum()), round(found[name], 1), round(guessed[name], 1)))
    return figures


def _attribute_figures(
    network: DualEncoder, clips: Clips, speech: np.ndarray, tokenizer: Tokenizer, device: torch.device
) -> list[Figure]:
    """Where a data set has two labels or more of an attribute."""
    groups = np.array(
        ["edit" if name.startswith("edit-") else name for name in (row.get("dataset", "all") for row in clips.rows)]
    )
    figures = []
    for name in EXCLUSIVE:
        attribute = load_attributes()[name]
        prompts = [
            embed_captions(network, attribute.prompts(label), tokenizer, device).mean(axis=0) for label in attribute.labels
        ]
        text = nn.functional.normalize(torch.from_numpy(np.stack(prompts)), dim=-1).numpy()
        known = {label.name for label in attribute.labels}
        for group in sorted(set(groups.tolist())):
            rows = [i for i in np.flatnonzero(groups == group) if clips.rows[i].get(name) in known]
            truth = [clips.rows[i][name] for i in rows]
            present = [i for i, label in enumerate(attribute.labels) if label.name in set(truth)]
            if len(present) < 2 or len(rows) < min(FEWEST, len(clips) / 2):
                continue
            labels = tuple(attribute.labels[i].name for i in present)
            predicted = [labels[i] for i in (speech[rows] @ text[present].T).argmax(axis=1)]
            uar = classification(truth, predicted, labels).uar
            figures.append(Figure(name, group, len(rows), round(uar, 1), round(100 / len(present), 1)))
    return figures
