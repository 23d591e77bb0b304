"""Embedded stores: opening, locking, persistence, the search graph and a full disk."""

import json
import subprocess
import sys
import uuid

import numpy as np
import pytest
import qdrant_edge as edge

from tests.fakes.stores import edge_store, fill_store, matching_speakers
from voxdex.indexer.store.base import FORMAT, Point, StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.edge_engine import DEFERRED
from voxdex.indexer.store.filter_parser import parse_filter


@pytest.fixture
def store(tmp_path):
    with edge_store(tmp_path) as store:
        yield fill_store(store)


@pytest.fixture
def deferred_store(tmp_path, monkeypatch):
    """A store whose fields are not indexed yet."""
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 2)
    with edge_store(tmp_path) as store:
        yield fill_store(store)


def test_points_persist(store, tmp_path):
    store.close()
    with EdgeStore.open(tmp_path / "index") as again:
        assert matching_speakers(again, "gender=male") == ["ben", "dan"]
        assert (again.space, again.model) == ("space", "mini")
        again.delete({"content": "ben"})
        assert matching_speakers(again, "gender=male") == ["dan"]


def test_fields_persist_before_and_after_they_are_indexed(deferred_store, tmp_path):
    store, schema = deferred_store, deferred_store.schema()
    assert list((tmp_path / "index").glob(f"shard-*/{DEFERRED}"))
    for step in (EdgeStore.flush, lambda again: again.facet("gender"), EdgeStore.optimise):
        store.close()
        with EdgeStore.read(tmp_path / "index", for_long=True) as copy:
            assert copy.schema() == schema and copy.facet("speaker", parse_filter("duration>4")) == {"cleo": 1, "dan": 1}
        store = EdgeStore.open(tmp_path / "index")
        step(store)
        assert store.schema() == schema and matching_speakers(store, "recorded:2019..2021 and not path~tapes") == ["ben"]
    store.close()


def test_second_process_is_refused(store, tmp_path):
    code = "import sys, pathlib; from voxdex.indexer.store.edge import EdgeStore; EdgeStore.open(pathlib.Path(sys.argv[1]))"
    second = subprocess.run([sys.executable, "-c", code, str(tmp_path / "index")], capture_output=True, text=True)
    assert "in use by another Voxdex process" in second.stderr
    store.upsert([Point(str(uuid.uuid4()), np.ones(4, np.float32), {"kind": "clip", "content": "x"})])
    store.close()
    with EdgeStore.open(tmp_path / "index") as again:
        assert again.count() == 5


def test_errors_of_opening(tmp_path):
    with pytest.raises(StoreError, match=r"no index at .*voxdex index"):
        EdgeStore.open(tmp_path / "nothing")
    broken = tmp_path / "broken"
    broken.mkdir()
    for content in ("{", "[]", "{}", "\udcff"):
        (broken / "index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(StoreError, match="cannot be read"):
            EdgeStore.open(broken)
    (broken / "index.json").write_text(json.dumps({"format": 99, "space": "s", "model": "m"}))
    with pytest.raises(StoreError, match="format 99"):
        EdgeStore.open(broken)
    (broken / "index.json").write_text(json.dumps({"format": FORMAT, "space": "s", "model": "m"}))
    with pytest.raises(StoreError, match=r"shard-\w+, which it names, is not there"):
        EdgeStore.open(broken)
    EdgeStore.create(tmp_path / "emptied", "s", "m", 4).close()
    for file in (tmp_path / "emptied").glob("shard-*/segments/*/segment.json"):
        file.unlink()
    with pytest.raises(StoreError, match="engine failed"), EdgeStore.open(tmp_path / "emptied") as store:
        store.count()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        EdgeStore.create(tmp_path / "file" / "index", "s", "m", 4)


def test_create_refuses_an_existing_index(tmp_path):
    with EdgeStore.create(tmp_path / "index", "space", "mini", 4) as store:
        assert store.count() == 0
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(tmp_path / "index", "space", "mini", 4)
    EdgeStore.open(tmp_path / "index").close()


def test_graph_search_agrees_with_exact_search(tmp_path, monkeypatch):
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.OPTIMISERS", edge.EdgeOptimizersConfig(indexing_threshold=1))
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.GRAPH", {"m": 8, "ef_construct": 64, "full_scan_threshold": 1})
    vectors = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    with EdgeStore.create(tmp_path / "index", "space", "mini", 8) as store:
        store.upsert(
            [
                Point(str(uuid.uuid4()), vector, {"kind": "clip", "recording": str(place)})
                for place, vector in enumerate(vectors)
            ]
        )
        scanned = [[hit.id for hit in store.query(vector, 10)] for vector in vectors[:50]]
        store.optimise()
        walked = [[hit.id for hit in store.query(vector, 10)] for vector in vectors[:50]]
    assert np.mean([len(set(one) & set(other)) for one, other in zip(scanned, walked, strict=True)]) > 9.5
    with EdgeStore.open(tmp_path / "index") as store:
        assert [hit.id for hit in store.query(vectors[0], 10)] == walked[0] and store.count() == 3000


def test_full_disk_stops_writing_without_loss(tmp_path, monkeypatch):
    point = Point(str(uuid.uuid4()), np.eye(4, dtype=np.float32)[0], {"kind": "clip", "recording": "a"})
    with EdgeStore.create(tmp_path / "index", "space", "mini", 4) as store:
        store.upsert([point])
        monkeypatch.setattr("voxdex.indexer.store.files.LEAST_FREE", 1 << 60)
        with pytest.raises(StoreError, match=r"only \d+ MB left.*run the same command again"):
            store.upsert([point])
        with pytest.raises(StoreError, match="MB left"):
            EdgeStore.create(tmp_path / "other", "space", "mini", 4)
    with EdgeStore.open(tmp_path / "index") as store:
        assert store.count() == 1
