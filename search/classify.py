"""Zero-shot classification of recordings through prompt templates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from voxdex.encoders.attributes import Attribute, load_attributes
from voxdex.encoders.errors import short
from voxdex.encoders.model import Model
from voxdex.encoders.zero_shot import classifier, logit_scale, probabilities, supported_attributes
from voxdex.indexer.store.base import CLIP, KIND, Store
from voxdex.search.caption_parser import has_words
from voxdex.search.embed import embed_recording
from voxdex.search.query import QueryError

TEMPLATES = ("{}", "a {} voice", "A person is speaking in a {} style.")
"""For labels that no attribute knows."""
UNSURE = "unsure"
"""What is said where no label is probable enough."""
AT_ONCE = 1000
"""Clips of an index."""


@dataclass(frozen=True, eq=False)
class LabelSet:
    """An attribute's name, the labels to choose from, and one unit vector a label, [labels, dimension]."""

    name: str
    labels: tuple[str, ...]
    vectors: np.ndarray

    def scores(self, embeddings: np.ndarray, model: Model) -> np.ndarray:
        """Probabilities [clips, labels] for embeddings [clips, dimension]."""
        return probabilities(embeddings, self.vectors, logit_scale(model.card, self.name))


@dataclass(frozen=True)
class ClipPrediction:
    """A clip and, for each question by name, the probability of each label. start, end: seconds."""

    recording: str
    start: float
    end: float
    answers: dict[str, dict[str, float]]

    def label(self, name: str) -> str:
        """The most probable answer to a question."""
        return max(self.answers[name], key=self.answers[name].get)

    def document(self, least: float = 0.0) -> dict[str, Any]:
        """What programs are told. least: the probability below which no label is named."""
        return {"recording": self.recording, "start": self.start, "end": self.end} | {
            name: {"label": self.label(name) if max(scores.values()) >= least else UNSURE, "scores": scores}
            for name, scores in self.answers.items()
        }


def label_set(model: Model, name: str, labels: Sequence[str] = (), templates: Sequence[str] = ()) -> LabelSet:
    """Puts an attribute's labels into words.

    Args:
        model: embeds the prompts.
        name: an attribute that ships, or any name where labels are given.
        labels: the labels to choose from; none takes the attribute's own.
        templates: prompts with {} for the label; none takes the attribute's own, or general ones for other labels.

    Raises:
        QueryError: the attribute is unknown and there are no labels, labels repeat or have no words, or a template has no {}.
        TextError: a label or a template is not valid text.
    """
    attribute = load_attributes().get(name)
    if attribute is None and not labels:
        raise QueryError(f"There is no attribute {short(name)}. Known: {', '.join(load_attributes())}; or give --labels.")
    for template in templates:
        if template.count("{}") != 1:
            raise QueryError(f"The template {short(template)} needs one {{}} where the label goes.")
    if len(set(labels)) < len(labels) or not all(labels):
        raise QueryError(f"The labels {short(', '.join(labels))} must all be different, and none empty.")
    wordless = [label for label in labels if not has_words(label)]
    if wordless:
        raise QueryError(f"The label {short(wordless[0])} has no words: give others by --labels, as in 'angry,happy,sad'.")
    names = tuple(labels) or tuple(label.name for label in attribute.labels)
    if templates or attribute is None:
        prompts = [[template.replace("{}", label) for template in templates or TEMPLATES] for label in names]
    else:
        prompts = _prompts(attribute, names)
    return LabelSet(name, names, classifier(model, prompts))


def label_sets(
    model: Model, attributes: Sequence[str] = (), labels: Sequence[str] = (), templates: Sequence[str] = ()
) -> list[LabelSet]:
    """The questions about some attributes; about "label" where labels alone are given, and else about all that a model hears.

    Raises:
        QueryError: see question.
    """
    names = attributes or (["label"] if labels else [attribute.name for attribute in supported_attributes(model)])
    return [label_set(model, name, labels, templates) for name in names]


def _prompts(attribute: Attribute, names: Sequence[str]) -> list[list[str]]:
    """The attribute's own prompts for labels it knows by name or by a word for them, general ones for others."""
    known = [attribute.find(name) for name in names]
    return [
        attribute.prompts(label)
        if label and known.count(label) == 1
        else [template.replace("{}", name) for template in TEMPLATES]
        for name, label in zip(names, known, strict=True)
    ]


def classify_file(model: Model, path: Path, label_sets: Sequence[LabelSet]) -> list[ClipPrediction]:
    """Answers the questions for every clip of a recording.

    Raises:
        AudioError: the recording cannot be read.
    """
    recording = embed_recording(model, path)
    where = [(str(path), start, end) for start, end in recording.spans]
    return _answer(model, where, recording.vectors, label_sets)


def classify_index(model: Model, store: Store, label_sets: Sequence[LabelSet]) -> Iterator[ClipPrediction]:
    """Answers the questions for every clip of an index."""
    points = iter(store.points({KIND: CLIP}))
    while batch := list(islice(points, AT_ONCE)):
        where = [tuple(point.payload[key] for key in ("recording", "start", "end")) for point in batch]
        yield from _answer(model, where, np.stack([point.vector for point in batch]), label_sets)


def _answer(
    model: Model, where: Sequence[tuple[str, float, float]], vectors: np.ndarray, label_sets: Sequence[LabelSet]
) -> list[ClipPrediction]:
    scores = {each: each.scores(vectors, model).astype(float).round(4).tolist() for each in label_sets}
    return [
        ClipPrediction(
            *place, {label_set.name: dict(zip(label_set.labels, rows[row], strict=True)) for label_set, rows in scores.items()}
        )
        for row, place in enumerate(where)
    ]
