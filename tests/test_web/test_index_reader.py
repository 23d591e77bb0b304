"""The reader of the served index."""

import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from voxdex.indexer.location import ServerIndex
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.filters import MATCH_ALL
from voxdex.web.index_reader import IndexReader


def test_served_index_follows_a_promotion(here, four_recordings, double, other_model):
    server = ("--url", double.url)
    here("index", four_recordings, *server)
    place = ServerIndex(double.url, "voxdex")
    library = IndexReader(place, "cpu", lambda name, count: None)
    with library.opened() as opened:
        assert opened.store.space.startswith("mini@")
    here("reindex", "--model", other_model, *server)
    library.refresh()
    with library.opened() as opened:
        assert opened.store.space.startswith("other@7") and opened.model.card.name == "other" and opened.clips == 4
        assert opened.values(["gender"], MATCH_ALL)
    double.down = True
    library.refresh()
    with library.opened() as opened, pytest.raises(StoreError, match="does not answer"):
        opened.store.count()
    double.down = False
    library.refresh()
    with library.opened() as opened:
        assert opened.store.count() == 4
    library.close()
