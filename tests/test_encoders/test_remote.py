"""Recordings at URLs: a web server of folders, and a file system of fsspec in memory."""

import socket
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import fsspec
import numpy as np
import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.audio.remote import is_url
from voxdex.indexer.index import index as index_recordings
from voxdex.indexer.location import LocalIndex, open_index
from voxdex.indexer.scan import find_recordings
from voxdex.search.clip_audio import extract_clip


class Quiet(SimpleHTTPRequestHandler):
    """Serve a folder without logging."""

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "served"
    (folder / "tapes").mkdir(parents=True)
    write_sound(folder / "a.wav", voice(2.0, 110))
    write_sound(folder / "tapes" / "b.flac", voice(3.0, 200), codec="flac")
    (folder / "tapes" / "notes.txt").write_text("a woman, then a man")
    (folder / "tapes" / ".hidden.wav").write_bytes(b"nothing")
    return folder


@pytest.fixture
def server(folder):
    """The URL of a server of the folder, and a function that stops it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    taken = socket.socket()

    def end() -> None:
        server.shutdown()
        server.server_close()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(server.server_address)  # keeps the port from other programs

    yield f"http://127.0.0.1:{server.server_port}", end
    server.shutdown()
    server.server_close()
    taken.close()


@pytest.fixture
def memory():
    """The empty in-memory file system of fsspec."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    yield files
    files.store.clear()


def test_index_and_search_a_web_server(voxdex, server, folder, tmp_path):
    url, _ = server
    done = voxdex("index", url, "--json")
    assert done.status == 0, done.err
    assert (done.json["indexed"], done.json["clips"], done.json["failed"]) == (2, 2, [])

    hits = voxdex("search", "a voice", "--copy-to", tmp_path / "cut", "--json").json["hits"]
    assert {hit["recording"] for hit in hits} == {f"{url}/a.wav", f"{url}/tapes/b.flac"}
    assert sorted(file.suffix for file in (tmp_path / "cut").iterdir()) == [".flac", ".wav"]
    alike = voxdex("search", "--like", f"{url}/tapes/b.flac:0-2", "--json")
    assert alike.json["hits"][0]["recording"] == f"{url}/tapes/b.flac", alike.err
    table = voxdex("search", "a voice").out
    assert f"{url}/a.wav:0.00-" in table.replace("\n", "")

    again = voxdex("index", url, "--json").json
    assert (again["indexed"], again["unchanged"]) == (0, 2)
    write_sound(folder / "a.wav", voice(2.5, 150))
    (folder / "tapes" / "b.flac").unlink()
    changed = voxdex("index", url, "--json").json
    assert (changed["indexed"], changed["unchanged"]) == (1, 0)
    assert voxdex("index", url, "--prune", "--json").json["removed"] == 1


def test_unreachable_server_keeps_its_recordings(voxdex, server):
    url, end = server
    voxdex("index", url)
    end()
    away = voxdex("index", url, "--prune", "--json")
    assert away.status == 2 and away.json["removed"] == 0
    (failure,) = away.json["failed"]
    assert failure["path"] == url and failure["reason"].startswith("it cannot be fetched (")
    assert voxdex("status", "--json").json["recordings"] == 2


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("/none.wav", "there is no such file"),
        ("/broken.wav", "it is not audio or video that FFmpeg knows"),
        ("/empty.wav", "it is empty"),
    ],
)
def test_unreadable_remote_files(voxdex, server, folder, place, reason):
    url, _ = server
    (folder / "broken.wav").write_bytes(b"no sound" * 100)
    (folder / "empty.wav").touch()
    asked = voxdex("classify", url + place)
    assert asked.status == 2 and f"{url}{place}: {reason}" in asked.err.replace("\n", " ")
    indexed = voxdex("index", url + place)
    assert reason in indexed.err.replace("\n", " ") and "Traceback" not in indexed.err


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nowhere://bucket/a.wav", "Protocol not known"),
        ("http://127.0.0.1:1/a.wav", "Cannot connect"),
    ],
)
def test_invalid_urls(voxdex, url, reason):
    done = voxdex("index", url)
    assert done.status == 2 and f"{url}: it cannot be fetched (" in done.err and reason in done.err, done.err


def test_missing_fsspec(monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(AudioError, match=r"Reading a URL needs the package fsspec, which is not installed: .*\[remote\]"):
        read_audio("https://example.org/a.wav")


def test_file_system_of_fsspec(memory, folder, mini, tmp_path):
    for path in (folder / "a.wav", folder / "tapes" / "b.flac"):
        memory.pipe(f"/archive/{path.relative_to(folder)}", path.read_bytes())
    walk = find_recordings(["memory://archive"])
    assert [*walk.recordings] == ["memory:///archive/a.wav", "memory:///archive/tapes/b.flac"] and all(walk.recordings.values())
    store, _ = open_index(LocalIndex(tmp_path / "index"), "mini", "cpu")
    with store:
        assert index_recordings(walk, store, mini).indexed == 2
        assert index_recordings(find_recordings(["memory://archive/"]), store, mini).unchanged == 2
        memory.mv("/archive/a.wav", "/archive/moved.wav")
        moved = index_recordings(find_recordings(["memory://archive"]), store, mini)
        assert (moved.indexed, moved.unchanged, moved.missing) == (0, 2, 0)
        assert {point.payload["recording"] for point in store.points({"kind": "clip"})} == {
            "memory:///archive/moved.wav",
            "memory:///archive/tapes/b.flac",
        }
    np.testing.assert_array_equal(read_audio("memory:///archive/moved.wav"), read_audio(folder / "a.wav"))
    assert extract_clip("memory:///archive/moved.wav", 0.5, 1.5, folder=tmp_path, name="part").suffix == ".wav"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("s3://bucket/a.wav", True), ("simplecache::gs://b/a", True), ("C:\\a.wav", False), ("a:b/c.wav", False)],
)
def test_is_url(text, expected):
    assert is_url(text) is expected
