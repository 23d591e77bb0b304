"""Indexing on a Ray cluster of this machine. Slow to start; needs the ray extra."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.qdrant.double import qdrant_double
from voxdex.indexer.pipeline.decoder import RecordingDone
from voxdex.indexer.pipeline.embedder import EmbeddedClip
from voxdex.indexer.pipeline.ray import LONE_CORE, ActorPlan, _in_order, plan_actors
from voxdex.indexer.store.base import CLIP, KIND, RECORDING, Point, StoreError
from voxdex.indexer.store.edge import EdgeStore

SURE = ("kind", "content", "start", "end", "measured", "attributes", "clips", "failure", "origin", "phonetic")
"""Payload keys that depend neither on the order of copies nor on batches."""


def points(index: Path) -> dict[str, Point]:
    with EdgeStore.open(index) as store:
        return {point.id: point for kind in (CLIP, RECORDING) for point in store.points({KIND: kind})}


def assert_alike(one: dict[str, Point], other: dict[str, Point]) -> None:
    assert one.keys() == other.keys()
    for id, point in one.items():
        assert [point.payload.get(name) for name in SURE] == [other[id].payload.get(name) for name in SURE]
        assert sorted(point.payload.get("files", ())) == sorted(other[id].payload.get("files", ()))
        for vector, same in ((point.vector, other[id].vector), (point.phonetic_vector, other[id].phonetic_vector)):
            assert vector is same is None or np.allclose(vector, same, atol=2e-3)


def test_recordings_are_emitted_when_complete():
    spans = [EmbeddedClip("a", i, i + 1, None, None, {}, None, 0.0) for i in range(3)]
    done, other = RecordingDone("a", None, "x", None), RecordingDone("b", None, "y", None)
    told = list(_in_order([(done, 3), (spans[1], 1), (other, 0), (spans[0], 0), (spans[2], 2)]))
    assert told == [spans[1], other, spans[0], spans[2], done]


@pytest.mark.parametrize(
    ("machines", "device", "expected"),
    [
        ([{"CPU": 8, "GPU": 2}], "auto", ActorPlan(6, 2, 0, 1, "auto")),
        ([{"CPU": 8}, {"CPU": 4, "GPU": 1}], "cuda", ActorPlan(11, 1, 0, 1, "cuda")),
        ([{"CPU": 8, "GPU": 2}], "cpu", ActorPlan(4, 4, 1, 0, "cpu:1")),
        ([{"CPU": 8}], "auto", ActorPlan(4, 4, 1, 0, "cpu:1")),
        ([{"CPU": 8}, {"CPU": 8}], "cpu:4", ActorPlan(8, 2, 4, 0, "cpu:4")),
        ([{"CPU": 2}], "cpu:2", ActorPlan(1, 1, 1, 0, "cpu:2")),
        ([{"CPU": 1}], "auto", ActorPlan(1, 1, LONE_CORE, 0, "cpu:1")),
    ],
)
def test_plan_actors_by_device(machines, device, expected):
    plan = plan_actors(machines, device)
    assert plan == expected
    cores = plan.decoders * (LONE_CORE if plan.cores == LONE_CORE else 1) + plan.embedders * plan.cores
    assert cores <= sum(machine["CPU"] for machine in machines)


@pytest.mark.parametrize(
    ("machines", "device", "reason"),
    [
        ([{"CPU": 8}], "cuda", "the Ray cluster has no GPU"),
        ([{"CPU": 8}], "cuda:0", "the Ray cluster has no GPU"),
        ([{"CPU": 8, "GPU": 2}], "cuda:0,1", "Ray assigns its GPUs itself"),
        ([{"CPU": 2}, {"CPU": 2}], "cpu:4", "has more than 2 cores"),
    ],
)
def test_missing_devices(machines, device, reason):
    with pytest.raises(StoreError, match=reason):
        plan_actors(machines, device)


def test_missing_ray(here, demo_archive, monkeypatch):
    class Without:
        """An import finder that hides Ray."""

        def find_spec(name, path=None, target=None):
            if name == "ray":
                raise ModuleNotFoundError("No module named 'ray'", name="ray")

    for name in [name for name in sys.modules if name.split(".")[0] == "ray"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without, *sys.meta_path])
    refused = here("index", demo_archive, "--backend", "ray")
    assert refused.status == 2 and "ray]" in refused.err


@pytest.mark.slow
def test_ray_index_equals_local_index(voxdex, demo_archive, tmp_path):
    pytest.importorskip("ray", reason="Ray comes with the ray and test extras")
    archive = tmp_path / "archive"
    shutil.copytree(demo_archive, archive)
    shutil.copy(next(archive.glob("*.wav")), archive / "copy.wav")
    (archive / "broken.wav").write_bytes(b"no sound")
    first, alone = tmp_path / "ray", tmp_path / "alone"
    told = [voxdex("index", archive, "--index", alone, "--phonetic", "--json")]
    told.append(
        voxdex("index", archive, "--index", first, "--phonetic", "--backend", "ray", "--ray-address", "local", "--json")
    )
    assert [each.status for each in told] == [1, 1], told[1].err
    reports = [each.json for each in told]
    for field in ("recordings", "indexed", "unchanged", "clips", "failed", "damaged", "without_speech"):
        assert reports[0][field] == reports[1][field]
    assert reports[0]["audio_seconds"] == pytest.approx(reports[1]["audio_seconds"])
    assert_alike(points(alone), points(first))
    (archive / "later.wav").write_bytes((archive / "copy.wav").read_bytes()[:60_000])
    again = voxdex(
        "index", archive, "--index", first, "--phonetic", "--backend", "ray", "--ray-address", "local", "--json"
    ).json
    assert (again["indexed"], again["unchanged"]) == (1, reports[0]["indexed"] + reports[0]["unchanged"])


@pytest.mark.slow
def test_unreachable_cluster(voxdex, demo_archive):
    pytest.importorskip("ray", reason="Ray comes with the ray and test extras")
    refused = voxdex("index", demo_archive, "--backend", "ray", "--ray-address", "127.0.0.1:9")
    assert refused.status == 2 and "no Ray cluster at '127.0.0.1:9'" in refused.err and "Traceback" not in refused.err


@pytest.mark.slow
def test_cluster_without_a_gpu_refuses_cuda(voxdex, demo_archive):
    pytest.importorskip("ray", reason="Ray comes with the ray and test extras")
    refused = voxdex("index", demo_archive, "--backend", "ray", "--ray-address", "local", "--device", "cuda")
    assert refused.status == 2 and "the Ray cluster has no GPU" in refused.err and "Traceback" not in refused.err


@pytest.mark.slow
def test_ray_writes_to_a_server(voxdex, demo_archive):
    pytest.importorskip("ray", reason="Ray comes with the ray and test extras")
    with qdrant_double() as double:
        done = voxdex("index", demo_archive, "--url", double.url, "--backend", "ray", "--ray-address", "local", "--json")
        assert done.status == 0, done.err
        assert voxdex("status", "--url", double.url, "--json").json["clips"] == done.json["clips"] > 0
