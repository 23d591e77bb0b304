"""Speech and text halves of a dual encoder as ONNX graphs with dynamic batch and time."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx.numpy_helper import from_array, to_array
from torch import Tensor, cat, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from voxdex.encoders.model_card import PHONEMES, SPEECH, TEXT
from voxdex.encoders.networks.campplus import SpeakerNetwork
from voxdex.encoders.networks.dual_encoder import DualEncoder
from voxdex.encoders.networks.scraps import PhonemeTower, acoustic_tower
from voxdex.export.precision import (
    COMPACT,
    MAX_BYTES,
    halve_weights,
    normalise_in_full,
    quantise,
    save_graph,
    stored_in_bytes,
    stored_in_half,
)

OPSET = 20
Graphs = dict[str, onnx.ModelProto]
"""Graphs by file name."""


class Graph(nn.Module):
    """A half of a network. side: the beginning of the names of its weights."""

    side = "speech_"

    def __init__(self, network: DualEncoder) -> None:
        super().__init__()
        self.network = network


class SpeakerGraph(nn.Module):
    """waveform float32 [1, samples] -> embedding float32 [1, dimension]."""

    side = "\0"  # weights that were folded into others are left out

    def __init__(self, network: SpeakerNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor) -> Tensor:
        return self.network(waveform)


class SpeechGraph(Graph):
    """waveform float32 [batch, samples], lengths int64 [batch] -> embedding float32 [batch, dimension]."""

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.network.embed_speech(waveform, lengths)


class PhoneticSpeechGraph(Graph):
    """As SpeechGraph, with the output log_probs: of phonemes in each frame, float32 [batch, frames, vocabulary]."""

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        tower = acoustic_tower(self.network)
        heard = tower.listen(waveform, lengths)
        return self.network.project_speech(tower.pool(heard.states, heard.weights)), heard.log_probs


class TextGraph(Graph):
    """input_ids, attention_mask int64 [batch, tokens] -> embedding float32 [batch, dimension]."""

    side = "text_"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network.embed_text(input_ids, attention_mask)


class PhonemeGraph(Graph):
    """As TextGraph, for phonemes, with the output states: float32 [batch, tokens, hidden]."""

    side = "text_"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        tower = self.network.text_tower
        assert isinstance(tower, PhonemeTower)
        states = tower.states(input_ids, attention_mask)
        return self.network.project_text(tower.pool(states, attention_mask)), states


def trace_graphs(network: DualEncoder, *, half: bool = False) -> Graphs:
    """Trace speech.onnx and text.onnx of a network, or speech.onnx and phonemes.onnx of a phonetic one.

    Initializers of fp32 graphs have the names of the network's weights, with .T where they are transposed. `half` is torch's
    mixed precision: products and convolutions in fp16; sums, norms and the front end in fp32. The network is modified in place
    by fold().
    """
    fold(network.eval())
    batch, samples, tokens = (torch.export.Dim(name) for name in ("batch", "samples", "tokens"))
    waveform, lengths = 0.1 * torch.randn(3, 40_000), torch.tensor([40_000, 16_000, 23_456])
    ids, mask = torch.randint(3, 30, (3, 12)), torch.ones(3, 12, dtype=torch.int64)
    shapes = ({0: batch, 1: samples}, {0: batch})
    sound, text = {"waveform": waveform, "lengths": lengths}, {"input_ids": ids, "attention_mask": mask}
    text_shapes = ({0: batch, 1: tokens},) * 2
    if not isinstance(network.text_tower, PhonemeTower):
        return {
            SPEECH: trace(SpeechGraph(network), sound, shapes, half=half),
            TEXT: trace(TextGraph(network), text, text_shapes, half=half),
        }
    return {
        SPEECH: trace(PhoneticSpeechGraph(network), sound, shapes, ("embedding", "log_probs"), half=half),
        PHONEMES: trace(PhonemeGraph(network), text, text_shapes, ("embedding", "states"), half=half),
    }


def write_graphs(
    graphs: Graphs,
    folder: Path,
    precision: str = "fp32",
    max_bytes: int = MAX_BYTES,
    calibration: Sequence[np.ndarray] = (),
) -> None:
    """Write graphs into an existing folder; those over `max_bytes` with NAME.data beside.

    Graphs are quantised for int8 and int8-static. For compact, the speech graph's weights are stored in half precision, those
    of the other graph in 8 bits. calibration: clips that calibrate the speech graph for int8-static.
    """
    for name, whole in graphs.items():
        smaller = stored_in_half if name == SPEECH else stored_in_bytes
        save_graph(smaller(whole) if precision == COMPACT else whole, folder / name, max_bytes)
        if precision.startswith("int8"):
            quantise(folder / name, calibration if name == SPEECH else ())


def trace(
    graph: Graph | SpeakerGraph,
    inputs: dict[str, Tensor],
    dynamic: tuple[dict[int, Any], ...],
    outputs: tuple[str, ...] = ("embedding",),
    *,
    half: bool = False,
) -> onnx.ModelProto:
    """Trace a graph.

    Args:
        graph: the module.
        inputs: example of each input, by name.
        dynamic: the dimensions of each input that vary.
        outputs: names of the outputs.
        half: trace torch's mixed precision.
    """
    with _quiet(), torch.autocast("cpu", torch.float16, enabled=half):
        program = torch.onnx.export(
            graph,
            tuple(inputs.values()),
            input_names=list(inputs),
            output_names=[f"result_{name}" for name in outputs],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    if half:
        normalise_in_full(model)
        halve_weights(model)
    names = {name: f"inner_{name}" for name in outputs if name not in inputs}  # operators may have these names
    names |= {f"result_{name}": name for name in outputs}
    names |= _weight_names(graph, model)
    for tensor in model.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces of the exporting machine
        node.doc_string = ""
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    for output, name in zip(model.graph.output, outputs, strict=True):
        output.name = name
    del model.graph.value_info[:]
    known = {tensor.name.removesuffix(".T") for tensor in model.graph.initializer}
    for name, weight in graph.network.state_dict().items():
        if not half and name.startswith(graph.side) and name not in known:  # folded into others: training continues from it
            model.graph.initializer.append(from_array(weight.detach().cpu().float().numpy(), name))
    return model


def _weight_names(graph: nn.Module, model: onnx.ModelProto) -> dict[str, str]:
    """Map initializers to the names of the weights that they are equal to, or the transpose of."""
    weights = dict(graph.named_parameters()) | dict(graph.named_buffers())
    transposed: dict[tuple[int, ...], list[tuple[str, Tensor]]] = {}
    for name, weight in weights.items():
        if weight.ndim == 2:
            transposed.setdefault(tuple(weight.T.shape), []).append((name, weight))
    names = {}
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            names[tensor.name] = tensor.name.removeprefix("network.")
        elif len(tensor.dims) == 2:
            array = torch.from_numpy(to_array(tensor).copy())
            for name, weight in transposed.get(tuple(tensor.dims), ()):
                if torch.equal(weight.T.cpu(), array):
                    names[tensor.name] = name.removeprefix("network.") + ".T"
                    break
    return names


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's logs and warnings about its internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class FrameProduct(nn.Module):
    """A strided convolution, layer normalisation and activation of transformers, as one product for each frame.

    ONNX Runtime runs products in 8 bits on CPUs, and on GPUs without planning for every length; and normalisation over
    channels needs no transposing where they come last.

    Args:
        convolution, layer_norm, activation: of a layer of a feature extractor.
    """

    def __init__(self, convolution: nn.Conv1d, layer_norm: nn.LayerNorm, activation: nn.Module) -> None:
        super().__init__()
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.matrix = nn.Parameter(convolution.weight.detach().permute(2, 1, 0).flatten(0, 1).contiguous())
        self.bias, self.layer_norm, self.activation = convolution.bias, layer_norm, activation

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, frames] -> [batch, channels, fewer frames]."""
        x, reach = x.transpose(1, 2), x.shape[2] - self.kernel + 1
        windows = cat([x[:, i : i + reach : self.stride] for i in range(self.kernel)], dim=2)
        found = windows @ self.matrix
        return self.activation(self.layer_norm(found if self.bias is None else found + self.bias)).transpose(1, 2)


def fold(network: DualEncoder) -> None:
    """Rewrites a network in place: weight norms become weights, convolutions of frames products."""
    for module in list(network.modules()):
        if is_parametrized(module, "weight"):
            remove_parametrizations(module, "weight")
    extractor = getattr(getattr(network.speech_tower, "model", None), "feature_extractor", None)
    if extractor is None:
        return
    for place, layer in enumerate(extractor.conv_layers):
        if isinstance(getattr(layer, "layer_norm", None), nn.LayerNorm) and hasattr(layer, "conv"):
            extractor.conv_layers[place] = FrameProduct(layer.conv, layer.layer_norm, layer.activation)
