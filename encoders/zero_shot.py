"""Zero-shot classification: an attribute's labels as prompts, compared with embeddings."""

from collections.abc import Sequence

import numpy as np

from encoders.attributes import Attribute, load_attributes
from encoders.model import Model


def classifier(model: Model, prompts: Sequence[Sequence[str]]) -> np.ndarray:
    """One unit vector a label: the mean of its prompts' embeddings, renormalised (Radford et al. 2021, section 3.1.4).

    Args:
        model: an open model.
        prompts: the prompts of each label.

    Returns:
        float32 [labels, dimension].
    """
    vectors = iter(list(model.embed_text([prompt for label in prompts for prompt in label])))
    means = np.stack([np.mean([next(vectors) for _ in label], axis=0) for label in prompts])
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def probabilities(embeddings: np.ndarray, labels: np.ndarray, scale: float) -> np.ndarray:
    """Softmax over the labels: [clips, dimension], [labels, dimension] -> [clips, labels], rows sum to one."""
    logits = scale * embeddings @ labels.T
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def heard_attributes(model: Model) -> list[Attribute]:
    """The exclusive attributes that a model was measured on; all of them where it never was."""
    exclusive = [attribute for attribute in load_attributes().values() if attribute.exclusive]
    return [attribute for attribute in exclusive if attribute.name in model.card.scales] or exclusive


class AttributeTagger:
    """Says of embeddings which label of every attribute that the model hears fits best."""

    def __init__(self, model: Model) -> None:
        self._attributes = heard_attributes(model)
        self._labels = [
            classifier(model, [attribute.prompts(label) for label in attribute.labels]) for attribute in self._attributes
        ]

    @property
    def names(self) -> list[str]:
        """The attributes it knows."""
        return [attribute.name for attribute in self._attributes]

    def __call__(self, embeddings: np.ndarray) -> list[dict[str, str]]:
        """[clips, dimension] -> attribute -> label, for each clip."""
        columns = {
            attribute.name: [attribute.labels[i].name for i in (embeddings @ labels.T).argmax(axis=1)]
            for attribute, labels in zip(self._attributes, self._labels, strict=True)
        }
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
