"""Zero-shot classification: embeddings compared with prompts for the labels of an attribute."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from voxdex.encoders.attributes import Attribute, load_attributes
from voxdex.encoders.model import Model
from voxdex.encoders.model_card import ModelCard

MIN_SAMPLE = 20
"""Smallest number of clips from which the offsets of an archive are estimated."""


LABEL_VECTORS: WeakKeyDictionary[Model, dict[str, np.ndarray]] = WeakKeyDictionary()
"""Vectors [labels, dimension] of the labels of attributes, by model and name; see label_vectors."""


def label_vectors(model: Model, attributes: Sequence[Attribute]) -> list[np.ndarray]:
    """Return unit vectors [labels, dimension] of the labels of each attribute; a model embeds their prompts once."""
    known = LABEL_VECTORS.setdefault(model, {})
    prompts = {each.name: [each.prompts(label) for label in each.labels] for each in attributes if each.name not in known}
    texts = list(dict.fromkeys(prompt for labels in prompts.values() for label in labels for prompt in label))
    vectors = dict(zip(texts, model.embed_text(texts), strict=True)) if texts else {}
    known |= {name: class_vectors(labels, vectors) for name, labels in prompts.items()}
    return [known[each.name] for each in attributes]


def classifier(model: Model, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """Return a unit vector for each label: the normalised mean of its prompts' embeddings (Radford et al. 2021, section 3.1.4).

    Args:
        model: an open model.
        prompts: the prompts of each label.

    Returns:
        float32 [labels, dimension].
    """
    texts = list(dict.fromkeys(prompt for label in prompts for prompt in label))
    return class_vectors(prompts, dict(zip(texts, model.embed_text(texts), strict=True)))


def class_vectors(prompts: Sequence[Sequence[str]], vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    """Average the prompts of each label; see classifier.

    Args:
        prompts: the prompts of each label.
        vectors: the embedding [dimension] of each prompt.

    Returns:
        float32 [labels, dimension] of unit length.
    """
    means = np.stack([np.mean([vectors[prompt] for prompt in label], axis=0) for label in prompts])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def probabilities(embeddings: np.ndarray, labels: np.ndarray, scale: float, offsets: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the softmax over labels of scaled cosines, less their offsets in an archive: [clips, labels].

    Args:
        embeddings: unit vectors [clips, dimension].
        labels: unit vectors [labels, dimension].
        scale: factor of cosines; see logit_scale.
        offsets: [labels]; see archive_offsets.
    """
    logits = scale * (embeddings @ labels.T - offsets)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def archive_offsets(sample: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the offset of each label's cosine in an archive, [labels].

    Language, channel and way of recording shift the scores of a whole archive, and so does the mix of labels in it. The offset
    is the mean cosine times the normalised entropy of the predicted labels (0: all the same, 1: evenly spread), so that an
    archive of mostly neutral voices keeps its scores. Emotions of speakers of five corpora that models were not trained on: UAR
    3 points higher on average, and not lower where 80 or 95 % of the clips are neutral (docs/results/model-log.md).

    Args:
        sample: unit vectors of clips of the archive, [clips, dimension].
        labels: unit vectors of an attribute's labels, [labels, dimension].
    """
    if len(sample) < MIN_SAMPLE:
        return np.zeros(len(labels), np.float32)
    cosines = sample @ labels.T
    fractions = np.bincount(cosines.argmax(axis=1), minlength=len(labels)) / len(sample)
    present = fractions[fractions > 0]
    entropy = -(present * np.log(present)).sum() / np.log(len(labels))
    return np.float32(entropy) * cosines.mean(axis=0)


def logit_scale(card: ModelCard, attribute: str) -> float:
    """Return the factor of cosines before the softmax over an attribute's labels: the calibrated one, or that of training."""
    return card.scales.get(attribute, card.logit_scale)


def heard_attributes(card: ModelCard) -> list[Attribute]:
    """Return the exclusive attributes of which a model hears labels, with these labels; all, for a model never evaluated."""
    exclusive = [attribute for attribute in load_attributes().values() if attribute.exclusive]
    supported = [attribute for attribute in exclusive if attribute.name in card.scales] or exclusive
    if not card.hears:
        return supported
    heard = [attribute.restricted_to(card.hears.get(attribute.name, ())) for attribute in supported]
    return [attribute for attribute in heard if len(attribute.labels) > 1]


@dataclass(frozen=True)
class Prediction:
    """The most probable label of an attribute, and its probability among the attribute's labels."""

    label: str
    probability: float


@dataclass(frozen=True)
class Calibration:
    """Calibration of label scores on an archive.

    offsets: attribute -> label -> offset of its cosine, see archive_offsets. clips: number of clips of the archive when the
    offsets were estimated.
    """

    offsets: Mapping[str, Mapping[str, float]]
    clips: int = 0

    def of(self, attribute: str, labels: Sequence[str]) -> np.ndarray:
        """Return the offsets of an attribute's labels, [labels]; 0 for those without one."""
        known = self.offsets.get(attribute, {})
        return np.array([known.get(label, 0.0) for label in labels], np.float32)


PLAIN = Calibration({})
"""No calibration: offsets of 0."""


class AttributeTagger:
    """Predicts a label of every attribute that the model hears.

    Args:
        model: embeds the prompts.
        calibration: of the archive that the clips belong to.
    """

    def __init__(self, model: Model, calibration: Calibration = PLAIN) -> None:
        self._card, self.calibration = model.card, calibration
        self._attributes = heard_attributes(model.card)
        self._labels = label_vectors(model, self._attributes)

    @property
    def names(self) -> list[str]:
        """Names of the attributes."""
        return [attribute.name for attribute in self._attributes]

    def calibrated(self, sample: np.ndarray, clips: int) -> Calibration:
        """Return the calibration on an archive of `clips` clips, from vectors of a sample, [clips, dimension]."""
        offsets = {
            attribute.name: dict(zip(_names(attribute), archive_offsets(sample, labels).astype(float).tolist(), strict=True))
            for attribute, labels in zip(self._attributes, self._labels, strict=True)
            if attribute.centred
        }
        return Calibration(offsets, clips)

    def __call__(self, embeddings: np.ndarray, names: Collection[str] = ()) -> list[dict[str, Prediction]]:
        """Predict labels of embeddings [clips, dimension]: for each clip, a prediction by attribute.

        Args:
            embeddings: unit vectors.
            names: the attributes to predict; () for all.
        """
        clips: list[dict[str, Prediction]] = [{} for _ in embeddings]
        for attribute, labels in zip(self._attributes, self._labels, strict=True):
            if names and attribute.name not in names:
                continue
            offsets = self.calibration.of(attribute.name, _names(attribute))
            probs = probabilities(embeddings, labels, logit_scale(self._card, attribute.name), offsets)
            for clip, best, prob in zip(clips, probs.argmax(axis=1), probs.max(axis=1), strict=True):
                clip[attribute.name] = Prediction(attribute.labels[best].name, round(float(prob), 3))
        return clips


def _names(attribute: Attribute) -> list[str]:
    return [label.name for label in attribute.labels]
