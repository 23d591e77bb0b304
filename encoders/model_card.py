"""The model folder: model.json beside speech.onnx, text.onnx and tokenizer.json."""

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
"""In the folder of a model for what is said, instead of text.onnx."""


class ModelError(VoxdexError):
    """A model that cannot be found, opened or run."""

    http_status = 503


@dataclass(frozen=True)
class Phonetics:
    """What model.json says of a model for what is said.

    frame_seconds: from one frame in which phonemes are heard to the next. shares: of each phoneme id among all that the model
    was trained on, 0 to 1. intelligibility: rising evidence for each phoneme (nats), and the share of right phonemes that it
    stands for; empty where no clips were held out.
    """

    frame_seconds: float
    phoneme_prior: list[float]
    intelligibility: list[list[float]]


@dataclass(frozen=True)
class ModelCard:
    """What model.json says.

    dimension: width of the embeddings. sample_rate: Hz. max_seconds: longest clip to embed.
    logit_scale: what a cosine is multiplied with before a softmax. scales: the same by attribute, fitted on held-out clips
    so that probabilities are calibrated; the attributes the model knows, where it was ever measured.
    architecture: the network that was exported, see encoders.networks.build_network.
    text: what its text side eats, "captions" or "phonemes" (IPA). phonetics: of a model for phonemes.
    sha256: checksum of every other file of the folder. metrics: metrics of the evaluation that shipped it.
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
    text: str = "captions"
    phonetics: Phonetics | None = None

    @property
    def space(self) -> str:
        """The identity of the embeddings: name, version and a checksum over all files that shape them."""
        shaping = sorted(name for name in self.sha256 if name != README)
        digest = hashlib.sha256("".join(self.sha256[name] for name in shaping).encode()).hexdigest()
        return f"{self.name}@{self.version}:{digest[:12]}"


def default_model() -> str:
    """The model that is used where none is named: that of VOXDEX_MODEL, or mini."""
    return os.environ.get("VOXDEX_MODEL") or "mini"


def find_models() -> dict[str, Path]:
    """Folders of the models that ship and of those in the user's data folder, by name."""
    roots = (SHIPPED, voxdex_home() / "models")
    return {card.parent.name: card.parent for root in roots for card in sorted(root.glob(f"*/{CARD}"))}


def locate(name_or_folder: str | Path) -> Path:
    """The folder of a model given by name or by path.

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
    """Reads and checks model.json.

    Raises:
        ModelError: it cannot be read, or a field is missing.
    """
    try:
        raw = json.loads((folder / CARD).read_text(encoding="utf-8"))
        optional = {"scales", "text", "phonetics"} - raw.keys()
        said = {field.name: raw[field.name] for field in fields(ModelCard) if field.name not in optional}
        return ModelCard(**said | ({"phonetics": Phonetics(**said["phonetics"])} if said.get("phonetics") else {}))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / CARD} cannot be read ({error}). Export the model again.") from error
    except KeyError as error:
        raise ModelError(f"{folder / CARD} has no field {error}. Export the model again.") from error
