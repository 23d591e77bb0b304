"""The HTTP API: search, sounds, embeddings, labels, captions, rewards, audio, playlists and status."""

import io
import re
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from tests.fakes.server import upload
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.audio.reader import read_audio
from voxdex.search.caption import CaptionBank
from voxdex.search.classify import classify_file, label_set
from voxdex.search.rerank import Reward
from voxdex.search.scoring import caption_vector
from voxdex.web.state import AppState


def test_search_agrees_with_python(server, whispering_hits):
    found = server.post("/api/search", json={"caption": "a whispering woman"}).json()
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in whispering_hits]
    assert found["hits"][0]["score"] == pytest.approx(whispering_hits[0].score, abs=1e-5)
    assert found["query"]["captions"] == ["a whispering woman"]
    again = server.get("/api/search", params={"captions": "a whispering woman"}).json()
    assert again["query"] == found["query"] | {"caption": "a whispering woman"}
    assert [hit["id"] for hit in again["hits"]] == [hit["id"] for hit in found["hits"]]


def test_texts_of_a_query_are_embedded_in_one_batch(server):
    def text_batches() -> float:
        return float(re.search(r'voxdex_embedded_together_count\{kind="text"\} (\S+)', server.get("/metrics").text)[1])

    asked = {"captions": ["a tired old man with a German accent, not shouting", "a slow voice"], "move": ["calm -> angry"]}
    before = text_batches() if server.post("/api/search", json={"caption": "a woman"}).is_success else 0
    assert server.post("/api/search", json=asked).is_success and text_batches() == before + 1


def test_all_parts_of_a_query(server, whispering_hits):
    asked = {
        "captions": ["a woman::2", "calm"],
        "not": ["shouting"],
        "like": [whispering_hits[0].id],
        "unlike": [f"{whispering_hits[-1].id}::0.5"],
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
    liked = server.post(
        "/api/search", json={"caption": "a man", "liked": [whispering_hits[0].id], "disliked": [whispering_hits[-1].id]}
    ).json()
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
        ({"move": ["calm -> " + "very " * 200_000]}, "the limit is 2000"),
        ({"caption": "x", "says": "..."}, "'...' has no words to pronounce"),
        ({"caption": "x", "says": "/---/"}, "'/---/' has no words to pronounce"),
        ({"caption": "x", "where": ["not " * 1000 + "calm"]}, 'nests parentheses and "not" more than 40 deep'),
        ({"caption": "x", "where": [" and ".join(["gender=male"] * 20_000)]}, "the limit is 10000"),
        ({"caption": "x", "where": ["gender=male"] * 45, "group_by": "..."}, "no field '...'"),
        ({"caption": "x", "where": ["recorded~2019*"]}, "'recorded' is not text"),
        ({"caption": "x", "facets": ["\x00"]}, "no field '\\x00'"),
        ({"caption": "x", "limit": 0}, "limit: Input should be greater"),
        ({"caption": "x", "shoe": 1}, "shoe: Extra inputs"),
        ({"caption": "x", "region": "1,2"}, "is not written x,y"),
        ({"caption": "x", "facets": ["duration"]}, "is a number"),
    ],
)
def test_invalid_queries(server, asked, words):
    refused = server.post("/api/search", json=asked)
    assert refused.status_code == 400 and words in refused.json()["error"]


def test_invalid_requests(server):
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
def test_invalid_json(server, body, words):
    refused = server.post("/api/search", content=body, headers={"Content-Type": "application/json"})
    assert refused.status_code == 400 and words in refused.json()["error"]


def test_captions_without_words(server, demo_archive):
    take = [("files", upload(demo_archive / "anna-1.wav"))]
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


def test_last_representable_dates(server, clip_count):
    for where in ("recorded<=9999-12-31", "recorded:2019..9999", "recorded:2019..9999-12", "recorded<9999-12-31T23:59:59"):
        found = server.post("/api/search", json={"caption": "a man", "where": [where], "limit": 100, "fold": 1}).json()
        assert len(found["hits"]) == clip_count


def test_internal_errors_are_json_and_logged(server, monkeypatch, caplog):
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
def test_uploaded_sound_finds_itself(server, ending):
    any_of_them = {"caption": "a voice", "where": [f'path~"*.{ending}"'], "limit": 1}
    indexed = server.post("/api/search", json=any_of_them).json()["hits"][0]
    path = Path(indexed["recording"])  # whispers may be taken for noise, so not any file
    kept = server.post("/api/sounds", files={"file": upload(path)}).json()
    assert kept["seconds"] == pytest.approx(len(read_audio(path)) / 16_000, abs=0.01)
    found = server.post("/api/search", json={"like": [kept["name"]], "limit": 1}).json()["hits"]
    assert found[0]["recording"] == str(path)
    part = server.post("/api/search", json={"like": [f"{kept['name']}:0.5-1.5::2"], "limit": 1})
    assert part.status_code == 200


def test_invalid_sounds(server, tmp_path):
    long = server.post("/api/sounds", files={"file": upload(write_sound(tmp_path / "long.flac", voice(25.0), codec="flac"))})
    assert long.status_code == 400 and "longer than 20 s" in long.json()["error"]
    text = server.post("/api/sounds", files={"file": ("x.wav", b"no sound at all")})
    assert text.status_code == 400 and "not audio or video" in text.json()["error"]
    assert server.post("/api/sounds").status_code == 400
    named = server.post("/api/classify", files={"files": ("my take.wav", b"no sound at all")})
    assert named.status_code == 400 and "my take.wav cannot be used" in named.json()["error"]


def test_embed_classify_and_caption_agree_with_python(server, demo_archive, mini):
    path = next(demo_archive.glob("dora*.wav"))
    found = server.post("/api/embed", data={"captions": ["a sad man", "calm"]}, files={"files": upload(path)}).json()
    assert np.allclose(found["captions"][0], caption_vector("a sad man", mini), atol=1e-5)
    assert np.allclose(found["speech"][0], next(iter(mini.embed_speech([read_audio(path)]))), atol=1e-4)
    assert found["clips"][0].startswith(f"{path.name}#0.0-") and found["space"] == mini.card.space

    labelled = server.post("/api/classify", data={"attributes": ["phonation"]}, files={"files": upload(path)}).json()["results"]
    expected = classify_file(mini, path, [label_set(mini, "phonation")])[0].document()
    assert labelled[0] == expected | {"recording": path.name}
    own = server.post("/api/classify", data={"labels": ["whispering", "shouting"]}, files={"files": upload(path)}).json()
    expected = classify_file(mini, path, [label_set(mini, "label", ["whispering", "shouting"])])[0].document()
    assert own["results"][0]["label"] == expected["label"]
    assert server.post("/api/classify", data={"labels": ["one"]}, files={"files": upload(path)}).status_code == 400

    captions = server.post("/api/caption", data={"limit": 3, "compose": True}, files={"files": upload(path)}).json()["results"]
    best = CaptionBank(mini).find(np.array(found["speech"][0], dtype=np.float32), 3)
    assert [each["caption"] for each in captions[0]["captions"]] == [fitting.caption for fitting in best]
    assert captions[0]["composed"]
    bank = server.post("/api/caption", data={"captions": "whispering\nshouting"}, files={"files": upload(path)}).json()[
        "results"
    ]
    assert {each["caption"] for each in bank[0]["captions"]} == {"whispering", "shouting"}


def test_rewards_agree_with_python(server, demo_archive, mini):
    takes = sorted(demo_archive.glob("*-1.*"))[:4]
    files, reward = [("files", upload(take)) for take in takes], Reward(mini)
    found = server.post("/api/rerank", data={"captions": "a whispering woman"}, files=files).json()
    expected = reward.many(takes, ["a whispering woman"] * 4)
    assert np.allclose(found["rewards"], expected, atol=1e-5)
    assert found["results"][0]["takes"][0]["recording"] == takes[int(expected.argmax())].name
    each = server.post("/api/rerank", data={"captions": ["a man", "a woman", "a man", "a woman"]}, files=files).json()
    assert np.allclose(each["rewards"], reward.many(takes, ["a man", "a woman"] * 2), atol=1e-5) and len(each["results"]) == 2
    alike = server.post("/api/rerank", files=[*files, ("reference", upload(takes[2]))]).json()
    assert alike["results"][0]["takes"][0]["recording"] == takes[2].name
    assert "4 takes but 2 captions" in server.post("/api/rerank", data={"captions": ["a", "b"]}, files=files).json()["error"]
    assert "nothing to rank" in server.post("/api/rerank", files=files).json()["error"]


@pytest.mark.parametrize("stem", ["anna", "bella", "clara", "edgar", "henry"])
def test_audio_and_peaks_of_clips(server, stem):
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


def test_playlists(server, whispering_hits):
    ids = [hit.id for hit in whispering_hits[:3]]
    packed = server.post("/api/playlist.zip", json={"clips": ids})
    with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
        names = archive.namelist()
    assert [name[:2] for name in names] == ["01", "02", "03"] and Path(whispering_hits[0].recording).stem in names[0]
    lines = server.post("/api/playlist.m3u8", json={"clips": ids}).text.splitlines()
    assert lines[0] == "#EXTM3U" and lines[4::4] == [hit.recording for hit in whispering_hits[:3]]
    rows = server.get("/api/playlist.csv", params={"clips": ids}).text.splitlines()
    assert len(rows) == 4 and "attributes.gender" in rows[0]
    timeline = server.get("/api/playlist.otio", params={"clips": ids}).json()
    clips = timeline["tracks"]["children"][0]["children"]
    assert [clip["metadata"]["voxdex"]["id"] for clip in clips] == ids
    assert b"<asset-clip" in server.post("/api/playlist.fcpxml", json={"clips": ids}).content
    assert server.post("/api/playlist.zip", json={"clips": []}).status_code == 400


def test_status_metrics_and_openapi(server, clip_count):
    status = server.get("/api/status").json()
    assert (
        status["clips"] == clip_count
        and status["running"] is None
        and {model["name"] for model in status["models"]} >= {"mini"}
    )
    assert server.get("/").status_code == 200
    server.request("FOO", "/")
    metrics = server.get("/metrics").text
    assert "FOO" not in metrics
    assert f"voxdex_clips {clip_count}.0" in metrics and 'voxdex_requests_total{method="GET",route="/",status="200"}' in metrics
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
