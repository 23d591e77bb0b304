"""Stores with four clips, embedded and on the double of a server."""

import uuid
from contextlib import contextmanager

import numpy as np
import pytest

from tests.fakes.qdrant.double import qdrant_double
from voxdex.indexer.store.base import Point
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter

PEOPLE = [("anna", "female", 31, 2.0), ("ben", "male", 45, 4.0), ("cleo", "female", 62, 6.0), ("dan", "male", None, 8.0)]
RECORDED = {"anna": "2018-12-31", "ben": "2019-05-03", "cleo": "2021-12-31 23:59:59"}


def edge_store(folder):
    return EdgeStore.create(folder / "index", "space", "mini", 4)


@contextmanager
def server_store(folder):
    """A store on the double of a server."""
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import connect
    from voxdex.indexer.store.qdrant_server import ServerStore

    with qdrant_double() as double, ServerStore.create(connect(double.url), "voices", "space", "mini", 4) as store:
        yield store


def fill_store(store):
    fields = {
        "metadata.speaker": "text",
        "metadata.age": "number",
        "metadata.gender": "text",
        "metadata.recorded": "date",
        "recording": "text",
        "attributes.gender": "text",
        "attributes.pitch": "text",
        "measured.pitch_hz": "number",
        "duration": "number",
    }
    store.ensure_fields(fields)
    points = []
    for number, (speaker, gender, age, duration) in enumerate(PEOPLE):
        metadata = {"speaker": speaker} | ({"age": float(age)} if age else {})
        metadata |= {"recorded": RECORDED[speaker]} if speaker in RECORDED else {}
        payload = {
            "kind": "clip",
            "content": speaker,
            "metadata": metadata,
            "recording": f"/archive/{'interviews' if number % 2 else 'tapes'}/{speaker} 1.wav",
            "attributes": {"gender": gender, "pitch": "high" if gender == "female" else "low"},
            "measured": {"pitch_hz": 100.0 + 50 * number},
            "duration": duration,
        }
        points.append(Point(str(uuid.uuid4()), np.eye(4, dtype=np.float32)[number], payload))
    store.upsert(points)
    return store


def matching_speakers(store, *conditions):
    hits = store.query(np.array([4, 3, 2, 1], np.float32), 10, parse_filter(*conditions))
    return [hit.payload["metadata"]["speaker"] for hit in hits]
