"""A trained network, or a published checkpoint -> a model folder that any ONNX runtime opens, checked against torch."""

from voxdex.export.package import About, ExportError, write_model
from voxdex.export.parity import Parity
from voxdex.export.run import export_run

__all__ = ["About", "ExportError", "Parity", "export_run", "write_model"]
