"""Indexes on a Qdrant server, by the commands: index, search, reindex, push and pull."""

import os
import signal
import subprocess
import sys

import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from tests.conftest import ROOT
from tests.fakes.qdrant.double import collection_config, collection_names
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.location import ServerIndex


def test_index_search_and_update_on_a_server(voxdex, four_recordings, qdrant):
    server = qdrant.options()
    assert voxdex("search", "a man", *server).status == 2
    first = voxdex("index", four_recordings, *server, "--json")
    assert (first.status, first.json["indexed"], first.json["clips"]) == (0, 4, 4), first.err
    here = voxdex("index", four_recordings, "--json").json
    assert (here["indexed"], here["space"]) == (4, first.json["space"])
    remote, local = (voxdex("search", "a man", *place, "--json").json["hits"] for place in (server, ()))
    assert [(hit["recording"], hit["score"]) for hit in remote] == [
        (hit["recording"], pytest.approx(hit["score"], abs=1e-4)) for hit in local
    ]
    chosen = voxdex("search", "a man", *server, "--where", "duration>1", "--where", "pitch=high,low,medium", "--json")
    assert len(chosen.json["hits"]) == 4
    (four_recordings / "0.wav").unlink()
    again = voxdex("index", four_recordings, *server, "--prune", "--json").json
    assert (again["unchanged"], again["removed"]) == (3, 1)
    said = voxdex("status", *server, "--json").json
    assert (said["recordings"], said["clips"]) == (3, 3)


def test_two_partitions_of_an_archive(voxdex, four_recordings, qdrant):
    server = qdrant.options()
    parts = [voxdex("index", four_recordings, *server, "--partition", f"{i}/2", "--json").json for i in (1, 2)]
    assert sum(part["indexed"] for part in parts) == 4
    assert all(part["recordings"] == part["indexed"] for part in parts)
    refused = voxdex("index", four_recordings, *server, "--partition", "3/2")
    assert refused.status == 2 and "--partition" in refused.err


def test_push_and_pull(process, voxdex, four_recordings, qdrant):
    server = qdrant.options()
    voxdex("index", four_recordings)
    assert process("push", *server).status == 0
    local, remote = (voxdex("search", "a woman", *place, "--json").json["hits"] for place in ((), server))
    assert [hit["recording"] for hit in local] == [hit["recording"] for hit in remote]
    assert process("pull", *server, "--index", "back").status == 0
    assert voxdex("index", four_recordings, "--index", "back", "--json").json["unchanged"] == 4
    before = len(qdrant.double.requests) if qdrant.double else 0
    assert "0 copied" in voxdex("push", *server).out
    if qdrant.double:
        assert not any(request.startswith("PUT") and "points" in request for request in qdrant.double.requests[before:])


def stopped_at(double, number, command):
    """Run a command and kill it at its n-th write of points: whether it was still running."""
    process = subprocess.Popen(
        [sys.executable, ROOT / "cli.py", *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    changes = 0

    def count(request):
        nonlocal changes
        changes += request.startswith("PUT") and request.endswith("/points")
        if changes == number:
            os.killpg(process.pid, signal.SIGKILL)

    double.on_request = count
    process.communicate()
    double.on_request = lambda request: None
    return process.returncode == -signal.SIGKILL


def describe_index(here, server):
    """Space, recordings, clips and phonetic space of an index, and the number of hits of a filter on metadata."""
    said = here("status", *server, "--json").json
    found = here("search", "a man", *server, "--where", "speaker=Anna", "--json").json["hits"]
    return said["space"].split(":")[0], said["recordings"], said["clips"], said["phonetic"] != "", len(found)


def test_killed_reindex_is_resumed(voxdex, here, four_recordings, double, other_model):
    server = ("--url", double.url)
    (four_recordings.parent / "people.csv").write_text("path,speaker\n0.wav,Anna\n3.wav,Anna\n")
    assert (
        here("index", four_recordings, *server, "--phonetic", "--metadata", four_recordings.parent / "people.csv").status == 0
    )
    before = describe_index(here, server)
    assert before[1:] == (4, 4, True, 2)
    for number in (1, 2, 1):
        assert stopped_at(double, number, ["reindex", "--model", other_model, *server])
        assert describe_index(here, server) == before
    (four_recordings / "1.wav").rename(four_recordings / "1.bak")
    (four_recordings / "1.wav").write_bytes(b"no sound" * 100)
    refused = here("reindex", "--model", other_model, *server)
    assert refused.status == 2 and "1.wav" in refused.err and "It stays as it was" in refused.err
    assert describe_index(here, server) == before
    (four_recordings / "1.bak").rename(four_recordings / "1.wav")
    done = here("reindex", "--model", other_model, *server, "--json")
    assert done.status == 0, done.err
    assert describe_index(here, server) == ("other@7", 4, 4, True, 2)
    assert len(collection_names(double)) == 1


def test_reindex_adds_phonetic_embeddings_on_a_server(here, four_recordings, double):
    server = ("--url", double.url)
    assert here("index", four_recordings, *server).status == 0
    refused = here("index", four_recordings, *server, "--phonetic")
    assert refused.status == 2 and "voxdex reindex --phonetic" in refused.err
    assert stopped_at(double, 3, ["reindex", "--phonetic", *server])
    assert not here("status", *server, "--json").json["phonetic"]
    done = here("reindex", "--phonetic", *server, "--json")
    assert (done.status, done.json["recordings"]) == (0, 4), done.err
    assert here("status", *server, "--json").json["phonetic"] and len(collection_names(double)) == 1
    again = here("index", four_recordings, *server, "--phonetic", "--json").json
    assert (again["unchanged"], again["indexed"]) == (4, 0)
    same = here("reindex", "--phonetic", *server)
    assert same.status == 2 and "already" in same.err


def test_reindex_adds_phonetic_embeddings_to_an_embedded_index(here, four_recordings):
    assert here("index", four_recordings).status == 0
    assert here("reindex").status == 2
    done = here("reindex", "--phonetic", "--json")
    assert (done.status, done.json["indexed"]) == (0, 4), done.err
    said = here("status", "--json").json
    assert said["phonetic"] and said["clips"] == 4 and said["versions"]["qdrant-edge"]


def test_mirror_drops_pruned_recordings(here, four_recordings, qdrant):
    server = qdrant.options()
    here("index", four_recordings)
    assert here("push", *server, "--json").json == {"recordings": 4, "copied": 4, "clips": 4, "dropped": 0}
    (four_recordings / "0.wav").unlink()
    here("index", four_recordings, "--prune")
    assert here("push", *server, "--json").json == {"recordings": 3, "copied": 0, "clips": 0, "dropped": 0}
    assert here("push", *server, "--mirror", "--json").json == {"recordings": 3, "copied": 0, "clips": 0, "dropped": 1}
    said = here("status", *server, "--json").json
    assert (said["recordings"], said["clips"]) == (3, 3) and said["versions"]["Qdrant"]
    here("index", four_recordings / "1.wav", "--index", "one")
    pulled = here("pull", *server, "--index", "one", "--json").json
    assert pulled["copied"] == 3, "two that are new, and one whose labels were calibrated on another archive"
    here("push", *server, "--index", "one", "--mirror")
    assert here("pull", *server, "--index", "one", "--mirror", "--json").json["dropped"] == 0


def test_shards_and_replicas_of_new_collections(here, four_recordings, double, other_model):
    server = ("--url", double.url)
    here("index", four_recordings)
    for number, command in enumerate((["push"], ["reindex", "--model", other_model]), start=2):
        assert here(*command, *server, "--qdrant-shards", number, "--qdrant-replicas", 1).status == 0
        [name] = collection_names(double)
        assert collection_config(double, name)["params"]["shard_number"] == number
    refused = here("index", four_recordings, "--qdrant-shards", 3)
    assert refused.status == 2 and "--url" in refused.err


def test_index_within_the_limits_of_a_hosted_server(here, four_recordings, double):
    double.limits = {
        "max_query_limit": 100, "search_max_hnsw_ef": 256, "search_max_oversampling": 2.0, "max_payload_index_count": 20,
        "unindexed_filtering_retrieve": False, "unindexed_filtering_update": False, "upsert_max_batchsize": 50,
    }  # fmt: skip
    server = ("--url", double.url)
    (four_recordings.parent / "people.csv").write_text("path,speaker,session\n0.wav,Anna,3\n3.wav,Ben,4\n")
    done = here("index", four_recordings, *server, "--phonetic", "--metadata", four_recordings.parent / "people.csv")
    assert done.status == 0, done.err
    for condition, count in (("session=3", 1), ("speaker~an*", 1), ("path~2.wav", 1), ("duration>1", 4), ("not session=3", 3)):
        found = here("search", "a man", *server, "--where", condition, "--json")
        assert found.status == 0 and len(found.json["hits"]) == count, (condition, found.err)
    found = here("search", "a man", *server, "--facet", "speaker", "--group-by", "speaker", "--json")
    assert found.status == 0 and "Anna" in found.out
    assert here("status", *server, "--json").json["clips"] == 4
    assert here("index", four_recordings, *server, "--phonetic", "--json").json["unchanged"] == 4


def test_liked_and_disliked_without_a_caption(here, four_recordings, qdrant):
    for place in ((), qdrant.options()):
        here("index", four_recordings, *place)
        first = here("search", "a man", *place, "--json").json["hits"]
        found = here("search", *place, "--more", "@1", "--less", "@4", "--json")
        assert found.status == 0 and found.json["hits"][0]["id"] == first[0]["id"], found.err
        assert found.json["hits"][-1]["id"] == first[3]["id"]


def test_cached_statistics_on_a_server(here, four_recordings, double, monkeypatch):
    server = ("--url", double.url)
    here("index", four_recordings, *server)
    requests = len(double.requests)
    before = here("status", *server, "--json").json
    assert (before["recordings"], before["missing"]) == (4, 0)
    assert not any("scroll" in request for request in double.requests[requests:])
    (four_recordings / "0.wav").unlink()
    assert here("status", *server, "--json").json["missing"] == 1
    with ServerIndex(double.url, "voxdex").open() as other:
        other.delete({"content": next(other.payloads("recording", ["content"]))["content"]})
    assert here("status", *server, "--json").json["recordings"] == 3
    assert here("index", four_recordings, *server, "--json").json["recordings"] == 3
    monkeypatch.setattr("voxdex.indexer.store.qdrant_server.MOST_CACHED", 400)
    write_sound(four_recordings / "new.wav", voice(1.5, 130, seed=9))
    here("index", four_recordings, *server)
    said = here("status", *server, "--json").json
    assert said["recordings"] == here("status", *server, "--check-files", "--json").json["recordings"]
    assert here("status", *server, "--check-files", "--json").json["missing"] is not None
