"""Zero-shot classification: an attribute's labels as prompts, compared with embeddings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxdex.encoders.attributes import Attribute, load_attributes
from voxdex.encoders.model import Model
from voxdex.encoders.model_card import ModelCard


def classifier(model: Model, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """One unit vector a label: the mean of its prompts' embeddings, renormalised (Radford et al. 2021, section 3.1.4).

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


def probabilities(embeddings: np.ndarray, labels: np.ndarray, scale: float) -> np.ndarray:
    """Softmax over the labels: [clips, dimension], [labels, dimension] -> [clips, labels], rows sum to one."""
    logits = scale * embeddings @ labels.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def logit_scale(card: ModelCard, attribute: str) -> float:
    """What cosines are multiplied with before the softmax over an attribute's labels: as calibrated, or as in training."""
    return card.scales.get(attribute, card.logit_scale)


def supported_attributes(model: Model) -> list[Attribute]:
    """The exclusive attributes that a model was measured on; all of them where it never was."""
    exclusive = [attribute for attribute in load_attributes().values() if attribute.exclusive]
    return [attribute for attribute in exclusive if attribute.name in model.card.scales] or exclusive


@dataclass(frozen=True)
class Prediction:
    """A label, and how probable it is among the labels of its attribute."""

    label: str
    probability: float


class AttributeTagger:
    """Says of embeddings which label of every attribute that the model hears fits best."""

    def __init__(self, model: Model) -> None:
        self._card = model.card
        self._attributes = supported_attributes(model)
        self._labels = [
            classifier(model, [attribute.prompts(label) for label in attribute.labels]) for attribute in self._attributes
        ]

    @property
    def names(self) -> list[str]:
        """The attributes it knows."""
        return [attribute.name for attribute in self._attributes]

    def __call__(self, embeddings: np.ndarray) -> list[dict[str, Prediction]]:
        """[clips, dimension] -> attribute -> what is heard, for each clip."""
        clips: list[dict[str, Prediction]] = [{} for _ in embeddings]
        for attribute, labels in zip(self._attributes, self._labels, strict=True):
            shares = probabilities(embeddings, labels, logit_scale(self._card, attribute.name))
            for clip, best, share in zip(clips, shares.argmax(axis=1), shares.max(axis=1), strict=True):
                clip[attribute.name] = Prediction(attribute.labels[best].name, round(float(share), 3))
        return clips
