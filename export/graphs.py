"""Speech and text halves of a dual encoder as ONNX graphs with dynamic batch and time."""

import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from encoders.model_folder import SPEECH, TEXT
from encoders.networks import DualEncoder

OPSET = 20


class SpeechGraph(nn.Module):
    """waveform float32 [batch, samples], lengths int64 [batch] -> embedding float32 [batch, dimension]."""

    def __init__(self, network: DualEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, waveform: Tensor, lengths: Tensor) -> Tensor:
        return self.network.embed_speech(waveform, lengths)


class TextGraph(nn.Module):
    """input_ids, attention_mask int64 [batch, tokens] -> embedding float32 [batch, dimension]."""

    def __init__(self, network: DualEncoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.network.embed_text(input_ids, attention_mask)


def export_graphs(network: DualEncoder, folder: Path) -> None:
    """Writes speech.onnx and text.onnx (fp32) into a folder that exists."""
    network = network.eval()
    batch, samples, tokens = (torch.export.Dim(name) for name in ("batch", "samples", "tokens"))
    waveform, lengths = 0.1 * torch.randn(3, 40_000), torch.tensor([40_000, 16_000, 23_456])
    ids, mask = torch.randint(3, 100, (3, 12)), torch.ones(3, 12, dtype=torch.int64)
    _export(
        SpeechGraph(network), {"waveform": waveform, "lengths": lengths}, ({0: batch, 1: samples}, {0: batch}), folder / SPEECH
    )
    _export(TextGraph(network), {"input_ids": ids, "attention_mask": mask}, ({0: batch, 1: tokens},) * 2, folder / TEXT)


def _export(graph: nn.Module, inputs: dict[str, Tensor], dynamic: tuple[dict, ...], path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["result"],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model = onnx.load(str(path))
    names = {"embedding": "looked_up", "result": "embedding"}  # the exporter names inner values after their operators
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces of the exporting machine
        node.doc_string = ""
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    model.graph.output[0].name = "embedding"
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
