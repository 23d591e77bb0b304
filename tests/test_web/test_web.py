"""The page's server and the HTTP API: real index, real graphs, real recordings."""

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import av
import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.browser import WAY, find_chromium
from tests.conftest import PATIENCE, ROOT, until
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.audio.reader import read_audio
from voxdex.indexer.index import index
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.snapshot import write_progress
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import LOCK
from voxdex.search.caption import CaptionBank
from voxdex.search.classify import classify_file, label_set
from voxdex.search.engine import search_index
from voxdex.search.query import Query, QuerySpec, ask
from voxdex.search.query_parser import parse_query, parse_sound
from voxdex.search.rerank import Reward
from voxdex.search.scoring import caption_vector
from voxdex.web.app import create_app
from voxdex.web.batching import DynamicBatcher
from voxdex.web.client import Client, ServerError
from voxdex.web.settings import Settings
from voxdex.web.state import AppState
from voxdex.web.uploads import UploadStore


def serving(folder: Path, **settings) -> TestClient:
    """A server over an index, with a browser's address."""
    return TestClient(create_app(open_state(folder, **settings)), base_url="http://127.0.0.1:8765")


def open_state(folder: Path, **settings) -> AppState:
    return AppState.of(LocalIndex(folder), Settings(**settings), "cpu")


@pytest.fixture(scope="module")
def folder(library) -> Path:
    return library / "indexes" / "default"


@pytest.fixture(scope="module")
def clips(folder) -> int:
    """How many there are: some sentences of espeak-ng's whispers pass for noise."""
    with EdgeStore.open(folder) as store:
        return store.count()


@pytest.fixture(scope="module")
def server(folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VOXDEX_HOME", str(tmp_path_factory.mktemp("home")))
        with serving(folder, max_audio_seconds=20.0) as server:
            yield server


@pytest.fixture(scope="module")
def hits(folder, mini):
    """What Python answers."""
    with EdgeStore.open(folder) as store:
        return search_index(Query(ask("a whispering woman")), store, mini)


def sent(path: Path) -> tuple[str, bytes]:
    return path.name, path.read_bytes()


def test_it_answers_as_python_does(server, hits):
    found = server.post("/api/search", json={"caption": "a whispering woman"}).json()
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in hits]
    assert found["hits"][0]["score"] == pytest.approx(hits[0].score, abs=1e-5)
    assert found["query"]["captions"] == ["a whispering woman"]
    again = server.get("/api/search", params={"captions": "a whispering woman"}).json()
    assert again["query"] == found["query"] | {"caption": "a whispering woman"}
    assert [hit["id"] for hit in again["hits"]] == [hit["id"] for hit in found["hits"]]


def test_all_texts_of_a_query_run_together(server):
    def text_batches() -> float:
        return float(re.search(r'voxdex_embedded_together_count\{kind="text"\} (\S+)', server.get("/metrics").text)[1])

    asked = {"captions": ["a tired old man with a German accent, not shouting", "a slow voice"], "move": ["calm -> angry"]}
    before = text_batches() if server.post("/api/search", json={"caption": "a woman"}).is_success else 0
    assert server.post("/api/search", json=asked).is_success and text_batches() == before + 1


def test_all_parts_of_a_query_can_be_asked(server, hits):
    asked = {
        "captions": ["a woman::2", "calm"],
        "not": ["shouting"],
        "like": [hits[0].id],
        "unlike": [f"{hits[-1].id}::0.5"],
        "move": ["calm -> angry"],
        "where": ["speaker!=anna"],
        "facets": ["speaker", "gender"],
        "group_by": "speaker",
        "limit": 5,
    }
    found = server.post("/api/search", json=asked).json()
    speakers = [hit["metadata"]["speaker"] for hit in found["hits"]]
    assert len(set(speakers)) == 5 and "anna" not in speakers
    assert sum(found["facets"]["speaker"]["hits"].values()) == 5 and found["facets"]["speaker"]["all"]["edgar"] == 4
    liked = server.post("/api/search", json={"caption": "a man", "liked": [hits[0].id], "disliked": [hits[-1].id]}).json()
    assert liked["hits"] != server.post("/api/search", json={"caption": "a man"}).json()["hits"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "The query is empty"),
        ({"captions": [""]}, "A caption is empty"),
        ({"caption": "word " * 10_000}, "A caption has"),
        ({"caption": "x", "where": ["shoe=1"]}, "no field 'shoe'"),
        ({"caption": "x", "where": ["((("]}, "is not a condition"),
        ({"caption": "x", "like": ["../../etc/passwd"]}, "is no clip's id"),
        ({"caption": "x", "like": ["sound:../../etc/passwd"]}, "no longer kept"),
        ({"caption": "x", "like": ["3e7c0c2e-0000-0000-0000-000000000000"]}, "no longer holds the clip"),
        ({"caption": "x", "move": ["angry"]}, "needs two captions"),
        ({"caption": "x::0"}, "must be above 0"),
        ({"caption": "x::nan"}, "must be above 0"),
        ({"caption": "x::1e400"}, "must be above 0"),
        ({"caption": "..."}, "The caption '...' has no words"),
        ({"captions": ["a man", "::"]}, "The caption '::' has no words"),
        ({"caption": "x", "not": ["👩"]}, "The caption '👩' has no words"),
        ({"move": [", -> angry"]}, "The caption ',' has no words"),
        ({"move": ["calm -> " + "very " * 200_000]}, "say it in 2000 at most"),
        ({"caption": "x", "says": "..."}, "Nothing of '...' can be said"),
        ({"caption": "x", "says": "/---/"}, "Nothing of '/---/' can be said"),
        ({"caption": "x", "where": ["not " * 1000 + "calm"]}, 'nests parentheses and "not" more than 40 deep'),
        ({"caption": "x", "where": [" and ".join(["gender=male"] * 20_000)]}, "say it in 10000 at most"),
        ({"caption": "x", "where": ["gender=male"] * 45, "group_by": "..."}, "no field '...'"),
        ({"caption": "x", "where": ["recorded~2019*"]}, "'recorded' is no text"),
        ({"caption": "x", "facets": ["\x00"]}, "no field '\\x00'"),
        ({"caption": "x", "limit": 0}, "limit: Input should be greater"),
        ({"caption": "x", "shoe": 1}, "shoe: Extra inputs"),
        ({"caption": "x", "region": "1,2"}, "is not written x,y"),
        ({"caption": "x", "facets": ["duration"]}, "is a number"),
    ],
)
def test_bad_queries_get_a_sentence(server, asked, words):
    refused = server.post("/api/search", json=asked)
    assert refused.status_code == 400 and words in refused.json()["error"]


def test_broken_requests_get_a_sentence(server):
    assert "JSON" in server.post("/api/search", content=b"{", headers={"Content-Type": "application/json"}).json()["error"]
    for path in ("/api/nothing", "/api/clips/x/audio", "/api/clips/3e7c0c2e-0000-0000-0000-000000000000", "/api/playlist.exe"):
        refused = server.get(path, params={"clips": "3e7c0c2e-0000-0000-0000-000000000000"})
        assert refused.status_code in (400, 404) and refused.json()["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"caption": "\\ud800"}', "is not valid text"),
        ('{"caption": "x", "where": ["speaker=\\udcf6"]}', "is not valid text"),
        ('{"caption": "x", "\\ud800": 1}', "unable to parse"),
        ('{"caption": "x", "min_score": NaN}', "finite number"),
        ('{"caption": "x", "fold": NaN}', "fold: Input should be"),
        ('{"caption": "x", "diverse": Infinity}', "diverse: Input should be"),
        ("[" * 100_000, "parsing the body"),
    ],
)
def test_json_that_is_none_gets_a_sentence(server, body, words):
    refused = server.post("/api/search", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400 and words in refused.json()["error"]


def test_captions_without_words_are_refused_at_every_door(server, demo_archive):
    take = [("files", sent(demo_archive / "anna-1.wav"))]
    for door, data, words in (
        ("embed", {"captions": "..."}, "The caption '...' has no words"),
        ("rerank", {"captions": ","}, "The caption ',' has no words"),
        ("caption", {"captions": "...\n-\n"}, "holds no captions"),
        ("classify", {"labels": ["sad", "..."]}, "The label '...' has no words"),
        ("classify", {"labels": ["sad", "calm"], "templates": "{x!r}"}, "needs one {}"),
        ("classify", {"labels": ["sad", "calm"], "templates": "{0} {"}, "needs one {}"),
    ):
        refused = server.post(f"/api/{door}", data=data, files=take)
        assert refused.status_code == 400 and words in refused.json()["error"], refused.text
    page = server.get("/", params={"captions": "..."})
    assert page.status_code == 400 and "has no words" in page.text


def test_the_last_of_all_dates_can_be_asked_for(server, clips):
    for where in ("recorded<=9999-12-31", "recorded:2019..9999", "recorded:2019..9999-12", "recorded<9999-12-31T23:59:59"):
        found = server.post("/api/search", json={"caption": "a man", "where": [where], "limit": 100, "fold": 1}).json()
        assert len(found["hits"]) == clips


def test_what_breaks_is_told_in_json_and_logged(server, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a defect")

    monkeypatch.setattr(AppState, "search", broken)
    answer = server.post("/api/search", json={"caption": "x"})
    assert answer.status_code == 500 and "failed" in answer.json()["error"] and "defect" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and "a defect" in caplog.text
    with caplog.at_level("ERROR"):
        caplog.clear()
        for name, text in (("Host", "[bad"), ("Origin", "http://[bad")):
            refused = server.get("/api/status", headers={name: text})
            assert refused.status_code == 400 and "no address" in refused.json()["error"]
        assert not caplog.text


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "opus", "m4a"])
def test_a_sound_that_was_sent_finds_itself(server, ending):
    any_of_them = {"caption": "a voice", "where": [f'path~"*.{ending}"'], "limit": 1}
    indexed = server.post("/api/search", json=any_of_them).json()["hits"][0]
    path = Path(indexed["recording"])  # not of any file: a synthetic whisper, which is noise, may not pass for speech
    kept = server.post("/api/sounds", files={"file": sent(path)}).json()
    assert kept["seconds"] == pytest.approx(len(read_audio(path)) / 16_000, abs=0.01)
    found = server.post("/api/search", json={"like": [kept["name"]], "limit": 1}).json()["hits"]
    assert found[0]["recording"] == str(path)
    part = server.post("/api/search", json={"like": [f"{kept['name']}:0.5-1.5::2"], "limit": 1})
    assert part.status_code == 200


def test_sounds_that_cannot_be_used_are_refused(server, tmp_path):
    long = server.post("/api/sounds", files={"file": sent(write_sound(tmp_path / "long.flac", voice(25.0), codec="flac"))})
    assert long.status_code == 400 and "longer than 20 s" in long.json()["error"]
    text = server.post("/api/sounds", files={"file": ("x.wav", b"no sound at all")})
    assert text.status_code == 400 and "not audio or video" in text.json()["error"]
    assert server.post("/api/sounds").status_code == 400
    named = server.post("/api/classify", files={"files": ("my take.wav", b"no sound at all")})
    assert named.status_code == 400 and "my take.wav cannot be used" in named.json()["error"]


def test_a_sound_that_goes_while_another_comes_is_no_matter(tmp_path):
    (tmp_path / "new-1").symlink_to("gone")
    sound = io.BytesIO(write_sound(tmp_path / "sent.wav", voice(1.0)).read_bytes())
    sounds = UploadStore(tmp_path, 10.0)
    assert sounds.find(sounds.keep(sound).name).path.is_file()


def test_embeddings_labels_and_captions_are_those_of_python(server, demo_archive, mini):
    path = next(demo_archive.glob("dora*.wav"))
    found = server.post("/api/embed", data={"captions": ["a sad man", "calm"]}, files={"files": sent(path)}).json()
    assert np.allclose(found["captions"][0], caption_vector("a sad man", mini), atol=1e-5)
    assert np.allclose(found["speech"][0], next(iter(mini.embed_speech([read_audio(path)]))), atol=1e-4)
    assert found["clips"][0].startswith(f"{path.name}#0.0-") and found["space"] == mini.card.space

    labelled = server.post("/api/classify", data={"attributes": ["phonation"]}, files={"files": sent(path)}).json()["results"]
    expected = classify_file(mini, path, [label_set(mini, "phonation")])[0].document()
    assert labelled[0] == expected | {"recording": path.name}
    own = server.post("/api/classify", data={"labels": ["whispering", "shouting"]}, files={"files": sent(path)}).json()
    expected = classify_file(mini, path, [label_set(mini, "label", ["whispering", "shouting"])])[0].document()
    assert own["results"][0]["label"] == expected["label"]
    assert server.post("/api/classify", data={"labels": ["one"]}, files={"files": sent(path)}).status_code == 400

    captions = server.post("/api/caption", data={"limit": 3, "compose": True}, files={"files": sent(path)}).json()["results"]
    best = CaptionBank(mini).find(np.array(found["speech"][0], dtype=np.float32), 3)
    assert [each["caption"] for each in captions[0]["captions"]] == [fitting.caption for fitting in best]
    assert captions[0]["composed"]
    bank = server.post("/api/caption", data={"captions": "whispering\nshouting"}, files={"files": sent(path)}).json()["results"]
    assert {each["caption"] for each in bank[0]["captions"]} == {"whispering", "shouting"}


def test_rewards_are_those_of_python(server, demo_archive, mini):
    takes = sorted(demo_archive.glob("*-1.*"))[:4]
    files, reward = [("files", sent(take)) for take in takes], Reward(mini)
    found = server.post("/api/rerank", data={"captions": "a whispering woman"}, files=files).json()
    expected = reward.many(takes, ["a whispering woman"] * 4)
    assert np.allclose(found["rewards"], expected, atol=1e-5)
    assert found["results"][0]["takes"][0]["recording"] == takes[int(expected.argmax())].name
    each = server.post("/api/rerank", data={"captions": ["a man", "a woman", "a man", "a woman"]}, files=files).json()
    assert np.allclose(each["rewards"], reward.many(takes, ["a man", "a woman"] * 2), atol=1e-5) and len(each["results"]) == 2
    alike = server.post("/api/rerank", files=[*files, ("reference", sent(takes[2]))]).json()
    assert alike["results"][0]["takes"][0]["recording"] == takes[2].name
    assert "4 takes but 2 captions" in server.post("/api/rerank", data={"captions": ["a", "b"]}, files=files).json()["error"]
    assert "nothing to rank" in server.post("/api/rerank", files=files).json()["error"]


@pytest.mark.parametrize("stem", ["anna", "bella", "clara", "edgar", "henry"])
def test_clips_are_heard_and_drawn(server, stem):
    [hit] = server.get("/api/search", params={"caption": "x", "where": f"path~{stem}", "limit": 1}).json()["hits"]
    whole = server.get(f"/api/clips/{hit['id']}/audio")
    assert whole.status_code == 200 and whole.headers["content-type"].startswith("audio/")
    with av.open(io.BytesIO(whole.content)) as container:
        seconds = sum(frame.samples / frame.rate for frame in container.decode(audio=0))
    assert seconds == pytest.approx(hit["end"] - hit["start"], abs=0.12)
    part = server.get(f"/api/clips/{hit['id']}/audio", headers={"Range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == whole.content[100:200]
    peaks = server.get(f"/api/clips/{hit['id']}/peaks").json()
    assert len(peaks) == 200 and 0.05 < max(peaks) <= 1
    recording = server.get(f"/api/clips/{hit['id']}/recording")
    assert recording.content == Path(hit["recording"]).read_bytes()
    assert server.get(f"/api/clips/{hit['id']}").json()["recording"] == hit["recording"]


def test_a_playlist_is_taken_away(server, hits):
    ids = [hit.id for hit in hits[:3]]
    packed = server.post("/api/playlist.zip", json={"clips": ids})
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        names = archive.namelist()
    assert [name[:2] for name in names] == ["01", "02", "03"] and Path(hits[0].recording).stem in names[0]
    lines = server.post("/api/playlist.m3u8", json={"clips": ids}).text.splitlines()
    assert lines[0] == "#EXTM3U" and lines[4::4] == [hit.recording for hit in hits[:3]]
    rows = server.get("/api/playlist.csv", params={"clips": ids}).text.splitlines()
    assert len(rows) == 4 and "attributes.gender" in rows[0]
    assert server.post("/api/playlist.zip", json={"clips": []}).status_code == 400


def test_a_region_of_the_map_narrows_down(server, clips):
    def finished() -> dict | None:
        drawn = server.get("/api/map").json()
        return drawn if drawn["ready"] or drawn.get("failure") else None

    drawn = until(finished)
    assert drawn["ready"] and len(drawn["x"]) == len(drawn["y"]) == clips and not drawn.get("failure")
    assert set(drawn["attributes"]["gender"]["labels"]) == {"female", "male"}
    clip = server.get("/api/map/7").json()
    x, y = drawn["x"][7] / 65535, drawn["y"][7] / 65535
    region = ";".join(f"{x + dx},{y + dy}" for dx, dy in ((-0.01, -0.01), (0.01, -0.01), (0.01, 0.01), (-0.01, 0.01)))
    inside = server.get("/api/search", params={"caption": "a voice", "region": region, "limit": 40}).json()["hits"]
    assert clip["id"] in [hit["id"] for hit in inside] and len(inside) < clips
    everywhere = "-1,-1;2,-1;2,2;-1,2"
    assert len(server.get("/api/search", params={"caption": "x", "region": everywhere, "limit": 40}).json()["hits"]) == clips
    assert server.get(f"/api/map/{clips}").status_code == 404


def test_status_metrics_and_descriptions(server, clips):
    status = server.get("/api/status").json()
    assert status["clips"] == clips and status["running"] is None and {model["name"] for model in status["models"]} >= {"mini"}
    assert server.get("/").status_code == 200
    metrics = server.get("/metrics").text
    assert f"voxdex_clips {clips}.0" in metrics and 'voxdex_requests_total{method="GET",route="/",status="200"}' in metrics
    described = server.get("/api/openapi.json").json()
    assert {
        "/api/search",
        "/api/embed",
        "/api/classify",
        "/api/caption",
        "/api/rerank",
        "/api/clips/{id}/audio",
        "/api/status",
    } <= set(described["paths"])
    assert described["components"]["schemas"]["SearchRequest"]["examples"]


def test_pages_say_what_they_show(server, hits, clips):
    page = server.get("/", params={"captions": "a whispering woman", "where": "speaker=dora", "not": "", "group_by": ""})
    assert page.status_code == 200 and 0 < page.text.count('class="clip"') <= 4 and "speaker=dora ✕" in page.text
    assert "whispering&nbsp;✓" in page.text
    wrong = server.get("/", params={"captions": "x", "where": "shoe=1"})
    assert wrong.status_code == 400 and "has no field &#39;shoe&#39;" in wrong.text
    recording = server.get(f"/clips/{hits[0].id}")
    assert hits[0].recording in recording.text and f'data-id="{hits[0].id}"' in recording.text
    for path, words in (
        ("/map", "coloured by"),
        ("/status", f"{clips}, "),
        ("/help", "/api/rerank"),
        ("/nothing", "Not Found"),
    ):
        assert words in server.get(path).text
    hostile = server.get("/", params={"captions": "<script>alert(1)</script>"})
    assert "<script>alert" not in hostile.text


def test_it_keeps_to_itself(server, folder, home):
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


def test_other_machines_must_show_the_token(folder, home):
    with pytest.raises(ValueError, match="needs a token"):
        Settings(host="0.0.0.0")
    with serving(folder, host="0.0.0.0", token="s3cret") as server:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": "voxdex-token=wrong"}, {"Authorization": "Bearer "}):
            refused = server.get("/api/status", headers=headers)
            assert refused.status_code == 401 and "token" in refused.json()["error"]
        assert server.get("/?token=wrong").status_code == 401
        assert server.get("/api/status", headers={"Authorization": "Bearer s3cret"}).status_code == 200
        opened = server.get("/?token=s3cret&captions=calm", follow_redirects=False)
        assert opened.status_code == 303 and opened.headers["location"] == "/?captions=calm"
        assert "httponly" in opened.headers["set-cookie"].lower() and "samesite=strict" in opened.headers["set-cookie"].lower()
        assert server.get("/").status_code == 200


def test_too_much_is_refused(folder, home, monkeypatch):
    clock = SimpleNamespace(now=time.time())
    monkeypatch.setattr("limits.storage.memory.time", SimpleNamespace(time=lambda: clock.now))
    with serving(folder, max_upload_bytes=10_000, requests_per_minute=5) as server:
        large = server.post("/api/sounds", files={"file": ("x.wav", b"x" * 20_000)})
        assert large.status_code == 413 and "More than 0 MB" in large.json()["error"]
        unannounced = server.post("/api/search", content=(b"x" * 5_000 for _ in range(4)))
        assert unannounced.status_code == 413
        assert [server.get("/api/status").status_code for _ in range(6)] == [200] * 4 + [429] * 2
        clock.now += 59
        assert server.get("/api/status").status_code == 429
        clock.now += 2
        assert server.get("/api/status").status_code == 200


def test_only_recordings_that_lie_where_they_lay_are_served(tmp_path, mini, home):
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
    with serving(tmp_path / "index") as server:
        hits = server.get("/api/search", params={"caption": "a voice"}).json()["hits"]
        reasons = {
            Path(hit["recording"]).name: server.get(f"/api/clips/{hit['id']}/{what}").json()["error"]
            for hit in hits
            for what in ("audio", "recording", "peaks")
        }
    assert "leads out of its folder" in reasons["a.wav"] and "it is gone" in reasons["b.wav"]


def test_it_answers_while_a_run_writes_and_then_finds_what_is_new(tmp_path, mini, home):
    audio, folder = tmp_path / "audio", tmp_path / "index"
    audio.mkdir()
    write_sound(audio / "a.wav", voice(2.0, 110))
    state = open_state(folder)
    library, server = state.index, TestClient(create_app(state), base_url="http://127.0.0.1:8765")

    def answer() -> httpx.Response:
        return server.get("/api/search", params={"caption": "a voice"})

    assert answer().status_code == 503 and "There is no index" in answer().json()["error"]
    with EdgeStore.create(folder, mini.card.space, "mini", 256) as store:
        index(find_recordings([audio]), store, mini)
        assert library.progress() is None
    library.refresh()
    assert len(answer().json()["hits"]) == 1
    write_sound(audio / "b.wav", voice(2.0, 200))
    with EdgeStore.open(folder) as store:
        index(find_recordings([audio]), store, mini, on_progress=partial(write_progress, folder=folder))
        library.refresh()
        assert len(answer().json()["hits"]) == 1 and server.get("/api/status").json()["running"]["done"] == 2
        assert "2 of 2 recordings" in server.get("/status").text
        with pytest.raises(StoreError, match="in use"):
            EdgeStore.open(folder)
    library.refresh()
    assert len(answer().json()["hits"]) == 2 and server.get("/api/status").json()["running"] is None
    library.close()
    assert list((home / "replicas").iterdir()) == []


def test_copies_are_removed_when_their_process_has_died_and_not_while_they_are_made(folder, home):
    made, died = home / "replicas" / "made", home / "replicas" / "died"
    made.mkdir(parents=True)
    died.mkdir()
    (died / LOCK).touch()
    with serving(folder):
        assert made.exists() and not died.exists()


def test_of_a_long_recording_the_clips_around_one_are_shown(tmp_path, mini, home, monkeypatch):
    monkeypatch.setattr("voxdex.web.pages.CONTEXT_CLIPS", 1)
    write_sound(tmp_path / "long.wav", voice(25.0, 150))
    with EdgeStore.create(tmp_path / "index", mini.card.space, "mini", 256) as store:
        index(find_recordings([tmp_path / "long.wav"]), store, mini)
    with serving(tmp_path / "index") as server:
        found = server.get("/api/search", params={"caption": "x", "fold": 1}).json()["hits"]
        last = max(found, key=lambda hit: hit["start"])
        page = server.get(f"/clips/{last['id']}").text
    assert f"{len(found)} clips of speech, {len(found) - 1} to {len(found)} shown" in page and page.count('class="clip"') == 2


def test_many_at_once_get_what_each_would_get_alone(server):
    captions = [
        f"{mood} {who}" for mood in ("a sad", "an angry", "a calm", "a whispering") for who in ("man", "woman", "person")
    ]

    def top(caption: str) -> list[str]:
        return [hit["id"] for hit in server.get("/api/search", params={"caption": caption}).json()["hits"]]

    alone = [top(caption) for caption in captions]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(top, captions * 3)) == alone * 3


def test_what_comes_together_runs_together():
    asked, ran, begun, go = [], [], threading.Event(), threading.Event()

    def double(numbers: list[int]) -> list[int]:
        asked.append(sorted(numbers))
        begun.set()
        assert go.wait(PATIENCE)
        if -1 in numbers:
            raise ValueError("no")
        return [2 * number for number in numbers]

    together = DynamicBatcher(double, ran.append)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(together, [100])
        begun.wait()
        answers = [pool.submit(together, [number, 10 * number]) for number in range(1, 7)]
        until(lambda: together._asked.qsize() == 6)
        go.set()
        assert first.result() == [200]
        assert [answer.result() for answer in answers] == [[2 * number, 20 * number] for number in range(1, 7)]
        assert asked == [[100], sorted([*range(1, 7), *range(10, 70, 10)])] and ran == [1, 12]

        begun.clear()
        go.clear()
        first = pool.submit(together, [100])
        begun.wait()
        bad, good = pool.submit(together, [-1]), pool.submit(together, [1])
        until(lambda: together._asked.qsize() == 2)
        go.set()
        assert good.result() == [2]
        with pytest.raises(ValueError, match="no"):
            bad.result()
    assert asked[3] == [-1, 1] and sorted(asked[4:]) == [[-1], [1]] and sum(ran) == 15


@pytest.fixture(scope="module")
def address(folder, tmp_path_factory):
    """`serve` as a user starts it."""
    home = tmp_path_factory.mktemp("served")
    with started(folder, home) as address:
        yield address


@contextmanager
def started(folder: Path, home: Path, *options: str) -> Iterator[str]:
    """A server in a process of its own, as a user starts it: its address."""
    many = ("--rate-limit", "1000000")  # a quick machine asks for more in a minute than one person may
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--index", str(folder), "--port", "0", *many, *options]
    environment = os.environ | {"VOXDEX_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
            httpx.get(address, timeout=PATIENCE)  # it listens already, and answers once it has started
            yield address
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def test_the_client_answers_as_python_does(address, clips, folder, mini, demo_archive):
    path, anna = (str(next(demo_archive.glob(name))) for name in ("george*.flac", "anna*"))
    where = ['not whispered and (speaker=anna or duration:1..4) and path~"*-1.*"']
    specs = [
        QuerySpec(captions=["a whispering woman"], without=["shouting"], limit=5),
        QuerySpec(captions=["a man::2", "a woman::0.5"], move=["calm -> angry", "high -> low::0.5"], limit=5, page=2),
        QuerySpec(like=[path], unlike=[anna], group_by="speaker", diverse=0.3, min_score=-1.0),
        QuerySpec(like=[f"{path}:0.5-1.5::2"], fold=1.0),
        QuerySpec(captions=["a voice"], where=where),
    ]
    with Client(address, timeout=PATIENCE) as voices, EdgeStore.open(folder) as store:
        for spec in specs:
            expected = search_index(parse_query(spec, parse_sound, str), store, mini)
            found = voices.search(spec)
            assert [hit.id for hit in found] == [hit.id for hit in expected]
            assert [replace(hit, score=0, cosine=0) for hit in found] == [replace(hit, score=0, cosine=0) for hit in expected]
        liked = voices.search(QuerySpec(captions=["a man"], liked=[found[0].id], like=[f"{found[-1].id}::0.5"]))
        assert liked and voices.status()["clips"] == clips
        captions, speech = voices.embed(["a sad man"], [path])
        assert captions.shape == (1, 256) and np.allclose(
            speech[0], next(iter(mini.embed_speech([read_audio(path)]))), atol=1e-4
        )
        assert voices.classify(path, ["gender"])[0].probabilities.keys() == {"gender"}
        assert len(voices.caption(path, 3)[0]["captions"]) == 3
        takes = [read_audio(path), path]
        assert np.allclose(voices.rewards(takes, ["a man"]), Reward(mini).many(takes, ["a man"] * 2), atol=1e-3)
        with pytest.raises(ServerError, match="A caption is empty"):
            voices.search(QuerySpec(captions=[""]))
        with pytest.raises(ServerError, match=r"no-such-file\.wav cannot be read"):
            voices.search(QuerySpec(like=["no-such-file.wav"]))
    with pytest.raises(ServerError, match="does not answer"):
        Client("http://127.0.0.1:9").status()


def test_the_documented_example_runs(address, demo_archive, tmp_path):
    [block] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(), re.S)
    for number, take in enumerate(sorted(demo_archive.glob("*.wav"))[:2], 1):
        shutil.copy(take, tmp_path / f"take{number}.wav")
    code, here = block.replace("http://127.0.0.1:8765", address), os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=here)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 11, done.stderr


def test_serve_says_where_and_refuses_what_cannot_be(address, folder, tmp_path, here):
    port = httpx.URL(address).port
    taken = here("serve", "--index", folder, "--port", port)
    assert taken.status == 2 and "Another --port may be free" in taken.err
    with started(folder, tmp_path, "--host", "0.0.0.0") as public:
        assert "?token=" in public
        untold = public.replace(httpx.URL(public).host, "127.0.0.1").split("?")[0]
        assert httpx.get(untold, timeout=PATIENCE).status_code == 401


def test_no_request_that_its_description_allows_makes_it_fail(address):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis comes with the test extra")
    options = "--checks not_a_server_error --max-examples 5 --phases examples,coverage,fuzzing --seed 1".split()
    options += ["--request-timeout", str(PATIENCE)]
    done = subprocess.run([program, "run", f"{address}api/openapi.json", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_slow_and_many_clients_keep_nobody_from_an_answer(address):
    host, port = httpx.URL(address).host, httpx.URL(address).port
    slow = [socket.create_connection((host, port)) for _ in range(100)]
    for client in slow:
        client.sendall(b"POST /api/sounds HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n-")
    with (
        httpx.Client(base_url=address, limits=httpx.Limits(max_connections=200), timeout=PATIENCE) as http,
        ThreadPoolExecutor(200) as pool,
    ):
        asked = [pool.submit(http.get, "/api/search", params={"caption": f"a sad voice {number}"}) for number in range(200)]
        assert {answer.result().status_code for answer in asked} == {200}
    for client in slow:
        client.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_read_by_everybody(browser, address, hits, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = new_context(browser, address, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    for path in (
        "/",
        "/?captions=sad&not=loud&where=gender%3Dmale",
        "/map",
        "/status",
        "/help",
        f"/clips/{hits[0].id}",
        "/?where=x%3D1",
    ):
        page.goto(path)
        found = axe.run(page).response["violations"]
        assert not found, [(path, each["id"], each["nodes"][0]["html"]) for each in found]
    context.close()


def test_a_telephone_shows_all_of_it(browser, address):
    context = new_context(browser, address, viewport={"width": 390, "height": 844})
    page = context.new_page()
    for path in ("/", "/?captions=a+sad+woman&not=shouting", "/map", "/status", "/help"):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
    context.close()


@pytest.fixture(scope="module")
def browser():
    """A real browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright comes with the test extra")
    chromium = find_chromium()
    if chromium is None:
        pytest.skip(f"there is no Chromium on this machine: {WAY}")
    flags = (
        "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update "
        "--disable-sync --autoplay-policy=no-user-gesture-required --use-fake-device-for-media-stream "
        "--use-fake-ui-for-media-stream"
    )
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=flags.split(), timeout=1000 * PATIENCE)
        yield opened
        opened.close()


def new_context(browser, address, **options):
    """Pages of their own, that are waited for however long they take."""
    context = browser.new_context(base_url=address, **options)
    context.set_default_timeout(1000 * PATIENCE)
    return context


@pytest.fixture
def page(browser, address):
    context = new_context(browser, address, viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Content Security Policy" in message.text else None)
    page.on("response", lambda answer: errors.append(answer.url) if answer.status in (404, 500) else None)
    yield page
    assert errors == []
    context.close()


def comes(page, expression: str) -> bool:
    """Waits for something to be true on the page; its policy forbids what Playwright has for that."""
    return until(lambda: page.evaluate(expression))


def heard(page) -> bool:
    return comes(page, "document.querySelector('.clip.playing') !== null")


def test_a_voice_is_described_heard_and_taken_away(page):
    page.goto("/")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("a whispering woman")
    page.keyboard.press("Enter")
    page.wait_for_selector(".clip")
    page.wait_for_load_state()
    page.evaluate("player.loop = true")  # so that it plays until it is stopped, however late that is
    assert "captions=a+whispering+woman" in page.url and "group_by" not in page.url
    assert "dora" in page.locator(".clip .recording").first.inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press(" ")
    assert heard(page) and page.locator(".clip.current.playing").count() == 1
    comes(
        page, "document.querySelector('.clip.current canvas').getContext('2d').getImageData(0, 0, 600, 88).data.some(Boolean)"
    )
    page.keyboard.press(" ")
    comes(page, "document.querySelector('.clip.playing') === null")
    page.locator(".clip .wave").nth(2).click(position={"x": 100, "y": 20})
    assert heard(page)
    page.keyboard.press("a")
    page.keyboard.press("k")
    page.keyboard.press("a")
    names = page.locator("#playlist li a")
    assert names.count() == 2
    before = names.all_inner_texts()
    page.locator("#playlist li button", has_text="↓").first.click()
    assert names.all_inner_texts() == before[::-1]
    with page.expect_download() as download:
        page.locator("[data-take=zip]").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
    page.reload()
    assert names.count() == 2


def test_answers_are_refined_narrowed_and_shared(page):
    page.goto("/?captions=a+voice")
    page.keyboard.press("Escape")
    first = page.locator(".clip").first.get_attribute("data-id")
    page.keyboard.press("j")
    page.keyboard.press("l")
    page.wait_for_url(f"**liked={first}*")
    assert page.locator(".clip [data-act=liked].chosen").count() == 1
    page.locator(".facets a", has_text="male").nth(1).click()
    page.wait_for_url("**where=*")
    assert page.locator(".facets .chosen").count() == 1 and page.locator(".parts .part").count() == 2
    page.locator(".parts .part", has_text="gender").click()
    page.wait_for_url(lambda url: "where=" not in url)
    assert page.locator(".parts .part").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("m")
    page.wait_for_url("**/?like=*")
    assert page.locator(".clip").count() > 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/clips/*")
    assert page.locator("main audio").count() == 1 and page.locator(".clip.current").count() == 1


def test_sounds_are_dropped_and_recorded(page, demo_archive):
    path = next(demo_archive.glob("edgar*.opus"))
    # what is said stays until it is seen
    page.add_init_script("setTimeout = ((later) => (call, wait) => wait > 5000 ? 0 : later(call, wait))(setTimeout)")
    page.goto("/")
    page.set_input_files("#file", path)
    page.wait_for_url("**like=sound*")
    assert "edgar" in page.locator(".clip .recording").first.inner_text()
    page.set_input_files("#file", {"name": "x.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.wait_for_selector("#said:not([hidden])")
    comes(page, "document.querySelector('#said').textContent.includes('cannot be used')")
    page.goto("/")
    page.click("#record")
    page.wait_for_selector("#record.chosen")
    page.wait_for_timeout(1200)
    page.click("#record")
    page.wait_for_url("**like=sound*")
    assert page.locator(".clip").count() > 1


def test_the_map_is_drawn_heard_and_searched(page, clips):
    page.goto("/map")
    comes(page, "document.querySelector('#how').textContent.includes('clips, ')")
    comes(page, "document.querySelector('#points').getContext('2d').getImageData(0, 0, 1200, 400).data.some(Boolean)")
    central = """() => {
        const far = (i) => Math.hypot(map.x[i] - 32768, map.y[i] - 32768);
        const i = map.x.map((_, place) => place).sort((a, b) => far(a) - far(b))[0];
        return toScreen(map.x[i], map.y[i]);
    }"""
    x, y = page.evaluate(central)  # of a clip that leaves room on the chart to draw around it
    box = page.locator("#over").bounding_box()
    page.mouse.move(box["x"] + x, box["y"] + y)
    page.wait_for_selector("#pointed a")
    page.keyboard.down("Shift")
    page.mouse.move(box["x"] + x - 60, box["y"] + y - 60)
    page.mouse.down()
    for dx, dy in ((60, -60), (60, 60), (-60, 60)):
        page.mouse.move(box["x"] + x + dx, box["y"] + y + dy, steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    page.wait_for_url("**region=*")
    assert 0 < page.locator(".clip").count() < clips


def test_a_server_s_index_is_served_too(folder, home):
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from tests.fakes.qdrant.double import qdrant_double
    from voxdex.indexer.location import ServerIndex
    from voxdex.indexer.maintenance import copy_index

    with qdrant_double() as double:
        place = ServerIndex(double.url, "voices")
        state = AppState.of(place, Settings(), "cpu")
        server = TestClient(create_app(state), base_url="http://127.0.0.1:8765")
        asked = {"caption": "a whispering woman", "where": "speaker!=anna", "facets": "speaker"}
        assert server.get("/api/search", params=asked).status_code == 503
        with EdgeStore.open(folder) as store:
            copy_index(store, place)
        state.index.refresh()
        with serving(folder) as local:
            expected, found = (each.get("/api/search", params=asked).json() for each in (local, server))
        assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in expected["hits"]]
        assert found["facets"] == expected["facets"]
        assert server.get("/", params={"captions": "calm"}).text.count('class="clip"') == 20
        assert server.get(f"/api/clips/{found['hits'][0]['id']}/audio").status_code == 200
        state.close()
