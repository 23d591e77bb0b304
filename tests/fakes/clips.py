"""Labelled clips without sound."""

import numpy as np

from voxdex.encoders.training.data.dataset import Clips, truth_of


def labelled(
    rows: list[dict[str, str]], captions: list[tuple[str, ...]] | None = None, source: list[int] | None = None
) -> Clips:
    """Clips without sound, with the truth of these manifest rows."""
    none = np.zeros(len(rows), dtype=int)
    truth = np.stack([truth_of(row) for row in rows])
    return Clips((), none, none, np.array(source or none), truth, captions or [()] * len(rows), rows)
