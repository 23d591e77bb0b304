"""Indexing into and searching in a Qdrant server, over HTTP against a double of it."""

import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from tests.qdrant_double import qdrant_double
from tests.sounds import voice, write_sound


@pytest.fixture
def double():
    with qdrant_double() as double:
        yield double


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for i, f0 in enumerate((95, 110, 220, 240)):
        write_sound(folder / f"{i}.wav", voice(1.5, f0, seed=i))
    return folder


def test_an_archive_is_indexed_searched_and_brought_up_to_date(voxdex, audio, double):
    server = ("--url", double.url, "--collection", "voices")
    assert voxdex("search", "a man", *server).status == 2
    first = voxdex("index", audio, *server, "--json")
    assert (first.status, first.json["indexed"], first.json["clips"]) == (0, 4, 4), first.err
    here = voxdex("index", audio, "--json").json
    assert (here["indexed"], here["space"]) == (4, first.json["space"])
    remote, local = (voxdex("search", "a man", *place, "--json").json["hits"] for place in (server, ()))
    assert [(hit["recording"], hit["score"]) for hit in remote] == [
        (hit["recording"], pytest.approx(hit["score"], abs=1e-4)) for hit in local
    ]
    chosen = voxdex("search", "a man", *server, "--where", "duration>1", "--where", "pitch=high,low,medium", "--json")
    assert len(chosen.json["hits"]) == 4
    (audio / "0.wav").unlink()
    again = voxdex("index", audio, *server, "--prune", "--json").json
    assert (again["unchanged"], again["removed"]) == (3, 1)
    said = voxdex("status", *server, "--json").json
    assert (said["recordings"], said["clips"]) == (3, 3)


def test_a_server_that_is_away_for_a_while_is_waited_for(voxdex, audio, double):
    double.failing = 3
    done = voxdex("index", audio, "--url", double.url, "--json")
    assert done.status == 0 and done.json["indexed"] == 4
    assert "does not answer" in done.err and "Traceback" not in done.err


def test_two_machines_share_an_archive(voxdex, audio, double):
    parts = [voxdex("index", audio, "--url", double.url, "--shard", f"{i}/2", "--json").json for i in (1, 2)]
    assert sum(part["indexed"] for part in parts) == 4
    assert all(part["recordings"] == part["indexed"] for part in parts)
    refused = voxdex("index", audio, "--url", double.url, "--shard", "3/2")
    assert refused.status == 2 and "--shard" in refused.err


def test_an_index_goes_to_a_server_and_back(process, voxdex, audio, double):
    voxdex("index", audio)
    assert process("push", "--url", double.url).status == 0
    local, remote = (voxdex("search", "a woman", *place, "--json").json["hits"] for place in ((), ("--url", double.url)))
    assert [hit["recording"] for hit in local] == [hit["recording"] for hit in remote]
    assert process("pull", "--url", double.url, "--index", "back").status == 0
    assert voxdex("index", audio, "--index", "back", "--json").json["unchanged"] == 4
    before = len(double.requests)
    assert "0 copied" in voxdex("push", "--url", double.url).out
    assert not any(request.startswith("PUT") and "points" in request for request in double.requests[before:])
