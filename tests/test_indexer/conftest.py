"""Fixtures of the tests of the indexer."""

from pathlib import Path

import pytest

from tests.fakes.edge_index import MINI, copy_tree, point, points, recording
from tests.fakes.sounds import voice, write_sound
from tests.fakes.stores import edge_store, fill_store, server_store
from voxdex.indexer.store.edge import EdgeStore


@pytest.fixture(scope="session")
def pristine_index(tmp_path_factory) -> Path:
    """An index of two recordings."""
    folder = tmp_path_factory.mktemp("made") / "index"
    with EdgeStore.create(folder, MINI.space, "mini", 256) as store:
        store.ensure_fields({"metadata.speaker": "text"})
        store.upsert([point(1), recording(1), point(2), recording(2)])
        store.cache_put("recordings", lambda: [["1", []], ["2", []]])
    return folder


@pytest.fixture
def edge_index(pristine_index, tmp_path) -> Path:
    """A copy of `pristine_index` to damage."""
    copy_tree(pristine_index, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def edge_index_points(pristine_index, tmp_path) -> dict:
    """Payloads of `pristine_index` by point id."""
    copy_tree(pristine_index, tmp_path / "expected")
    with EdgeStore.open(tmp_path / "expected") as store:
        return points(store)


@pytest.fixture
def five_recordings(tmp_path) -> Path:
    """A folder with a.wav to e.wav, of one clip each."""
    folder = tmp_path / "audio"
    folder.mkdir()
    for number, name in enumerate("abcde"):
        write_sound(folder / f"{name}.wav", voice(2.0, 100 + 15 * number, number))
    return folder


@pytest.fixture
def three_recordings(tmp_path) -> Path:
    """A folder with a.wav and b.flac, of one clip each, and more/long.wav, of five."""
    folder = tmp_path / "audio"
    (folder / "more").mkdir(parents=True)
    write_sound(folder / "a.wav", voice(2.0, 110))
    write_sound(folder / "b.flac", voice(3.0, 200), codec="flac")
    write_sound(folder / "more" / "long.wav", voice(25.0, 150))
    return folder


@pytest.fixture(params=["few", "many", "optimised", "server"])
def any_store(request, tmp_path, monkeypatch):
    """few: fields are indexed at once. many: they wait for optimise(). optimised: after it. server: on a double."""
    if request.param in ("many", "optimised"):
        monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 2)
    with (server_store if request.param == "server" else edge_store)(tmp_path) as store:
        fill_store(store)
        if request.param == "optimised":
            store.optimise()
        yield store
