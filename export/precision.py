"""Graphs in half precision for GPUs and in 8 bits for CPUs."""

from pathlib import Path

import onnx

from export.graphs import save_graph

PRECISIONS = ("fp32", "fp16", "int8")
KEPT_IN_FP32 = ("ReduceSum", "ReduceMean", "ReduceL2", "Pow", "Sqrt", "Log", "Exp", "Softmax", "LayerNormalization", "Clip")
"""Sums over time, norms and exponents: what half precision would overflow or round away."""


def convert(path: Path, precision: str) -> None:
    """Rewrites an fp32 graph as fp16 or int8, in place; inputs and outputs stay as they are.

    fp16: everything after the first layer with learned weights, but for KEPT_IN_FP32; what prepares the waveform stays
    in fp32. int8: weights of matrix products and of look-up tables, a scale a channel, activations scaled as they come
    (dynamic quantisation); weights have 7 bits, so that processors without VNNI give the same numbers.
    """
    if precision == "fp16":
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

        model = onnx.load(str(path))
        _name_nodes(model)
        blocked = [*DEFAULT_OP_BLOCK_LIST, *KEPT_IN_FP32]
        half = convert_float_to_float16(
            model,
            keep_io_types=True,
            disable_shape_infer=True,
            op_block_list=blocked,
            node_block_list=_before_the_weights(model),
        )
        save_graph(half, path)
    elif precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        smaller = path.with_name(f"int8-{path.name}")
        quantize_dynamic(
            path, smaller, ["MatMul", "Gemm", "Gather"], per_channel=True, reduce_range=True, weight_type=QuantType.QInt8
        )
        path.with_name(f"{path.name}.data").unlink(missing_ok=True)
        smaller.replace(path)


def _name_nodes(model: onnx.ModelProto) -> None:
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{number}"


def _before_the_weights(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes whose values depend on no learned weight: masks, levels, the mel front end."""
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
