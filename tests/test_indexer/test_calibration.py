"""Calibration of predicted labels on the archive of an index."""

import shutil

import numpy as np
import pytest

from tests.fakes.qdrant.double import qdrant_double
from voxdex.encoders.zero_shot import PLAIN, AttributeTagger
from voxdex.indexer.calibration import GROWTH, calibrate, read_calibration
from voxdex.indexer.index import index
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.maintenance import copy_index
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.base import CLIP, KIND
from voxdex.indexer.store.edge import EdgeStore
from voxdex.search.classify import classify_index, label_sets


@pytest.fixture(params=["folder", "server"])
def new_store(request, tmp_path, mini):
    """An empty index in a folder or on a server."""
    if request.param == "folder":
        with EdgeStore.create(tmp_path / "index", mini.card.space, "mini", mini.card.dimension) as store:
            yield store
        return
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import connect
    from voxdex.indexer.store.qdrant_server import ServerStore

    with (
        qdrant_double() as double,
        ServerStore.create(connect(double.url), "voices", mini.card.space, "mini", mini.card.dimension) as store,
    ):
        yield store


def stored(store) -> dict[str, tuple[str, float]]:
    """Return the stored emotion of each clip, and its probability."""
    return {
        point.id: (point.payload["attributes"]["emotion"], point.payload["probabilities"]["emotion"])
        for point in store.points({KIND: CLIP})
    }


def predicted(store, model, calibration) -> dict[str, tuple[str, float]]:
    """Return the emotion of each clip as predicted from its vector."""
    points = list(store.points({KIND: CLIP}))
    predictions = AttributeTagger(model, calibration)(np.array([point.vector for point in points]), {"emotion"})
    return {
        point.id: (each["emotion"].label, each["emotion"].probability) for point, each in zip(points, predictions, strict=True)
    }


def test_stored_labels_are_calibrated_on_the_archive(new_store, mini, demo_archive):
    index(find_recordings([demo_archive]), new_store, mini)
    calibration = read_calibration(new_store)
    assert calibration.clips == new_store.count() >= 20 and any(calibration.offsets["emotion"].values())
    assert set(calibration.offsets) == {"emotion"}
    assert stored(new_store) == predicted(new_store, mini, calibration) != predicted(new_store, mini, PLAIN)
    classified = {
        (clip.recording, clip.start): clip.label("emotion")
        for clip in classify_index(mini, new_store, label_sets(mini, ["emotion"]))
    }
    clips = {(point.payload["recording"], point.payload["start"]): point for point in new_store.points({KIND: CLIP})}
    assert classified == {key: point.payload["attributes"]["emotion"] for key, point in clips.items()}
    assert new_store.facet("emotion") == {label: list(classified.values()).count(label) for label in set(classified.values())}


def test_an_index_is_calibrated_again_when_it_has_grown_by_half(tmp_path, store, mini, demo_archive, monkeypatch):
    archive = tmp_path / "archive"
    archive.mkdir()
    files = sorted(demo_archive.iterdir())
    for file in files[:24]:
        shutil.copy(file, archive)
    index(find_recordings([archive]), store, mini)
    first = read_calibration(store)
    for file in files[24:28]:
        shutil.copy(file, archive)
    index(find_recordings([archive]), store, mini)
    assert read_calibration(store) == first and store.count() < GROWTH * first.clips
    assert stored(store) == predicted(store, mini, first), "new clips have the calibration of the index"
    for file in files[28:]:
        shutil.copy(file, archive)
    index(find_recordings([archive]), store, mini)
    assert store.count() >= GROWTH * first.clips
    second = read_calibration(store)
    assert second.clips == store.count() and second != first and stored(store) == predicted(store, mini, second)
    monkeypatch.setattr(type(mini), "embed_speech", lambda *_: pytest.fail("nothing is embedded again"))
    assert not calibrate(store, mini)


def test_copies_of_an_index_have_its_calibration(tmp_path, library):
    with EdgeStore.open(library / "indexes" / "default") as store:
        target = LocalIndex(tmp_path / "copy")
        copy_index(store, target)
        with target.open() as copy:
            assert read_calibration(copy) == read_calibration(store) != PLAIN and stored(copy) == stored(store)
