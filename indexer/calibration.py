"""Calibration of predicted labels on an index's own archive: offsets of scores, which language and recordings shift."""

from collections import defaultdict
from collections.abc import Callable
from itertools import islice

import numpy as np

from voxdex.encoders.model import Model
from voxdex.encoders.zero_shot import PLAIN, AttributeTagger, Calibration, Prediction
from voxdex.indexer.store.base import CLIP, KIND, Payload, Point, Store, identity

CALIBRATION = "calibration"
"""Kind of the point that holds the calibration."""
SAMPLE_CLIPS = 1000
"""Clips of the sample that offsets are estimated from."""
GROWTH = 1.5
"""Factor by which an index has grown when it is calibrated again."""
BATCH_CLIPS = 1000
"""Clips whose labels are predicted at a time."""


def read_calibration(store: Store) -> Calibration:
    """Return the calibration of an index; PLAIN for an index that has none."""
    payload: Payload | None = next(store.payloads(CALIBRATION, ("offsets", "clips")), None)
    return Calibration(payload["offsets"], payload["clips"]) if payload else PLAIN


def write_calibration(store: Store, calibration: Calibration) -> None:
    """Store the calibration of an index."""
    payload = {KIND: CALIBRATION, "offsets": calibration.offsets, "clips": calibration.clips, "space": store.space}
    store.upsert([Point(identity(f"{CALIBRATION}@{store.space}"), None, payload)])


def calibrate(store: Store, model: Model) -> bool:
    """Calibrate an index that has grown by half since it was calibrated last, without embedding anything again.

    The labels of calibrated attributes are predicted again from the stored vectors, for all clips. Return whether it was done.
    """
    former, clips = read_calibration(store), store.count(CLIP)
    if clips < GROWTH * max(1, former.clips):
        return False
    tagger = AttributeTagger(model)
    tagger.calibration = tagger.calibrated(store.sample_vectors(SAMPLE_CLIPS), clips)
    if names := tagger.calibration.offsets.keys():
        predict_again(store, lambda vectors: tagger(vectors, names))
    write_calibration(store, tagger.calibration)
    return True


def predict_again(store: Store, predict: Callable[[np.ndarray], list[dict[str, Prediction]]]) -> None:
    """Store predictions for all clips, from their stored vectors. predict: [clips, dimension] -> predictions by name."""
    points = iter(store.points({KIND: CLIP}))
    while batch := list(islice(points, BATCH_CLIPS)):
        changes: dict[tuple[str, str, str | float], list[str]] = defaultdict(list)
        predicted = predict(np.array([point.vector for point in batch], np.float32))
        for point, predictions in zip(batch, predicted, strict=True):
            for name, each in predictions.items():
                changes["attributes", name, each.label].append(point.id)
                changes["probabilities", name, each.probability].append(point.id)
        for (key, name, value), ids in changes.items():
            store.update_payload(ids, key, {name: value})
