"""Refusal of indexes in a newer or older format."""

import json

import httpx
import pytest

from tests.fakes.edge_index import MINI, contents, remove_shard_descriptions, shard
from tests.fakes.qdrant.double import collection_names
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.store.base import FORMAT, StoreError
from voxdex.indexer.store.edge import EdgeStore

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


@pytest.mark.parametrize("where", ["index.json", "about.json"])
def test_newer_format_of_an_embedded_index(edge_index, where, here, tmp_path):
    newer = json.dumps({"format": FORMAT + 1, "spaces": {"voice": "x"}})
    if where == "index.json":
        (edge_index / where).write_text(newer)
    else:
        (edge_index / "index.json").unlink()
        (shard(edge_index) / where).write_text(newer)
    before = contents(edge_index)
    for ask in (EdgeStore.open, EdgeStore.exists, lambda folder: EdgeStore.create(folder, MINI.space, "mini", 256)):
        with pytest.raises(
            StoreError, match=rf"newer Voxdex, in format {FORMAT + 1}; this one knows format {FORMAT}\. Update Voxdex"
        ) as error:
            ask(edge_index)
        assert "elete" not in str(error.value)
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"]):
        refused = here(*command, "--index", edge_index)
        assert refused.status == 2 and "Update Voxdex" in refused.err
    assert contents(edge_index) == before and EdgeStore.revision(edge_index) == ()


@pytest.mark.parametrize("where", ["index.json", "about.json", "points"])
def test_older_format_of_an_embedded_index(edge_index, where, here, tmp_path):
    older = json.dumps({"format": 2, "space": MINI.space, "model": "mini", "says": None})
    if where == "index.json":
        (edge_index / where).write_text(older)
    elif where == "about.json":
        (edge_index / "index.json").unlink()
        (shard(edge_index) / where).write_text(older)
    else:
        with EdgeStore.open(edge_index) as store:
            store.set_payload({"kind": "recording"}, {"says": ""})
        remove_shard_descriptions(edge_index)
        (edge_index / "index.json").unlink()
    before = contents(edge_index)
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"], ["reindex", "--model", "mini-open"]):
        refused = here(*command, "--index", edge_index)
        assert refused.status == 2 and "Traceback" not in refused.err
        assert (
            f"has format 2, which this Voxdex no longer reads (it reads format {FORMAT}): index its recordings" in refused.err
        )
    assert contents(edge_index) == before


def test_newer_format_of_a_collection():
    qdrant_client = pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import QdrantConnection
    from voxdex.indexer.store.qdrant_server import ServerStore

    client = qdrant_client.QdrantClient(":memory:")
    ServerStore.create(QdrantConnection([client]), "voices", MINI.space, "mini", 256)
    [collection] = [found.name for found in client.get_collections().collections]
    about = next(point for point in client.scroll(collection)[0] if "format" in point.payload)
    client.set_payload(collection, {"format": FORMAT + 1}, [about.id])
    with pytest.raises(StoreError, match=rf"newer Voxdex, in format {FORMAT + 1}.* Update Voxdex") as error:
        ServerStore.open(QdrantConnection([client]), "voices")
    assert "elete" not in str(error.value)


def test_older_format_of_a_collection(double, here, tmp_path):
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_collections import DESCRIPTION_ID
    from voxdex.indexer.store.qdrant_connection import connect
    from voxdex.indexer.store.qdrant_server import ServerStore

    with ServerStore.create(connect(double.url), "voices", "space", "mini", 4) as store:
        collection = store._collection
    changes = {"payload": {"format": 2, "says": None}, "points": [DESCRIPTION_ID]}
    with httpx.Client(base_url=double.url) as client:
        client.post(f"/collections/{collection}/points/payload", params={"wait": True}, json=changes).raise_for_status()
    write_sound(tmp_path / "a.wav", voice(1.0))
    at = ("--url", double.url, "--collection", "voices")
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"], ["reindex", "--model", "mini-open"]):
        refused = here(*command, *at)
        assert refused.status == 2 and "Traceback" not in refused.err
        assert "has format 2, which this Voxdex no longer reads" in refused.err and "--collection NAME" in refused.err
    assert collection_names(double) == [collection]
