"""Indexing into and searching in a Qdrant server, over HTTP: in that of QDRANT_URL, or a double of it."""

import os
import re
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from socketserver import BaseRequestHandler, ThreadingTCPServer

import httpx
import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from tests.conftest import ROOT
from tests.fakes.qdrant.double import qdrant_double
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.location import ServerIndex
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.filters import MATCH_ALL
from voxdex.web.index_reader import IndexReader


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for i, f0 in enumerate((95, 110, 220, 240)):
        write_sound(folder / f"{i}.wav", voice(1.5, f0, seed=i))
    return folder


def test_an_archive_is_indexed_searched_and_brought_up_to_date(voxdex, audio, qdrant):
    server = qdrant.options()
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
    assert "is not ready (starting): waiting" in done.err and "It answers again." in done.err and "Traceback" not in done.err


def test_two_machines_share_an_archive(voxdex, audio, qdrant):
    server = qdrant.options()
    parts = [voxdex("index", audio, *server, "--partition", f"{i}/2", "--json").json for i in (1, 2)]
    assert sum(part["indexed"] for part in parts) == 4
    assert all(part["recordings"] == part["indexed"] for part in parts)
    refused = voxdex("index", audio, *server, "--partition", "3/2")
    assert refused.status == 2 and "--partition" in refused.err


def test_an_index_goes_to_a_server_and_back(process, voxdex, audio, qdrant):
    server = qdrant.options()
    voxdex("index", audio)
    assert process("push", *server).status == 0
    local, remote = (voxdex("search", "a woman", *place, "--json").json["hits"] for place in ((), server))
    assert [hit["recording"] for hit in local] == [hit["recording"] for hit in remote]
    assert process("pull", *server, "--index", "back").status == 0
    assert voxdex("index", audio, "--index", "back", "--json").json["unchanged"] == 4
    before = len(qdrant.double.requests) if qdrant.double else 0
    assert "0 copied" in voxdex("push", *server).out
    if qdrant.double:
        assert not any(request.startswith("PUT") and "points" in request for request in qdrant.double.requests[before:])


def collections(double):
    return [found["name"] for found in httpx.get(f"{double.url}/collections").json()["result"]["collections"]]


def config(double, collection):
    return httpx.get(f"{double.url}/collections/{collection}").json()["result"]["config"]


def stopped_at(double, number, command):
    """Runs a command and kills it when it makes so many changes of points; whether it was still running then."""
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


def holds(here, server):
    """What an index says of itself: its space, recordings and clips, and what a condition on metadata finds."""
    said = here("status", *server, "--json").json
    found = here("search", "a man", *server, "--where", "speaker=Anna", "--json").json["hits"]
    return said["space"].split(":")[0], said["recordings"], said["clips"], said["phonetic"] != "", len(found)


def test_a_reindex_that_is_stopped_loses_nothing_and_goes_on(voxdex, here, audio, double, other_model):
    server = ("--url", double.url)
    (audio.parent / "people.csv").write_text("path,speaker\n0.wav,Anna\n3.wav,Anna\n")
    assert here("index", audio, *server, "--phonetic", "--metadata", audio.parent / "people.csv").status == 0
    before = holds(here, server)
    assert before[1:] == (4, 4, True, 2)
    for number in (1, 2, 1):
        assert stopped_at(double, number, ["reindex", "--model", other_model, *server])
        assert holds(here, server) == before
    (audio / "1.wav").rename(audio / "1.bak")
    (audio / "1.wav").write_bytes(b"no sound" * 100)
    refused = here("reindex", "--model", other_model, *server)
    assert refused.status == 2 and "1.wav" in refused.err and "It stays as it was" in refused.err
    assert holds(here, server) == before
    (audio / "1.bak").rename(audio / "1.wav")
    done = here("reindex", "--model", other_model, *server, "--json")
    assert done.status == 0, done.err
    assert holds(here, server) == ("other@7", 4, 4, True, 2)
    assert len(collections(double)) == 1


def test_what_is_said_is_added_to_an_index_on_a_server(here, audio, double):
    server = ("--url", double.url)
    assert here("index", audio, *server).status == 0
    refused = here("index", audio, *server, "--phonetic")
    assert refused.status == 2 and "voxdex reindex --phonetic" in refused.err
    assert stopped_at(double, 3, ["reindex", "--phonetic", *server])
    assert not here("status", *server, "--json").json["phonetic"]
    done = here("reindex", "--phonetic", *server, "--json")
    assert (done.status, done.json["recordings"]) == (0, 4), done.err
    assert here("status", *server, "--json").json["phonetic"] and len(collections(double)) == 1
    again = here("index", audio, *server, "--phonetic", "--json").json
    assert (again["unchanged"], again["indexed"]) == (4, 0)
    same = here("reindex", "--phonetic", *server)
    assert same.status == 2 and "already" in same.err


def test_what_is_said_is_added_to_an_embedded_index_by_reindex_too(here, audio):
    assert here("index", audio).status == 0
    assert here("reindex").status == 2
    done = here("reindex", "--phonetic", "--json")
    assert (done.status, done.json["indexed"]) == (0, 4), done.err
    said = here("status", "--json").json
    assert said["phonetic"] and said["clips"] == 4 and said["versions"]["qdrant-edge"]


def test_a_mirror_drops_what_was_pruned_at_home(here, audio, qdrant):
    server = qdrant.options()
    here("index", audio)
    assert here("push", *server, "--json").json == {"recordings": 4, "copied": 4, "clips": 4, "dropped": 0}
    (audio / "0.wav").unlink()
    here("index", audio, "--prune")
    assert here("push", *server, "--json").json == {"recordings": 3, "copied": 0, "clips": 0, "dropped": 0}
    assert here("push", *server, "--mirror", "--json").json == {"recordings": 3, "copied": 0, "clips": 0, "dropped": 1}
    said = here("status", *server, "--json").json
    assert (said["recordings"], said["clips"]) == (3, 3) and said["versions"]["Qdrant"]
    here("index", audio / "1.wav", "--index", "one")
    assert here("pull", *server, "--index", "one", "--json").json["copied"] == 2
    here("push", *server, "--index", "one", "--mirror")
    assert here("pull", *server, "--index", "one", "--mirror", "--json").json["dropped"] == 0


def test_shards_and_replicas_are_of_what_is_made(here, audio, double, other_model):
    server = ("--url", double.url)
    here("index", audio)
    for number, command in enumerate((["push"], ["reindex", "--model", other_model]), start=2):
        assert here(*command, *server, "--qdrant-shards", number, "--qdrant-replicas", 1).status == 0
        [name] = collections(double)
        assert config(double, name)["params"]["shard_number"] == number
    refused = here("index", audio, "--qdrant-shards", 3)
    assert refused.status == 2 and "--url" in refused.err


def test_another_node_is_asked_where_one_is_down(here, audio, double):
    other = double.node()
    nodes = ("--url", double.url, "--url", other.url)
    assert here("index", audio, *nodes).status == 0
    double.down = True
    assert len(here("search", "a man", *nodes, "--json").json["hits"]) == 4
    write_sound(audio / "new.wav", voice(1.5, 130, seed=9))
    assert here("index", audio, *nodes, "--json").json["indexed"] == 1
    other.down = True
    away = here("search", "a man", *nodes)
    assert away.status == 2 and "does not answer" in away.err


def test_a_node_that_goes_away_during_a_run_is_replaced_by_another(here, audio, double):
    other, seen = double.node(), []

    def fail(request):
        seen.append(request)
        double.down = sum(request.endswith("/points") for request in seen) > 2

    double.on_request = fail
    done = here("index", audio, "--url", double.url, "--url", other.url, "--json")
    assert (done.status, done.json["indexed"]) == (0, 4) and double.down


@pytest.mark.parametrize("command", [["search", "a man"], ["status"], ["index", "."], ["pull", "--index", "back"]])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:80x", "is no address of a Qdrant server"),
        ("grpc://127.0.0.1:6334", "is no address of a Qdrant server"),
        ("http://a b:6333", "is no address of a Qdrant server"),
        ("http://me:secret@localhost:6333", "no name or password in it"),
        ("", "is no address"),
    ],
)
def test_what_is_no_address_is_refused_at_once(here, command, url, reason):
    refused = here(*command, "--url", url)
    assert refused.status == 2 and reason in refused.err and "Traceback" not in refused.err


def test_an_address_may_leave_out_what_goes_without_saying(here, audio, double):
    port = double.url.rpartition(":")[2]
    assert here("index", audio, "--url", f"localhost:{port}").status == 0
    assert here("status", "--url", f"127.0.0.1:{port}/", "--json").json["clips"] == 4


def refused(here, *command, status=2):
    """The one sentence that a command ends with."""
    done = here(*command)
    assert done.status == status and "Traceback" not in done.err and "b'" not in done.err and "{" not in done.err, done.err
    return done.err.strip().splitlines()[-1]


def test_a_server_that_does_not_answer_is_named(here, audio, double):
    double.down = True
    for command in (
        ["search", "a man"],
        ["status"],
        ["index", audio, "--patience", 0.5],
        ["reindex", "--model", "mini", "--patience", 0],
    ):
        said = refused(here, *command, "--url", double.url)
        assert f"The Qdrant server at {double.url} does not answer" in said and "(--url)" in said


def test_a_server_that_says_nothing_is_named(here, audio, double):
    here("index", audio, "--url", double.url)
    double.silent = True
    assert f"{double.url} does not answer (it says nothing)" in refused(here, "search", "a man", "--url", double.url)
    double.silent = False


def test_keys_are_asked_for_in_words(here, audio, double, monkeypatch):
    double.api_key, double.read_key = "secret", "reader"
    server = ("--url", double.url)
    assert "asks for a key" in refused(here, "status", *server)
    assert "does not accept the key" in refused(here, "status", *server, "--api-key", "wrong")
    assert "copy it again" in refused(here, "status", *server, "--api-key", "schlüssel")
    done = here("index", audio, *server, "--api-key", "secret")
    assert done.status == 0 and "UserWarning" not in done.err and "can be read" not in done.err
    monkeypatch.setenv("VOXDEX_API_KEY", "reader")
    assert here("status", *server, "--json").json["clips"] == 4
    assert len(here("search", "a man", *server, "--json").json["hits"]) == 4
    write_sound(audio / "new.wav", voice(1.5, 130, seed=9))
    assert "does not allow this with the key" in refused(here, "index", audio, *server)


def test_a_key_that_others_can_read_on_its_way_is_told_of_once(here):
    said = here("status", "--url", "http://nowhere.invalid:6333", "--api-key", "secret").err
    assert said.count("is sent unencrypted") == 1 and "cannot be found" in said


def test_a_certificate_of_ones_own_is_named(here, audio, tmp_path, monkeypatch):
    with qdrant_double(tls=tmp_path) as double:
        said = refused(here, "status", "--url", double.url)
        assert "certificate" in said and "SSL_CERT_FILE" in said
        monkeypatch.setenv("SSL_CERT_FILE", str(double.certificate))
        assert here("index", audio, "--url", double.url).status == 0
    with qdrant_double() as double:
        assert "write its address as http://" in refused(here, "status", "--url", double.url.replace("http:", "https:"))

    class Alert(BaseRequestHandler):
        def handle(self):
            self.request.recv(100)
            self.request.sendall(b"\x15\x03\x03\x00\x02\x02\x46")  # as a port for https answers plain http

    with ThreadingTCPServer(("127.0.0.1", 0), Alert) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        said = refused(here, "status", "--url", f"http://127.0.0.1:{other.server_address[1]}")
        other.shutdown()
    assert "write its address as https://" in said


def test_a_full_disk_and_a_server_of_another_kind_are_named(here, audio, double):
    here("index", audio, "--url", double.url)
    double.full = True
    write_sound(audio / "new.wav", voice(1.5, 130, seed=9))
    assert f"The disk of the Qdrant server at {double.url} is full" in refused(here, "index", audio, "--url", double.url)
    double.full = False
    assert here("index", audio, "--url", double.url, "--json").json["indexed"] == 1

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        said = refused(here, "status", "--url", f"http://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert "not Qdrant's" in said and "--url" in said


def test_a_server_that_limits_requests_is_waited_for(here, audio, double):
    double.rate, double.retry_after = 3, 1
    assert here("index", audio, "--url", double.url, "--json").json["indexed"] == 4
    double.rate, double.retry_after = 5, 60
    assert "allows no more requests" in refused(here, "search", "a man", "--url", double.url)


def test_an_index_is_used_within_the_limits_of_a_hosted_server(here, audio, double):
    double.limits = {
        "max_query_limit": 100, "search_max_hnsw_ef": 256, "search_max_oversampling": 2.0, "max_payload_index_count": 20,
        "unindexed_filtering_retrieve": False, "unindexed_filtering_update": False, "upsert_max_batchsize": 50,
    }  # fmt: skip
    server = ("--url", double.url)
    (audio.parent / "people.csv").write_text("path,speaker,session\n0.wav,Anna,3\n3.wav,Ben,4\n")
    done = here("index", audio, *server, "--phonetic", "--metadata", audio.parent / "people.csv")
    assert done.status == 0, done.err
    for condition, count in (("session=3", 1), ("speaker~an*", 1), ("path~2.wav", 1), ("duration>1", 4), ("not session=3", 3)):
        found = here("search", "a man", *server, "--where", condition, "--json")
        assert found.status == 0 and len(found.json["hits"]) == count, (condition, found.err)
    found = here("search", "a man", *server, "--facet", "speaker", "--group-by", "speaker", "--json")
    assert found.status == 0 and "Anna" in found.out
    assert here("status", *server, "--json").json["clips"] == 4
    assert here("index", audio, *server, "--phonetic", "--json").json["unchanged"] == 4


def test_liked_and_disliked_need_no_caption(here, audio, qdrant):
    for place in ((), qdrant.options()):
        here("index", audio, *place)
        first = here("search", "a man", *place, "--json").json["hits"]
        found = here("search", *place, "--liked", "@1", "--disliked", "@4", "--json")
        assert found.status == 0 and found.json["hits"][0]["id"] == first[0]["id"], found.err
        assert found.json["hits"][-1]["id"] == first[3]["id"]


def test_what_is_served_follows_an_index_that_takes_over(here, audio, double, other_model):
    server = ("--url", double.url)
    here("index", audio, *server)
    place = ServerIndex(double.url, "voxdex")
    library = IndexReader(place, "cpu", lambda name, count: None)
    with library.opened() as opened:
        assert opened.store.space.startswith("mini@")
    here("reindex", "--model", other_model, *server)
    library.refresh()
    with library.opened() as opened:
        assert opened.store.space.startswith("other@7") and opened.model.card.name == "other" and opened.clips == 4
        assert opened.values(["gender"], MATCH_ALL)
    double.down = True
    library.refresh()
    with library.opened() as opened, pytest.raises(StoreError, match="does not answer"):
        opened.store.count()
    double.down = False
    library.refresh()
    with library.opened() as opened:
        assert opened.store.count() == 4
    library.close()


def test_the_server_that_is_pinned_fits_the_client_that_is_installed():
    pinned = re.search(r"qdrant/qdrant:v(\d+)\.(\d+)", (ROOT / "docker-compose.yml").read_text()).groups()
    installed = version("qdrant-client").split(".")[:2]
    assert pinned[0] == installed[0] and abs(int(pinned[1]) - int(installed[1])) <= 1


def test_what_runs_have_counted_is_remembered_until_something_is_written(here, audio, double, monkeypatch):
    server = ("--url", double.url)
    here("index", audio, *server)
    before = here("status", *server, "--json").json
    assert (before["recordings"], before["missing"]) == (4, 0)
    assert not any("scroll" in request for request in double.requests[-8:])
    (audio / "0.wav").unlink()
    assert here("status", *server, "--json").json["missing"] == 1
    with ServerIndex(double.url, "voxdex").open() as other:
        other.delete({"content": next(other.payloads("recording", ["content"]))["content"]})
    assert here("status", *server, "--json").json["recordings"] == 3
    assert here("index", audio, *server, "--json").json["recordings"] == 3
    monkeypatch.setattr("voxdex.indexer.store.qdrant_server.MOST_CACHED", 400)
    write_sound(audio / "new.wav", voice(1.5, 130, seed=9))
    here("index", audio, *server)
    said = here("status", *server, "--json").json
    assert said["recordings"] == here("status", *server, "--check-files", "--json").json["recordings"]
    assert here("status", *server, "--check-files", "--json").json["missing"] is not None
