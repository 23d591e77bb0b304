"""Zero-shot classification of recordings and indexes by prompt templates."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np

from voxdex.encoders.attributes import Attribute, load_attributes
from voxdex.encoders.audio.remote import Location
from voxdex.encoders.errors import check_text, short
from voxdex.encoders.model import Model
from voxdex.encoders.zero_shot import archive_offsets, classifier, heard_attributes, logit_scale, probabilities
from voxdex.indexer.calibration import SAMPLE_CLIPS
from voxdex.indexer.store.base import CLIP, KIND, Store
from voxdex.search.caption_parser import has_words, parse_caption
from voxdex.search.embed import embed_recording
from voxdex.search.query import QueryError
from voxdex.search.understanding import is_known

TEMPLATES = ("{}", "a {} voice", "A person is speaking in a {} style.")
"""Prompt templates for labels of the user."""
UNSURE = "unsure"
"""Label of a clip of which no label is probable enough."""
BATCH_CLIPS = 1000
"""Clips of an index that are classified at a time."""


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The labels to choose from.

    name: of the attribute. vectors: one for each label, [labels, dimension] of unit length. centred: whether the attribute's
    scores are calibrated on an archive. offsets: of the cosines, [labels]; 0 where they are not calibrated.
    """

    name: str
    labels: tuple[str, ...]
    vectors: np.ndarray
    centred: bool = False
    offsets: np.ndarray | float = 0.0

    def calibrated(self, archive: np.ndarray) -> "LabelSet":
        """Return the labels calibrated on an archive, if the attribute is centred; see archive_offsets.

        archive: unit vectors of a sample, [clips, dimension].
        """
        return replace(self, offsets=archive_offsets(archive, self.vectors)) if self.centred else self

    def probabilities(self, embeddings: np.ndarray, model: Model) -> np.ndarray:
        """Return the probabilities of the labels, [clips, dimension] -> [clips, labels]."""
        return probabilities(embeddings, self.vectors, logit_scale(model.card, self.name), self.offsets)


@dataclass(frozen=True)
class ClipPrediction:
    """Predictions for a clip: the probability of each label, by label set. start, end: seconds."""

    recording: str
    start: float
    end: float
    probabilities: dict[str, dict[str, float]]

    def label(self, name: str) -> str:
        """Return the most probable label of a label set."""
        probs = self.probabilities[name]
        return max(probs, key=lambda label: probs[label])

    def document(self, min_probability: float = 0.0) -> dict[str, Any]:
        """Build the JSON document. min_probability: of a label; below it, the clip is UNSURE."""
        return {"recording": self.recording, "start": self.start, "end": self.end} | {
            name: {"label": self.label(name) if max(probs.values()) >= min_probability else UNSURE, "scores": probs}
            for name, probs in self.probabilities.items()
        }


def label_set(model: Model, name: str, labels: Sequence[str] = (), templates: Sequence[str] = ()) -> LabelSet:
    """Embed the prompts of an attribute's labels.

    Args:
        model: embeds the prompts.
        name: a built-in attribute, or any name if labels are given.
        labels: the labels to choose from; () for the attribute's own.
        templates: prompts with {} for the label; () for the attribute's own, or TEMPLATES for other labels.

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
    names = tuple(labels)
    if attribute is not None and not names:
        names = tuple(label.name for label in attribute.labels)
    if templates or attribute is None:
        prompts = [[template.replace("{}", label) for template in templates or TEMPLATES] for label in names]
    else:
        prompts = _prompts(attribute, names)
    return LabelSet(name, names, classifier(model, prompts), centred=attribute is not None and attribute.centred)


def label_sets(
    model: Model,
    attributes: Sequence[str] = (),
    labels: Sequence[str] = (),
    templates: Sequence[str] = (),
    *,
    anyway: bool = False,
) -> list[LabelSet]:
    """Return a label set for each attribute; for labels alone one named "label", else one for each attribute that is heard.

    Args:
        model, labels, templates: see label_set; without labels, those of an attribute are the ones that the model hears.
        attributes: names of attributes.
        anyway: accept attributes and labels that the model does not hear.

    Raises:
        QueryError: the model does not hear an attribute or a label; or see label_set.
        TextError: see label_set.
    """
    heard = {attribute.name: attribute for attribute in heard_attributes(model.card)}
    if not anyway:
        _check_heard(model, [] if labels else attributes, labels)
    names = attributes or (["label"] if labels else list(heard))
    return [
        label_set(model, name, labels or [label.name for label in heard[name].labels] if name in heard else labels, templates)
        for name in names
    ]


def _check_heard(model: Model, attributes: Sequence[str], labels: Sequence[str]) -> None:
    """Raise QueryError for an attribute or a label that a model does not hear."""
    heard = [attribute.name for attribute in heard_attributes(model.card)]
    for name in attributes:
        if name in load_attributes() and name not in heard:
            raise QueryError(f"{model.card.name} does not hear {name}; it hears {', '.join(heard)}. Ask anyway with --anyway.")
    for label in map(check_text, labels):
        unknown = [term.words for term in parse_caption(label).terms if not is_known(term, model.card)]
        if unknown:
            raise QueryError(
                f"{model.card.name} does not hear {short(', '.join(unknown))}, so the label {short(label)} would be a guess. "
                "Choose other labels, or ask anyway with --anyway."
            )


def _prompts(attribute: Attribute, names: Sequence[str]) -> list[list[str]]:
    """Return the attribute's own prompts for labels that it has, by name or word, and prompts of TEMPLATES for others."""
    known = [attribute.find(name) for name in names]
    return [
        attribute.prompts(label)
        if label and known.count(label) == 1
        else [template.replace("{}", name) for template in TEMPLATES]
        for name, label in zip(names, known, strict=True)
    ]


def classify_file(model: Model, path: Location, label_sets: Sequence[LabelSet], *, vad: bool = True) -> list[ClipPrediction]:
    """Classify every clip of a recording. vad: clips of speech only; else of all sound.

    Raises:
        AudioError: the recording cannot be read.
    """
    recording = embed_recording(model, path, vad=vad)
    spans = [(str(path), start, end) for start, end in recording.spans]
    return _predict(model, spans, recording.vectors, label_sets)


def classify_index(model: Model, store: Store, label_sets: Sequence[LabelSet]) -> Iterator[ClipPrediction]:
    """Classify every clip of an index; scores of emotions are calibrated on it."""
    archive = store.sample_vectors(SAMPLE_CLIPS)
    calibrated = [each.calibrated(archive) for each in label_sets]
    points = iter(store.points({KIND: CLIP}))
    while batch := list(islice(points, BATCH_CLIPS)):
        spans = [(point.payload["recording"], point.payload["start"], point.payload["end"]) for point in batch]
        yield from _predict(model, spans, np.array([point.vector for point in batch], np.float32), calibrated)


def _predict(
    model: Model, spans: Sequence[tuple[str, float, float]], vectors: np.ndarray, label_sets: Sequence[LabelSet]
) -> list[ClipPrediction]:
    probs = {each: each.probabilities(vectors, model).astype(float).round(4).tolist() for each in label_sets}
    return [
        ClipPrediction(
            *span, {label_set.name: dict(zip(label_set.labels, rows[row], strict=True)) for label_set, rows in probs.items()}
        )
        for row, span in enumerate(spans)
    ]
