"""Fixtures of the tests of web: servers over the sample archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.fakes.server import serve_index, serve_process
from voxdex.indexer.store.edge import EdgeStore
from voxdex.search.engine import search_index
from voxdex.search.query import Hit, Query, ask


@pytest.fixture(scope="package")
def library_index(library) -> Path:
    """The index of the sample archive."""
    return library / "indexes" / "default"


@pytest.fixture(scope="package")
def clip_count(library_index) -> int:
    """Number of clips: some whispered sentences of espeak-ng are taken for noise."""
    with EdgeStore.open(library_index) as store:
        return store.count()


@pytest.fixture(scope="package")
def server(library_index, tmp_path_factory) -> Iterator[TestClient]:
    """A client of a server in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VOXDEX_HOME", str(tmp_path_factory.mktemp("home")))
        with serve_index(library_index, max_audio_seconds=20.0) as server:
            yield server


@pytest.fixture(scope="package")
def whispering_hits(library_index, mini) -> list[Hit]:
    """Hits of "a whispering woman" by the Python interface."""
    with EdgeStore.open(library_index) as store:
        return search_index(Query(ask("a whispering woman")), store, mini)


@pytest.fixture(scope="package")
def address(library_index, tmp_path_factory) -> Iterator[str]:
    """Address of a server process."""
    home = tmp_path_factory.mktemp("served")
    with serve_process(library_index, home) as address:
        yield address
