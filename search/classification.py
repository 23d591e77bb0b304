"""Zero-shot classification of recordings through prompt templates."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import Attribute, Model, load_attributes
from encoders.zero_shot import classifier, probabilities
from search.query import QueryError
from search.speech import embed_file

TEMPLATES = ("{}", "a {} voice", "A person is speaking in a {} style.")
"""For labels that no attribute knows."""


@dataclass(frozen=True)
class Question:
    """An attribute's name, the labels to choose from, and one unit vector a label, [labels, dimension]."""

    name: str
    labels: tuple[str, ...]
    vectors: np.ndarray

    def scores(self, embeddings: np.ndarray, model: Model) -> np.ndarray:
        """Probabilities [clips, labels] for embeddings [clips, dimension]."""
        return probabilities(embeddings, self.vectors, model.card.logit_scale)


@dataclass(frozen=True)
class Classified:
    """A clip and, for each question by name, the probability of each label. start, end: seconds."""

    recording: str
    start: float
    end: float
    answers: dict[str, dict[str, float]]


def question(model: Model, name: str, labels: Sequence[str] = (), templates: Sequence[str] = ()) -> Question:
    """Puts an attribute's labels into words.

    Args:
        model: embeds the prompts.
        name: an attribute that ships, or any name where labels are given.
        labels: the labels to choose from; none takes the attribute's own.
        templates: prompts with {} for the label; none takes the attribute's own, or general ones for other labels.

    Raises:
        QueryError: the attribute is unknown and there are no labels, or a template has no {}.
    """
    attribute = load_attributes().get(name)
    if attribute is None and not labels:
        raise QueryError(f"There is no attribute {name!r}. Known: {', '.join(load_attributes())}; or give --labels.")
    for template in templates:
        if template.count("{}") != 1:
            raise QueryError(f"The template {template!r} needs one {{}} where the label goes.")
    names = tuple(labels) or tuple(label.name for label in attribute.labels)
    prompts = [_prompts(attribute, label, templates) for label in names]
    return Question(name, names, classifier(model, prompts))


def _prompts(attribute: Attribute | None, label: str, templates: Sequence[str]) -> list[str]:
    if not templates and attribute:
        for known in attribute.labels:
            if known.name == label:
                return attribute.prompts(known)
    return [template.format(label) for template in templates or TEMPLATES]


def classify_file(model: Model, path: Path, questions: Sequence[Question]) -> list[Classified]:
    """Answers the questions for every clip of a recording.

    Raises:
        AudioError: the recording cannot be read.
    """
    clips, embeddings = embed_file(model, path)
    columns = {question.name: (question.labels, question.scores(embeddings, model)) for question in questions}
    return [
        Classified(
            str(path),
            clip.start,
            clip.end,
            {
                name: {label: round(float(share), 4) for label, share in zip(labels, scores[row], strict=True)}
                for name, (labels, scores) in columns.items()
            },
        )
        for row, clip in enumerate(clips)
    ]
