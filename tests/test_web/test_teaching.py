"""Taught words over the API and the client."""

import shutil

import pytest

from tests.fakes.server import serve_index
from voxdex.indexer.store.files import copy_file


@pytest.fixture
def own_index(library_index, home, tmp_path):
    """A copy of the index of the sample archive, which a test may change."""
    return shutil.copytree(library_index, tmp_path / "own", copy_function=copy_file)


def test_words_are_taught_and_forgotten(own_index):
    with serve_index(own_index, allows_teaching=True) as server:
        whispers = server.get("/api/search", params={"captions": ["whispering"], "limit": 6}).json()["hits"]
        others = server.get("/api/search", params={"captions": ["a man, not whispering"], "limit": 6}).json()["hits"]
        body = {"name": "hushed", "liked": [hit["id"] for hit in whispers], "unliked": [hit["id"] for hit in others]}
        judged = server.post("/api/teach", json=body | {"keep": False})
        assert judged.status_code == 200, judged.text
        assert not judged.json()["kept"] and server.get("/api/taught").json() == {"taught": []}
        taught = server.post("/api/teach", json=body)
        assert taught.status_code == 200 and taught.json()["quality"]["auc"] > 0.6 and taught.json()["next"], taught.text
        assert [word["name"] for word in server.get("/api/taught").json()["taught"]] == ["hushed"]
        found = server.get("/api/search", params={"captions": ["a hushed voice"], "where": ["hushed=yes"]}).json()
        assert found["hits"] and all(hit["attributes"]["hushed"] == "yes" for hit in found["hits"])
        assert found["notes"] == [] and found["hits"][0]["matched"]["hushed"] is True
        assert server.delete("/api/taught/hushed").json() == {"taught": []}
        assert server.delete("/api/taught/hushed").status_code == 400


def test_servers_teach_nothing_unless_told(server, whispering_hits):
    body = {"name": "hushed", "liked": [hit.id for hit in whispering_hits[:4]]}
    refused = server.post("/api/teach", json=body)
    assert refused.status_code == 403 and "--allow-teaching" in refused.json()["error"]
    assert server.delete("/api/taught/hushed").status_code == 403
    assert server.post("/api/teach", json=body | {"keep": False}).status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "two words"}, "is no name of a label"),
        ({"liked": ["x"]}, "is no clip's id"),
        ({"liked": ["3e7c0c2e-0000-0000-0000-000000000000"] * 3}, "Give at least 2 clips"),
        ({"liked": []}, "Give at least 2 clips"),
        ({"name": "x" * 99}, "name: "),
    ],
)
def test_lessons_that_are_refused(server, whispering_hits, changes, words):
    body = {"name": "hushed", "liked": [hit.id for hit in whispering_hits[:3]], "keep": False}
    refused = server.post("/api/teach", json=body | changes)
    assert refused.status_code == 400 and words in refused.json()["error"]
