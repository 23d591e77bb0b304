"""Serving of an index that changes, and of one on a Qdrant server."""

from functools import partial

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.fakes.server import open_state, serve_index
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.index import index
from voxdex.indexer.progress import write_progress
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import LOCK
from voxdex.web.app import create_app
from voxdex.web.settings import Settings
from voxdex.web.state import AppState


def test_search_during_and_after_indexing(tmp_path, mini, home):
    audio, library_index = tmp_path / "audio", tmp_path / "index"
    audio.mkdir()
    write_sound(audio / "a.wav", voice(2.0, 110))
    state = open_state(library_index)
    library, server = state.index, TestClient(create_app(state), base_url="http://127.0.0.1:8765")

    def answer() -> httpx.Response:
        return server.get("/api/search", params={"caption": "a voice"})

    assert answer().status_code == 503 and "There is no index" in answer().json()["error"]
    with EdgeStore.create(library_index, mini.card.space, "mini", 256) as store:
        index(find_recordings([audio]), store, mini)
        assert library.progress() is None
    library.refresh()
    assert len(answer().json()["hits"]) == 1
    write_sound(audio / "b.wav", voice(2.0, 200))
    with EdgeStore.open(library_index) as store:
        index(find_recordings([audio]), store, mini, on_progress=partial(write_progress, folder=library_index))
        library.refresh()
        assert len(answer().json()["hits"]) == 1 and server.get("/api/status").json()["running"]["done"] == 2
        assert "2 of 2 recordings" in server.get("/status").text
        with pytest.raises(StoreError, match="in use"):
            EdgeStore.open(library_index)
    library.refresh()
    assert len(answer().json()["hits"]) == 2 and server.get("/api/status").json()["running"] is None
    library.close()
    assert list((home / "snapshots").iterdir()) == []


def test_replicas_of_ended_processes_are_removed(library_index, home):
    made, died = home / "snapshots" / "made", home / "snapshots" / "died"
    made.mkdir(parents=True)
    died.mkdir()
    (died / LOCK).touch()
    with serve_index(library_index):
        assert made.exists() and not died.exists()


def test_index_on_a_qdrant_server(library_index, home):
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
        with EdgeStore.open(library_index) as store:
            copy_index(store, place)
        state.index.refresh()
        with serve_index(library_index) as local:
            expected, found = (each.get("/api/search", params=asked).json() for each in (local, server))
        assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in expected["hits"]]
        assert found["facets"] == expected["facets"]
        assert server.get("/", params={"captions": "calm"}).text.count('class="clip"') == 20
        assert server.get(f"/api/clips/{found['hits'][0]['id']}/audio").status_code == 200
        state.close()
