"""A trained network -> a model folder that any ONNX runtime opens, with a report that it agrees with torch.

python -m export RUN --card card.json --out encoders/models/mini
"""

from export.graphs import OPSET, export_graphs
from export.parity import Parity, measure_parity

__all__ = ["OPSET", "Parity", "export_graphs", "measure_parity"]
