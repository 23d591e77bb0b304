"""Security: hosts, origins, headers, the token, limits and paths."""

import io
import shutil
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes.server import serve_index
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.index import index
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.edge import EdgeStore
from voxdex.web.settings import Settings


def test_hosts_origins_and_headers(server, library_index, home):
    for host in ("evil.example", "127.0.0.1.evil.example", ""):
        assert server.get("/api/status", headers={"Host": host}).status_code == 421
    assert server.get("/api/status", headers={"Host": "localhost:8765"}).status_code == 200
    assert server.post("/api/search", json={"caption": "x"}, headers={"Origin": "http://evil.example"}).status_code == 403
    assert server.post("/api/search", json={"caption": "x"}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    own = {"Origin": "http://127.0.0.1:8765", "Sec-Fetch-Site": "same-origin"}
    assert server.post("/api/search", json={"caption": "x"}, headers=own).status_code == 200
    answer = server.get("/")
    assert (
        "default-src 'none'" in answer.headers["content-security-policy"]
        and "unsafe" not in answer.headers["content-security-policy"]
    )
    assert answer.headers["x-content-type-options"] == "nosniff" and "access-control-allow-origin" not in answer.headers
    for path in ("/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2f..%2fpyproject.toml", "/etc/passwd"):
        assert server.get(path).status_code in (404, 405)
    assert server.get("/api/search?caption=" + "x" * 20_000).status_code == 414


def test_token(library_index, home):
    with pytest.raises(ValueError, match="needs a token"):
        Settings(host="0.0.0.0")
    with serve_index(library_index, host="0.0.0.0", token="s3cret") as server:
        cookie = {"Cookie": "voxdex-token-8765=wrong"}
        for headers in ({}, {"Authorization": "Bearer wrong"}, cookie, {"Authorization": "Bearer "}):
            refused = server.get("/api/status", headers=headers)
            assert refused.status_code == 401 and "token" in refused.json()["error"]
        assert server.get("/?token=wrong").status_code == 401
        assert server.get("/api/status", headers={"Authorization": "Bearer s3cret"}).status_code == 200
        opened = server.get("/?token=s3cret&captions=calm", follow_redirects=False)
        assert opened.status_code == 303 and opened.headers["location"] == "/?captions=calm"
        kept = opened.headers["set-cookie"].lower()
        assert kept.startswith("voxdex-token-8765=") and "httponly" in kept and "samesite=lax" in kept and "secure" not in kept
        assert server.get("/").status_code == 200
        there = server.get("http://127.0.0.1:8765//evil.example/x?token=s3cret", follow_redirects=False)
        assert there.headers["location"] == "/evil.example/x"


def test_people_are_asked_for_the_token(library_index, home):
    page = {"Accept": "text/html,application/xhtml+xml"}
    with serve_index(library_index, host="0.0.0.0", token="s3cret") as server:
        asked = server.get("/?captions=calm&page=2", headers=page)
        assert asked.status_code == 401 and "default-src 'none'" in asked.headers["content-security-policy"]
        assert 'action="/login"' in asked.text and 'value="/?captions=calm&amp;page=2"' in asked.text
        assert server.get("/static/voxdex.css").status_code == 200
        wrong = server.post("/login", data={"token": "wrong", "target": "/map"}, headers=page)
        assert wrong.status_code == 401 and "That is not the token." in wrong.text and 'value="/map"' in wrong.text
        for target, expected in (("/?captions=calm", "/?captions=calm"), ("//evil.example", "/evil.example"), ("\\\\x", "/x")):
            right = server.post("/login", data={"token": "s3cret", "target": target}, follow_redirects=False)
            assert right.status_code == 303 and right.headers["location"] == expected
        # a link of another site, such as a mail's, opens the page; its scripts and images do not
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"} | page
        assert server.get("/?captions=calm", headers=link).status_code == 200
        for path, mode in (("/api/status", "navigate"), ("/", "no-cors"), ("/api/search?captions=calm", "cors")):
            refused = server.get(path, headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode})
            assert refused.status_code == 403 and "other sites" in refused.json()["error"]
        assert "<main>" in server.get("/", headers=page | {"Host": "["}).text


def test_a_proxy_at_another_address(library_index, home):
    address = "https://voices.example.org"
    with pytest.raises(ValueError, match="needs a token"):
        Settings(address=address)
    for wrong in ("voices.example.org", "https://voices.example.org/path", "ftp://voices.example.org"):
        with pytest.raises(ValueError, match="is no address of a server"):
            Settings(address=wrong, token="s3cret")
    with serve_index(library_index, address=address, token="s3cret") as server:
        key = {"Authorization": "Bearer s3cret", "Origin": address, "Sec-Fetch-Site": "same-origin"}
        for host in ("voices.example.org", "127.0.0.1:8765"):  # as proxies pass it on, or do not
            assert server.post("/api/search", json={"caption": "x"}, headers=key | {"Host": host}).status_code == 200
        other = server.post("/api/search", json={"caption": "x"}, headers=key | {"Origin": "https://evil.example"})
        assert other.status_code == 403 and server.get("/", headers={"Host": "evil.example"}).status_code == 421
        opened = server.get("/?token=s3cret", headers={"Host": "voices.example.org"}, follow_redirects=False)
        assert "secure" in opened.headers["set-cookie"].lower() and opened.headers["set-cookie"].startswith("voxdex-token=")


def test_limits_of_size_and_rate(library_index, home, monkeypatch):
    clock = SimpleNamespace(now=time.time())
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: clock.now))
    with serve_index(library_index, max_upload_bytes=10_000, requests_per_minute=5) as server:
        large = server.post("/api/sounds", files={"file": ("x.wav", b"x" * 20_000)})
        assert large.status_code == 413 and "More than 0 MB" in large.json()["error"]
        unannounced = server.post("/api/search", content=(b"x" * 5_000 for _ in range(4)))
        assert unannounced.status_code == 413
        assert [server.get("/api/status").status_code for _ in range(6)] == [200] * 4 + [429] * 2
        clock.now += 59
        assert server.get("/api/status").status_code == 429
        clock.now += 2
        assert server.get("/api/status").status_code == 200


def test_moved_and_linked_recordings_are_not_served(tmp_path, mini, home):
    audio, secret = tmp_path / "audio", tmp_path / "elsewhere.wav"
    audio.mkdir()
    write_sound(audio / "a.wav", voice(2.0, 110))
    write_sound(audio / "b.wav", voice(2.0, 200))
    write_sound(secret, voice(2.0, 300))
    with EdgeStore.create(tmp_path / "index", mini.card.space, "mini", 256) as store:
        index(find_recordings([audio]), store, mini)
    (audio / "a.wav").unlink()
    (audio / "a.wav").symlink_to(secret)
    (audio / "b.wav").unlink()
    with serve_index(tmp_path / "index") as server:
        whispering_hits = server.get("/api/search", params={"caption": "a voice"}).json()["hits"]
        reasons = {
            Path(hit["recording"]).name: server.get(f"/api/clips/{hit['id']}/{what}").json()["error"]
            for hit in whispering_hits
            for what in ("audio", "recording", "peaks")
        }
    assert "leads out of its folder" in reasons["a.wav"] and "it is gone" in reasons["b.wav"]


def test_a_recording_that_was_replaced_is_not_sent(tmp_path, mini, home):
    folder = tmp_path / "audio" / "tapes"
    folder.mkdir(parents=True)
    for name, hz in (("a", 110), ("b", 200), ("c", 160)):
        write_sound(folder / f"{name}.wav", voice(2.0, hz))
    with EdgeStore.create(tmp_path / "index", mini.card.space, "mini", 256) as store:
        index(find_recordings([tmp_path / "audio"]), store, mini)
    with serve_index(tmp_path / "index") as server:
        hits = server.get("/api/search", params={"caption": "a voice"}).json()["hits"]
        address = {Path(hit["recording"]).stem: f"/api/clips/{hit['id']}" for hit in hits}
        assert server.get(f"{address['a']}/recording").status_code == 200
        (folder / "a.wav").write_text("root:x:0:0:root:/root:/bin/sh")
        folder.rename(tmp_path / "moved")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "b.wav").write_text("root:x:0:0:root:/root:/bin/sh")
        folder.symlink_to(elsewhere, target_is_directory=True)
        shutil.copy(tmp_path / "moved" / "a.wav", elsewhere / "a.wav")
        for name in ("a", "b"):
            refused = server.get(f"{address[name]}/recording")
            assert refused.status_code >= 400 and "has changed since it was indexed" in refused.json()["error"]
        folder.unlink()
        (tmp_path / "moved").rename(folder)
        packed = server.post("/api/playlist.zip", json={"clips": [hit["id"] for hit in hits]})
        names = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
        assert len(names) == 3 and "left out.txt" in names and sum(" a " in name for name in names) == 0
        none = server.post("/api/playlist.zip", json={"clips": [address["a"].rsplit("/", 1)[1]]})
        assert none.status_code >= 400 and "error" in none.json()
