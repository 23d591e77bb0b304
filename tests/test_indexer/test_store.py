"""Operations of every store: scores, facets, discovery and sampling."""

import uuid
from collections import Counter

import numpy as np
import pytest
import qdrant_edge as edge

from tests.fakes.stores import edge_store
from voxdex.indexer.store.base import DiscoveryQuery, Point, StoreError
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError


def test_scores_are_cosines(any_store):
    hit = any_store.query(np.array([3, 4, 0, 0], np.float32), 1)[0]
    assert hit.score == pytest.approx(0.8)


def test_facets(any_store):
    assert any_store.facet("gender") == {"female": 2, "male": 2}
    assert any_store.facet("gender", parse_filter("duration>2")) == {"female": 1, "male": 2}
    any_store.set_payload({"content": "ben"}, {"metadata": {"speaker": "ben", "gender": "unknown"}})
    assert any_store.facet("gender") == {"female": 2, "male": 1, "unknown": 1}
    with pytest.raises(FilterError, match="'age' is a number"):
        any_store.facet("age")


@pytest.mark.parametrize(("optimised", "few"), [((), 1000), ((1, 3), 1000), ((1, 3), 50)])
def test_facets_after_changes(tmp_path, monkeypatch, optimised, few):
    monkeypatch.setattr("voxdex.indexer.store.edge.FEW", few)
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.OPTIMISERS", edge.EdgeOptimizersConfig(indexing_threshold=1))
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 500)
    rng, expected = np.random.default_rng(0), {}
    conditions = {
        "duration>0": lambda clip: True,
        "duration<3": lambda clip: clip["duration"] < 3,
        "not path~b": lambda clip: clip["recording"] != "b",
        "path~nowhere": lambda clip: False,
    }
    with edge_store(tmp_path) as store:
        store.ensure_fields({"recording": "text", "duration": "number", "metadata.speaker": "text"})
        for turn in range(5):
            written = [*rng.choice(list(expected), 60, replace=False)] if expected else []
            for id in [*written, *(str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(200))]:
                clip = {"kind": "clip", "content": str(rng.integers(90)), "recording": "abc"[rng.integers(3)]}
                expected[id] = clip | {"duration": rng.uniform(1, 9), "metadata": {"speaker": f"s{rng.integers(9)}"}}
            store.upsert([Point(id, rng.normal(size=4).astype(np.float32), clip) for id, clip in expected.items()])
            for content in rng.choice(90, 20, replace=False):
                changes = {"metadata": {"speaker": f"t{turn}"}, "recording": "d"}
                store.set_payload({"content": str(content)}, changes)
                for clip in (clip for clip in expected.values() if clip["content"] == str(content)):
                    clip |= changes
            store.delete({"content": str(turn)})
            expected = {id: clip for id, clip in expected.items() if clip["content"] != str(turn)}
            if turn in optimised:
                store.optimise()
            for condition, meets in conditions.items():
                found = store.facets(["speaker", "path"], parse_filter(condition))
                clips = list(filter(meets, expected.values()))
                assert found["speaker"] == Counter(clip["metadata"]["speaker"] for clip in clips)
                assert found["path"] == Counter(clip["recording"] for clip in clips)


def test_discovery_query(any_store):
    anna, _, cleo, dan = np.eye(4, dtype=np.float32)
    found = any_store.query(DiscoveryQuery(np.array([4, 3, 2, 1], np.float32), [(cleo + dan, anna)]), 4)
    assert [hit.payload["content"] for hit in found][:2] == ["cleo", "dan"]
    assert found[2].payload["content"] == "ben" and found[3].payload["content"] == "anna"


def test_sample_and_retrieve(any_store):
    hits = any_store.query(np.ones(4, np.float32), 4, vectors=True)
    sample = any_store.sample_vectors(3)
    assert (
        sample.shape == (3, 4) and (sample == any_store.sample_vectors(3)).all() and any_store.sample_vectors(9).shape == (4, 4)
    )
    [point] = any_store.retrieve([hits[2].id, str(uuid.uuid4())])
    assert point.id == hits[2].id and (point.vector == hits[2].vector).all() and point.payload == hits[2].payload


def test_vectors_with_nan_are_refused_as_a_whole(any_store):
    good = Point(str(uuid.uuid4()), np.ones(4, np.float32), {"kind": "clip", "content": "x"})
    bad = Point(str(uuid.uuid4()), np.full(4, np.nan, np.float32), {"content": "y"})
    with pytest.raises(StoreError, match="not numbers"):
        any_store.upsert([good, bad])
    assert any_store.count() == 4
