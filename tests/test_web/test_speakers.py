"""Speakers and transcripts over the API and the client."""

import shutil

import httpx
import pytest

from tests.fakes.server import serve_index, serve_process
from voxdex.search.query import QuerySpec
from voxdex.web.client import Client, ServerError


@pytest.fixture
def voices(voxdex, spoken_archive, home, tmp_path):
    """The index of two sentences by a woman and a man (espeak-ng) with their speakers, and a transcript of one."""
    folder = tmp_path / "voices"
    folder.mkdir()
    for name in ("en-us-f2-0", "en-us-f2-1", "en-m1-0", "en-m1-1"):
        shutil.copy(spoken_archive / f"{name}.wav", folder / f"{name}.wav")
    (folder / "en-m1-1.srt").write_text("1\n00:00:00,100 --> 00:00:03,000\nPlease leave your name\n")
    assert voxdex("index", folder, "--speakers").status == 0
    assert voxdex("speakers", "name", "1", "Anna").status == 0
    return home / "indexes" / "default"


def test_speakers_and_transcripts_over_http(voices, spoken_archive):
    with serve_process(voices, voices.parent.parent) as address, Client(address) as client:
        assert sorted(each["name"] for each in client.speakers()) == ["", "Anna"]
        hits = client.search(QuerySpec(voice=[str(spoken_archive / "en-us-f2-0.wav")]))
        assert [hit.recording.rsplit("/", 1)[1][:5] for hit in hits[:2]] == ["en-us"] * 2 and hits[0].same_voice > 0.98
        [man] = client.search(QuerySpec(text="leave your name"))
        assert man.spoken.transcript == "Please leave your name" and man.spoken.start == 0.1
        same = client.search(QuerySpec(captions=["a low voice"], voice=[man.id]))
        assert len(same) == 2 and all("en-m1" in hit.recording for hit in same)
        assert {hit.attributes["speaker"] for hit in same} == {man.attributes["speaker"]}
        page = httpx.get(address, params={"voice": man.id}).text
        assert page.count('class="clip"') == 4 and "voice: " in page and "From hit 3 on" in page
        said = httpx.get(address, params={"text": "your name"}).text
        assert "Please leave your name</q>" in said and "same person" in said and 'name="text" value="your name"' in said
        with pytest.raises(ServerError, match="has no words to find in transcripts"):
            client.search(QuerySpec(text="?!"))


def test_an_index_without_speakers(library_index):
    with serve_index(library_index) as server:
        assert server.get("/api/speakers").json() == {"speakers": []}
        hit = server.get("/api/search", params={"captions": ["a man"]}).json()["hits"][0]
        refused = server.get("/api/search", params={"voice": [hit["id"]]})
        assert refused.status_code == 400 and "The index has no speakers" in refused.json()["error"]
