"""Speech and text halves of a dual encoder as ONNX graphs with dynamic batch and time."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.numpy_helper import to_array
from torch import Tensor, nn

from voxdex.encoders.model_card import PHONEMES, SPEECH, TEXT
from voxdex.encoders.networks.dual_encoder import DualEncoder
from voxdex.encoders.networks.phoneme_tower import PhonemeTower
from voxdex.export.folding import fold
from voxdex.export.graph_files import MOST_BYTES, save_graph
from voxdex.export.precision import halve_weights, normalise_in_full, quantise

OPSET = 20
Graphs = dict[str, onnx.ModelProto]
"""By the names of their files."""


class SpeechGraph(nn.Module):
    """waveform float32 [batch, samples], lengths int64 [batch] -> embedding float32 [batch, dimension]."""

    def __init__(self, network: DualEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.network.embed_speech(waveform, lengths)


class UtteranceGraph(SpeechGraph):
    """As SpeechGraph -> embedding, and log_shares of phonemes, float32 [batch, frames, vocabulary]."""

    def forward(self, waveform: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        tower = self.network.speech_tower
        heard = tower.listen(waveform, lengths)
        return self.network.project_speech(tower.pool(heard.states, heard.weights)), heard.log_shares


class TextGraph(nn.Module):
    """input_ids, attention_mask int64 [batch, tokens] -> embedding float32 [batch, dimension]."""

    def __init__(self, network: DualEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network.embed_text(input_ids, attention_mask)


class PhonemesGraph(TextGraph):
    """As TextGraph, of phonemes -> embedding, and states float32 [batch, tokens, hidden]."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        tower = self.network.text_tower
        states = tower.states(input_ids, attention_mask)
        return self.network.project_text(tower.pool(states, attention_mask)), states


def trace_graphs(network: DualEncoder, half: bool = False) -> Graphs:
    """The graphs speech.onnx and text.onnx of a network; of one for phonemes, speech.onnx and phonemes.onnx.

    Initializers of fp32 graphs have the names of the network's weights, with .T where they are transposed. Half is torch's
    mixed precision: products and convolutions in half, sums, norms and what prepares the waveform in fp32. The network is
    rewritten by fold().
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
            SPEECH: _trace(SpeechGraph(network), sound, shapes, half),
            TEXT: _trace(TextGraph(network), text, text_shapes, half),
        }
    return {
        SPEECH: _trace(UtteranceGraph(network), sound, shapes, half, ("embedding", "log_shares")),
        PHONEMES: _trace(PhonemesGraph(network), text, text_shapes, half, ("embedding", "states")),
    }


def write_graphs(
    graphs: Graphs,
    folder: Path,
    precision: str = "fp32",
    most_bytes: int = MOST_BYTES,
    calibration: Sequence[np.ndarray] = (),
) -> None:
    """Writes graphs into a folder that exists; past `most_bytes`, with NAME.data beside each.

    fp32 and fp16 are written as they were traced, int8 and int8-static, for which speech is calibrated with clips, as
    quantise makes them of fp32.
    """
    for name, graph in graphs.items():
        save_graph(graph, folder / name, most_bytes)
        if precision.startswith("int8"):
            quantise(folder / name, calibration if name == SPEECH else ())


def _trace(
    graph: nn.Module,
    inputs: dict[str, Tensor],
    dynamic: tuple[dict, ...],
    half: bool,
    outputs: tuple[str, ...] = ("embedding",),
) -> onnx.ModelProto:
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
    model = program.model_proto
    if half:
        normalise_in_full(model)
        halve_weights(model)
    names = {name: f"inner_{name}" for name in outputs if name not in inputs}  # operators may be named so
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
    return model


def _weight_names(graph: nn.Module, model: onnx.ModelProto) -> dict[str, str]:
    """The network's own names for the initializers that are its weights, also for those that the exporter transposed."""
    weights = dict(graph.named_parameters()) | dict(graph.named_buffers())
    transposed = {}
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
def _quiet():
    """Keeps the exporter's remarks to itself: they are about its own internals."""
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
