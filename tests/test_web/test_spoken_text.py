"""Spoken text on the page and in the HTTP API."""

from pathlib import Path

from tests.fakes.server import serve_index
from tests.fakes.spoken import HARBOUR


def test_search_by_spoken_text(spoken_home, home):
    with serve_index(spoken_home / "indexes" / "default") as server:
        found = server.post("/api/search", json={"says": HARBOUR, "limit": 3})
        assert [Path(hit["recording"]).stem[-1] for hit in found.json()["hits"]] == ["2"] * 3, found.text
        page = server.get("/", params={"says": HARBOUR, "captions": "a woman"})
        assert page.status_code == 200 and "spoken at" in page.text and 'name="says"' in page.text
        refused = server.post("/api/search", json={"says": "a", "language": "xx"})
        assert refused.status_code == 400 and "no language" in refused.text
