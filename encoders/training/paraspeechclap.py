"""The published ParaSpeechCLAP checkpoints (Diwan, Choi and Harwath, arXiv 2603.28737) as DualEncoder networks."""

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

from voxdex.encoders.errors import SourceError
from voxdex.encoders.networks.factory import build_network
from voxdex.encoders.training.initial import TrainingBundle, pretrained_description, pretrained_speech, pretrained_tokenizer

SPEECH_SOURCE = "microsoft/wavlm-large"
TEXT_SOURCE = "ibm-granite/granite-embedding-278m-multilingual"
PREFIXES = {
    "audio_branch.base.": "speech_tower.model.",
    "text_branch.base.": "text_tower.model.",
    "audio_projection.": "speech_projection.",
    "text_projection.": "text_projection.",
}
OLD_SPELLINGS = {
    ".conv.weight_g": ".conv.parametrizations.weight.original0",
    ".conv.weight_v": ".conv.parametrizations.weight.original1",
}
"""Old and new names of the parameters of a weight-normalised convolution in torch."""
UNUSED = re.compile(
    r"^text_branch\.base\.(pooler\.|embeddings\.(position_ids|token_type_ids)$)|^audio_branch\.base\.masked_spec_embed$"
)
"""Weights that are dropped: the text model's pooler, buffers of older versions, the mask of pre-training."""


def open_published(file: Path, speech: str = SPEECH_SOURCE, text: str = TEXT_SOURCE) -> TrainingBundle:
    """Open a checkpoint, with configs of the towers and the tokenizer from folders or the hub.

    Args:
        file: a state dict with the keys audio_branch.base.*, text_branch.base.*, audio_projection.*, text_projection.* and
            one scalar, the log logit scale, under any name.
        speech, text: folders or hub names with config.json, preprocessor_config.json and tokenizer.json.

    Raises:
        SourceError: the file is not such a state dict, contains code, lacks weights or has unknown ones; or a config or the
            tokenizer cannot be loaded.
    """
    weights = rename(read_state(file), file)
    width = weights["speech_projection.linear1.weight"].shape[0]
    architecture = {
        "speech_tower": {"kind": "pretrained"} | pretrained_speech(speech, config={"layerdrop": 0.0}),
        "text_tower": {"kind": "pretrained", "config": pretrained_description(text, None), "pooling": "first"},
        "projection": {"kind": "residual", "dimension": width, "dropout": 0.5},
    }
    network = build_network(architecture)
    own = {name: value for name, value in network.state_dict().items() if not name.endswith(".masked_spec_embed")}
    missing, left_over = sorted(set(own) - set(weights)), sorted(set(weights) - set(own))
    wrong = sorted(name for name in set(own) & set(weights) if own[name].shape != weights[name].shape)
    for names, what in ((missing, "lacks"), (left_over, "has left over"), (wrong, "has in another shape")):
        if names:
            raise SourceError(
                f"{file} does not fit the towers of {speech} and {text}: it {what} {names[0]} ({len(names)} such weights). "
                "Name the towers it was trained with by --speech and --text."
            )
    network.load_state_dict(weights, strict=False)
    return TrainingBundle(network.eval(), architecture, pretrained_tokenizer(text))


def read_state(file: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint; a file with anything else in it is refused.

    Raises:
        SourceError: it cannot be read, or is not a plain state dict.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SourceError(
            f"{file} holds more than weights (code, perhaps) and is not opened. Fetch it from its publisher again."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise SourceError(f"{file} cannot be read as a checkpoint ({str(error).splitlines()[0]}).") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SourceError(
            f"{file} is not a plain state dict: a ParaSpeechCLAP checkpoint has tensors by name and nothing else."
        )
    return state


def rename(state: dict[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Rename a published state dict to the names of DualEncoder, in fp32."""
    weights, scalars = {}, []
    for key, value in state.items():
        prefix = next((prefix for prefix in PREFIXES if key.startswith(prefix)), None)
        if UNUSED.search(key):
            continue
        if prefix:
            name = PREFIXES[prefix] + key.removeprefix(prefix)
            for old, new in OLD_SPELLINGS.items():
                name = name.replace(old, new)
            weights[name] = value.float()
        elif value.numel() == 1:
            scalars.append(value)
        else:
            weights[key] = value
    if len(scalars) != 1 or "speech_projection.linear1.weight" not in weights:
        raise SourceError(
            f"{file} is not a ParaSpeechCLAP checkpoint: it has no audio_projection.linear1.weight, or no logit scale."
        )
    return weights | {"log_logit_scale": scalars[0].float().reshape(())}
