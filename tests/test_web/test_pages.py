"""Pages in HTML."""

import re

from tests.fakes.server import serve_index
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.index import index
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.edge import EdgeStore


def test_pages(server, whispering_hits, clip_count):
    page = server.get("/", params={"captions": "a whispering woman", "where": "speaker=dora", "not": "", "group_by": ""})
    assert page.status_code == 200 and 0 < page.text.count('class="clip"') <= 4 and "speaker=dora ✕" in page.text
    assert "whispering&nbsp;✓" in page.text
    wrong = server.get("/", params={"captions": "x", "where": "shoe=1"})
    assert wrong.status_code == 400 and "has no field &#39;shoe&#39;" in wrong.text
    recording = server.get(f"/clips/{whispering_hits[0].id}")
    assert whispering_hits[0].recording in recording.text and f'data-id="{whispering_hits[0].id}"' in recording.text
    for path, words in (
        ("/map", "coloured by"),
        ("/status", f"{clip_count}, "),
        ("/help", "/api/rerank"),
        ("/nothing", "Not Found"),
    ):
        assert words in server.get(path).text
    browsed = server.get("/", params={"where": "speaker=dora"})
    assert browsed.text.count('class="clip"') == 4 and "4 clips meet the conditions" in browsed.text
    none = server.get("/", params={"where": "speaker=nobody"})
    assert "No clip meets these conditions." in none.text and 'class="clip"' not in none.text
    summaries = re.findall(r"<summary>([a-z_]+)</summary>", server.get("/").text)
    assert summaries[0] == "gender" and summaries == re.findall(r"<summary>([a-z_]+)</summary>", server.get("/").text)
    kept = server.get(
        "/", params={"captions": "a woman", "fold": "1", "per_group": 2, "within": whispering_hits[0].recording}
    ).text
    assert 'name="fold" value="1.0"' in kept and 'name="per_group" value="2"' in kept and "within: " in kept
    hostile = server.get("/", params={"captions": "<script>alert(1)</script>"})
    assert "<script>alert" not in hostile.text


def test_neighbouring_clips_of_a_long_recording(tmp_path, mini, home, monkeypatch):
    monkeypatch.setattr("voxdex.web.pages.CONTEXT_CLIPS", 1)
    write_sound(tmp_path / "long.wav", voice(25.0, 150))
    with EdgeStore.create(tmp_path / "index", mini.card.space, "mini", 256) as store:
        index(find_recordings([tmp_path / "long.wav"]), store, mini)
    with serve_index(tmp_path / "index") as server:
        found = server.get("/api/search", params={"caption": "x", "fold": 1}).json()["hits"]
        last = max(found, key=lambda hit: hit["start"])
        page = server.get(f"/clips/{last['id']}").text
    assert f"{len(found)} clips of speech, {len(found) - 1} to {len(found)} shown" in page and page.count('class="clip"') == 2
