"""Graphs on disk."""

from pathlib import Path

import onnx

MOST_BYTES = 1_900_000_000
"""Larger graphs keep their weights in a file of their own: one of protobuf's messages cannot pass 2 GB."""


def save_graph(model: onnx.ModelProto, path: Path, most_bytes: int = MOST_BYTES) -> None:
    """Writes a graph, with its weights in PATH.data where it is larger than `most_bytes`, and checks it."""
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > most_bytes
    data = path.with_name(f"{path.name}.data")
    data.unlink(missing_ok=True)
    if large:  # writing takes the weights out of what is written
        whole, model = model, onnx.ModelProto()
        model.CopyFrom(whole)
    onnx.save(model, str(path), save_as_external_data=large, location=data.name if large else None)
    onnx.checker.check_model(str(path))
