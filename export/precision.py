"""Graphs in half precision for GPUs and in 8 bits for CPUs."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx.helper import make_node
from onnx.numpy_helper import from_array, to_array

from voxdex.encoders.onnx_session import pad_clips

CALIBRATED = {"MatMulConstBOnly": True, "CalibMovingAverage": True}
"""Options of static quantisation: products of two activations stay in fp32; outlier clips do not stretch the scales."""

COMPACT = "compact"
"""The precision of small model folders that compute in fp32: weights are stored in half precision, those of texts in 8 bits."""

MAX_BYTES = 1_900_000_000
"""Size of weights from which they go to a separate file, as a protobuf message is limited to 2 GB."""


def save_graph(model: onnx.ModelProto, path: Path, max_bytes: int = MAX_BYTES) -> None:
    """Write and check a graph; weights of more than `max_bytes` go to the file PATH.data."""
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > max_bytes
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)
    if large:  # onnx.save takes the weights out of the model that it writes
        whole, model = model, onnx.ModelProto()
        model.CopyFrom(whole)
    onnx.save(model, str(path), save_as_external_data=large, location=data.name if large else None)
    onnx.checker.check_model(str(path))


def halve_weights(model: onnx.ModelProto) -> None:
    """Store weights in half precision that a mixed-precision graph casts before use, and look-up tables."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def halved(name: str) -> str:
        half = f"{name}.fp16"
        if half not in weights:
            weights[half] = from_array(to_array(weights[name]).astype(np.float16), half)
        return half

    nodes, made = [], {}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in weights and node.attribute[0].i == TensorProto.FLOAT16:
            made[node.output[0]] = halved(node.input[0])
            continue
        node.input[:] = [made.get(name, name) for name in node.input]
        nodes.append(node)
        table = weights.get(node.input[0]) if node.op_type == "Gather" else None
        if table is not None and table.data_type == TensorProto.FLOAT and len(table.dims) == 2:
            found = node.output[0]
            node.input[0], node.output[0] = halved(table.name), f"{found}.fp16"
            nodes.append(make_node("Cast", [f"{found}.fp16"], [found], to=TensorProto.FLOAT))
    used = {name for node in nodes for name in node.input}
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensor for name, tensor in weights.items() if name in used)


def stored_in_half(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose large fp32 weights are stored in half precision, and cast to fp32 once, when a session is opened."""
    casts, model = [], onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < LARGE_WEIGHT:
            continue
        full, half = tensor.name, f"{tensor.name}{HALF}"
        tensor.CopyFrom(from_array(to_array(tensor).astype(np.float16), half))
        casts.append(make_node("Cast", [half], [full], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def normalise_in_full(model: onnx.ModelProto) -> None:
    """Compute layer normalisation of half-precision values with full-precision weights in full precision, as torch does."""
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    nodes = []
    for node in model.graph.node:
        if node.op_type != "LayerNormalization" or types.get(node.input[0]) != TensorProto.FLOAT16:
            nodes.append(node)
            continue
        inner, outer = f"{node.output[0]}.in", node.output[0]
        nodes.append(make_node("Cast", [node.input[0]], [inner], to=TensorProto.FLOAT))
        node.input[0], node.output[0] = inner, f"{outer}.out"
        nodes += [node, make_node("Cast", [f"{outer}.out"], [outer], to=TensorProto.FLOAT16)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def stored_in_bytes(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose large fp32 matrices are stored in 8 bits, and made fp32 again once, when a session is opened.

    Each has a scale for every row, or for every column of a weight that is stored transposed, so that embeddings do not depend
    on their batch, as they do where activations are quantised.
    """
    nodes, model = [], onnx.ModelProto()
    model.CopyFrom(graph)
    for tensor in list(model.graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < LARGE_WEIGHT or len(tensor.dims) != 2:
            continue
        name, weight = tensor.name, to_array(tensor)
        scale = np.maximum(np.abs(weight).max(axis=0 if name.endswith(".T") else 1, keepdims=True), 1e-12) / 127
        tensor.CopyFrom(from_array(np.round(weight / scale).astype(np.int8), f"{name}{BYTES}"))
        model.graph.initializer.append(from_array(scale.astype(np.float32), f"{name}{SCALE}"))
        nodes += [
            make_node("Cast", [f"{name}{BYTES}"], [f"{name}.whole"], to=TensorProto.FLOAT),
            make_node("Mul", [f"{name}.whole", f"{name}{SCALE}"], [name]),
        ]
    rest = [*nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(rest)
    return model


BYTES, SCALE = ".int8", ".int8_scale"
"""Suffixes of the names of weights that are stored in 8 bits, and of their scales."""
LARGE_WEIGHT = 1024
"""Number of values from which a weight is stored in half precision."""
HALF = ".fp16"
"""Suffix of the names of weights that are stored in half precision."""


class _Calibration:
    """Clips as a CalibrationDataReader of ONNX Runtime."""

    def __init__(self, clips: Sequence[np.ndarray]) -> None:
        self._clips = iter(clips)

    def get_next(self) -> dict[str, np.ndarray] | None:
        clip = next(self._clips, None)
        return None if clip is None else pad_clips([clip])


def quantise(path: Path, clips: Sequence[np.ndarray] = ()) -> None:
    """Quantise an fp32 graph to 8 bits in place; inputs and outputs stay in fp32.

    Weights of matrix products and look-up tables get a scale for each channel. Scales of activations are computed at run time
    (dynamic quantisation), so that an embedding depends slightly on its batch, or fitted to `clips` (static quantisation). The
    front end stays in fp32. Weights have 7 bits, so that processors without VNNI compute the same numbers.

    Args:
        path: an ONNX file.
        clips: float32 [samples] each, mono at 16 kHz; only for a speech graph.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

    model = onnx.load(str(path))
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    save_graph(model, path)
    smaller = path.with_name(f"int8-{path.name}")
    settings = {
        "op_types_to_quantize": ["MatMul", "Gemm", "Gather"],
        "per_channel": True,
        "reduce_range": True,
        "weight_type": QuantType.QInt8,
        "nodes_to_exclude": _before_the_weights(model),
    }
    logging.disable(logging.WARNING)  # advice to run a preprocessing that does not help here
    try:
        if len(clips):
            quantize_static(path, smaller, _Calibration(clips), extra_options=CALIBRATED, **settings)
        else:
            quantize_dynamic(path, smaller, **settings)
    finally:
        logging.disable(logging.NOTSET)
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    smaller.replace(path)


def _before_the_weights(model: onnx.ModelProto) -> list[str]:
    """Return the names of nodes that depend on no learned weight: masks, levels, the mel front end."""
    learned = {
        tensor.name
        for tensor in model.graph.initializer
        if tensor.name.startswith(("speech_", "text_")) and ".mel." not in tensor.name
    }
    before = []
    for node in model.graph.node:
        if learned.isdisjoint(node.input):
            before.append(node.name)
        else:
            learned.update(node.output)
    return before
