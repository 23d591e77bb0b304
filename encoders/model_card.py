"""Model folders: model.json, speech.onnx, text.onnx and tokenizer.json; and the models that are installed."""

import hashlib
import json
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.paths import voxdex_home

SHIPPED = Path(__file__).parent / "models"
SPEECH, TEXT, TOKENIZER, CARD, README = "speech.onnx", "text.onnx", "tokenizer.json", "model.json", "README.md"
PHONEMES = "phonemes.onnx"
"""The text graph of a phonetic model, instead of text.onnx."""


class ModelError(VoxdexError):
    """A model that cannot be found, opened or run."""

    http_status = 503


@dataclass(frozen=True)
class Phonetics:
    """Fields of model.json of a phonetic model.

    frame_seconds: time between frames of a posteriorgram. phoneme_prior: frequency of each phoneme id in the training data, 0
    to 1. intelligibility: ascending pairs of PMI per phoneme (nats) and fraction of correct phonemes, see
    PhoneticModel.intelligibility; empty for a model trained without held-out clips.
    """

    frame_seconds: float
    phoneme_prior: list[float]
    intelligibility: list[list[float]]


@dataclass(frozen=True)
class SpeakerThresholds:
    """Fields of model.json of a speaker model: cosines from which on two voices are taken for one person's.

    clip: of two clips. recording: of groups of clips in one recording. archive: of groups in two recordings.
    """

    clip: float
    recording: float
    archive: float


@dataclass(frozen=True)
class ModelCard:
    """The content of model.json.

    dimension: width of the embeddings. sample_rate: Hz. max_seconds: longest clip to embed.
    logit_scale: factor of cosines before a softmax. scales: the same by attribute, fitted on held-out clips so that
    probabilities are calibrated, for the attributes that the model supports; empty for a model that was never evaluated.
    architecture: the exported network, see networks.factory.build_network.
    hears: labels by attribute that the model tells apart on held-out speakers, see training.validation.heard_labels; empty for
    a model for which that was never measured. does_not_hear: what else people ask for that it does not hear, such as "singing".
    text: input of the text side, "captions" or "phonemes" (IPA), or "none". phonetics: fields of a phonetic model. speakers:
    fields of a speaker model.
    sha256: checksum of every other file of the folder. metrics: the evaluation (a list of metrics), parity and speed.
    """

    name: str
    version: str
    description: str
    licence: str
    trained_on: list[dict[str, Any]]
    dimension: int
    sample_rate: int
    max_seconds: float
    prompt_templates: list[str]
    normalisation: str
    opset: int
    precision: str
    logit_scale: float
    architecture: dict[str, dict[str, Any]]
    sha256: dict[str, str]
    metrics: dict[str, Any]
    scales: dict[str, float] = field(default_factory=dict)
    hears: dict[str, list[str]] = field(default_factory=dict)
    does_not_hear: list[str] = field(default_factory=list)
    text: str = "captions"
    phonetics: Phonetics | None = None
    speakers: SpeakerThresholds | None = None

    @property
    def space(self) -> str:
        """The identity of the embeddings: name, version and a checksum of all files that determine them."""
        files = sorted(name for name in self.sha256 if name != README)
        digest = hashlib.sha256("".join(self.sha256[name] for name in files).encode()).hexdigest()
        return f"{self.name}@{self.version}:{digest[:12]}"


def default_model() -> str:
    """Return the name of the default model: that of the environment variable VOXDEX_MODEL, or mini."""
    return os.environ.get("VOXDEX_MODEL") or "mini"


def find_models() -> dict[str, Path]:
    """Return the folders of the models that ship and of those in the user's data folder, by name."""
    roots = (SHIPPED, voxdex_home() / "models")
    return {card.parent.name: card.parent for root in roots for card in sorted(root.glob(f"*/{CARD}"))}


def locate(name_or_folder: str | Path) -> Path:
    """Return the folder of a model given by name or by path.

    Raises:
        ModelError: there is no such model.
    """
    models = find_models()
    if str(name_or_folder) in models:
        return models[str(name_or_folder)]
    folder = Path(name_or_folder)
    if (folder / CARD).is_file():
        return folder
    raise ModelError(f"There is no model {str(name_or_folder)!r}. Known: {', '.join(models)}; or give a folder with a {CARD}.")


def read_card(folder: Path) -> ModelCard:
    """Read and check model.json.

    Raises:
        ModelError: it cannot be read, or a field is missing.
    """
    try:
        raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
        optional = {"scales", "hears", "does_not_hear", "text", "phonetics", "speakers"} - raw.keys()
        values = {field.name: raw[field.name] for field in fields(ModelCard) if field.name not in optional}
        if values.get("phonetics"):
            values["phonetics"] = Phonetics(**values["phonetics"])
        if values.get("speakers"):
            values["speakers"] = SpeakerThresholds(**values["speakers"])
        return ModelCard(**values)
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / CARD} cannot be read ({error}). Export the model again.") from error
    except KeyError as error:
        raise ModelError(f"{folder / CARD} has no field {error}. Export the model again.") from error
