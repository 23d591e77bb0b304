"""Labels of one's own: a linear head on the vectors of an index, kept with it and predicted for every clip."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.errors import VoxdexError, short
from voxdex.encoders.zero_shot import Prediction
from voxdex.indexer.calibration import predict_again
from voxdex.indexer.store.base import KIND, Point, Store, identity

TAUGHT = "taught"
"""Kind of the points that hold taught labels."""
YES, NO = "yes", "no"
"""Values of the attribute that a taught label becomes."""
NAME = re.compile(r"[^\W\d_][\w-]{0,39}")
"""Names of taught labels: a word of at most 40 letters, digits, hyphens or underscores that begins with a letter."""


class TeachError(VoxdexError):
    """A label that cannot be taught. The message is a sentence for the user."""


@dataclass(frozen=True)
class Quality:
    """How well a taught label separates its examples, judged on recordings that it was not taught with.

    auc: area under the ROC curve, 0 to 1; low, high: its 95 % interval. word_auc: that of the word alone, without examples.
    half_auc: with half of the examples. liked, unliked: number of examples.
    """

    auc: float
    low: float
    high: float
    word_auc: float
    half_auc: float
    liked: int
    unliked: int


@dataclass(frozen=True, eq=False)
class TaughtLabel:
    """A taught label of an index: probability = sigmoid(weights @ vector + bias).

    weights: float32 [dimension]. space: of the vectors. liked, unliked: ids of the clips that it was taught with.
    """

    name: str
    weights: np.ndarray
    bias: float
    space: str
    liked: tuple[str, ...]
    unliked: tuple[str, ...]
    quality: Quality

    def probabilities(self, vectors: np.ndarray) -> np.ndarray:
        """Return the probability of the label for clips, [clips, dimension] -> [clips]."""
        return 1 / (1 + np.exp(-np.clip(vectors @ self.weights + self.bias, -30, 30)))

    def predictions(self, vectors: np.ndarray) -> list[Prediction]:
        """Return the predicted value of each clip, "yes" or "no", with its probability."""
        probs = self.probabilities(vectors).tolist()
        return [Prediction(YES, round(prob, 3)) if prob >= 0.5 else Prediction(NO, round(1 - prob, 3)) for prob in probs]

    def document(self) -> dict[str, Any]:
        """Return the label as a JSON document, for another index of the same space."""
        return asdict(self) | {"weights": self.weights.astype(float).tolist()}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "TaughtLabel":
        """Read a document.

        Raises:
            TeachError: it is none of a taught label.
        """
        try:
            return cls(
                check_name(document["name"]),
                np.array(document["weights"], dtype=np.float32),
                float(document["bias"]),
                str(document["space"]),
                tuple(map(str, document["liked"])),
                tuple(map(str, document["unliked"])),
                Quality(**document["quality"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TeachError(f"This is no taught label ({error}); `voxdex taught export` writes one.") from error


def check_name(name: str) -> str:
    """Return the name of a taught label in lower case. A word that stands for labels already gets a new meaning.

    Raises:
        TeachError: it is no single word, or the name of an attribute.
    """
    name = name.strip().lower()
    if not NAME.fullmatch(name):
        raise TeachError(f"{short(name)} is no name of a label: give a single word, such as grumpy.")
    if name in load_attributes():
        raise TeachError(f"{name!r} is an attribute with labels of its own; give another word.")
    return name


def read_taught(store: Store) -> dict[str, TaughtLabel]:
    """Return the taught labels of an index by name."""
    documents = store.cache_get(TAUGHT)
    labels = map(TaughtLabel.of, _documents(store) if documents is None else documents)
    return {label.name: label for label in sorted(labels, key=lambda label: label.name)}


def write_taught(store: Store, label: TaughtLabel) -> None:
    """Store a taught label with an index, and predict it for all clips from their vectors.

    Raises:
        TeachError: it belongs to another space.
    """
    if label.space != store.space:
        raise TeachError(f"The label {label.name!r} was taught in the space {label.space}, and the index is of {store.space}.")
    payload = {KIND: TAUGHT, "name": label.name, "label": label.document(), "space": store.space}
    store.upsert([Point(identity(f"{TAUGHT}/{label.name}@{store.space}"), None, payload)])
    store.ensure_fields({f"attributes.{label.name}": "text", f"probabilities.{label.name}": "number"})
    predict_again(store, lambda vectors: predict_taught([label], vectors))
    _save(store)


def forget_taught(store: Store, name: str) -> None:
    """Remove a taught label from an index and its clips.

    Raises:
        TeachError: the index has no such label.
    """
    if name not in read_taught(store):
        raise TeachError(f"The index has no taught label {name!r}.")
    store.delete({KIND: TAUGHT, "name": name})
    for field in (f"attributes.{name}", f"probabilities.{name}"):
        store.remove_fields([field])
        store.delete_values(field)
    _save(store)


def predict_taught(labels: Iterable[TaughtLabel], vectors: np.ndarray) -> list[dict[str, Prediction]]:
    """Return the predictions of taught labels for clips, [clips, dimension]: for each clip, a prediction by name."""
    found: list[dict[str, Prediction]] = [{} for _ in vectors]
    for label in labels:
        for clip, prediction in zip(found, label.predictions(vectors), strict=True):
            clip[label.name] = prediction
    return found


def _save(store: Store) -> None:
    """Write all changes to disk, with a cache by which servers that read the index notice them."""
    store.flush()
    store.cache_put(TAUGHT, lambda: _documents(store), is_small=True)


def _documents(store: Store) -> list[Any]:
    return [payload["label"] for payload in store.payloads(TAUGHT, ("label",))]
