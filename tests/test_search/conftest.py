"""Fixtures of the tests of search."""

from collections.abc import Iterator

import pytest

from voxdex.indexer.store.edge import EdgeStore


@pytest.fixture
def store(library) -> Iterator[EdgeStore]:
    """The sample archive, with the fields speaker and recorded. For reading only."""
    with EdgeStore.open(library / "indexes" / "default") as store:
        yield store
