"""Stores on a Qdrant server: creation by several processes, promotion, limits and names of collections."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from tests.fakes.qdrant.double import collection_names, qdrant_double
from voxdex.indexer.store.base import PhoneticSpace, Point, StoreError
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.qdrant_collections import describe
from voxdex.indexer.store.qdrant_connection import connect
from voxdex.indexer.store.qdrant_fields import FIELDS
from voxdex.indexer.store.qdrant_server import ServerStore

NEW = ("voices", "space", "mini", 4)
SOUNDS = PhoneticSpace("sounds", "phonetic", 3)


def clips(count, **payload):
    """Clips of so many recordings, the ones near the first axis first."""
    for number in range(count):
        vector = np.array([1.0, number / count, 0.1, 0.0], dtype=np.float32)
        about = {"kind": "clip", "recording": f"/a/{number:03}.wav", "content": f"c{number}", **payload}
        yield Point(f"00000000-0000-0000-0000-{number:012}", vector / np.linalg.norm(vector), about | {"number": float(number)})


def test_concurrent_creation(double):
    together = threading.Barrier(6)

    def begin(number):
        together.wait()
        with ServerStore.create(connect(double.url), *NEW) as store:
            store.ensure_fields({f"metadata.m{number}": "number", "metadata.shared": "text", f"metadata.t{number}": "text"})
            store.upsert([Point(f"00000000-0000-0000-0001-{number:012}", np.eye(4, dtype=np.float32)[0], {"kind": "clip"})])

    with ThreadPoolExecutor(6) as processes:
        list(processes.map(begin, range(6)))
    with ServerStore.open(connect(double.url), "voices") as store:
        assert store.count() == 6 and len(collection_names(double)) == 1
        assert set(store.schema()) == {f"metadata.{kind}{number}" for kind in "mt" for number in range(6)} | {"metadata.shared"}


def test_concurrent_declaration_of_fields(double):
    with ServerStore.create(connect(double.url), *NEW) as first, ServerStore.open(connect(double.url), "voices") as second:
        first.ensure_fields({"metadata.a": "text"})
        second.ensure_fields({"metadata.b": "number"})
        first.ensure_fields({"metadata.c": "date", "metadata.b": "text"})
        assert first.schema() == {"metadata.a": "text", "metadata.b": "number", "metadata.c": "date"}


def test_creation_after_an_interruption_at_any_request():
    requests = 0
    while True:
        requests += 1
        with qdrant_double() as double:
            left = requests

            def count(*_):
                nonlocal left
                left -= 1
                double.down = left < 0

            double.on_request = count
            cut = False
            try:
                ServerStore.create(connect(double.url), *NEW).close()
            except StoreError:
                cut = True
            double.on_request, double.down = lambda *_: None, False
            with ServerStore.create(connect(double.url), *NEW) as store:
                store.ensure_fields({"recording": "text"})
                store.upsert(list(clips(3)))
                assert store.count() == 3 and len(collection_names(double)) == 1
            if not cut:
                break
    assert requests > 5


@pytest.mark.parametrize("is_alias", [False, True])
def test_foreign_collections_are_refused(double, is_alias):
    client = connect(double.url)
    with httpx.Client(base_url=double.url) as http:
        http.put("/collections/theirs", json={"vectors": {"size": 4, "distance": "Cosine"}})
        if is_alias:
            action = {"create_alias": {"collection_name": "theirs", "alias_name": "mine"}}
            http.post("/collections/aliases", json={"actions": [action]})
    name = "mine" if is_alias else "theirs"
    for make in (ServerStore.create, ServerStore.create_staging):
        if make == ServerStore.create_staging and is_alias:
            continue
        with pytest.raises(StoreError, match=f"'{name}'.*not Voxdex's.*--collection"):
            make(client, name, *NEW[1:])
    assert collection_names(double) == ["theirs"]


def test_foreign_collection_under_the_physical_name(double):
    with ServerStore.create(connect(double.url), *NEW) as store:
        collection = store._collection
    with httpx.Client(base_url=double.url) as http:
        http.delete(f"/collections/{collection}")
        http.put(f"/collections/{collection}", json={"vectors": {"size": 4, "distance": "Cosine"}})
        http.put(f"/collections/{collection}/points", json={"points": [{"id": 1, "vector": [1, 0, 0, 0], "payload": {}}]})
    with pytest.raises(StoreError, match="holds what is not Voxdex's"):
        ServerStore.create(connect(double.url), *NEW)


def test_phonetic_space_is_set_at_creation_only(double):
    with ServerStore.create(connect(double.url), *NEW) as store, pytest.raises(StoreError, match="voxdex reindex --phonetic"):
        store.add_phonetic(SOUNDS)
    with ServerStore.create_staging(connect(double.url), *NEW, phonetic=SOUNDS) as store:
        assert store.phonetic == SOUNDS
        with ServerStore.open(connect(double.url), "voices") as former:
            assert former.phonetic is None
        store.promote()
    with ServerStore.open(connect(double.url), "voices") as store:
        assert store.phonetic == SOUNDS and len(collection_names(double)) == 1


def test_former_index_answers_until_promotion(double):
    with ServerStore.create(connect(double.url), *NEW) as former:
        former.upsert(list(clips(3)))
        before = former.revision()
        with ServerStore.create_staging(connect(double.url), "voices", "other", "other", 4) as beside:
            assert former.revision() == before
            beside.upsert(list(clips(2)))
            with ServerStore.open(connect(double.url), "voices") as store:
                assert (store.space, store.count()) == ("space", 3)
            beside.promote()
        assert former.revision() != before
        with pytest.raises(StoreError, match="no longer has the collection"):
            former.count()


def test_promotion_removes_abandoned_collections(double):
    ServerStore.create(connect(double.url), *NEW).close()
    ServerStore.create(connect(double.url), "voices-0123456789ab", *NEW[1:]).close()
    ServerStore.create_staging(connect(double.url), "voices", "given up", "other", 4).close()
    with httpx.Client(base_url=double.url) as http:
        http.put("/collections/voices-0123456789ac", json={"vectors": {"size": 4, "distance": "Cosine"}})
    with ServerStore.create_staging(connect(double.url), "voices", "third", "third", 4) as store:
        store.promote()
        kept = {store._collection, "voices-0123456789ac"}
    with ServerStore.open(connect(double.url), "voices-0123456789ab") as other:
        assert set(collection_names(double)) == {*kept, other._collection}


def test_revision_changes_with_writes(double):
    with ServerStore.create(connect(double.url), *NEW) as writer, ServerStore.open(connect(double.url), "voices") as reader:
        writer.upsert(list(clips(2)))
        before = reader.revision()
        writer.set_payload({"content": "c1"}, {"metadata": {"a": "b"}})
        writer.flush()
        assert reader.revision() != before


STRICT = {
    "hits": {"max_query_limit": 7},
    "breadth": {"search_max_hnsw_ef": 64, "search_max_oversampling": 1.5},
    "portion": {"upsert_max_batchsize": 10},
    "unindexed": {"unindexed_filtering_retrieve": False, "unindexed_filtering_update": False},
    "values": {"condition_max_size": 5, "max_query_limit": 30},
    "exact": {"search_allow_exact": False},
    "indexes": {"max_payload_index_count": 6, "unindexed_filtering_retrieve": False},
}


@pytest.mark.parametrize("strict", STRICT.values(), ids=STRICT)
def test_operations_within_strict_mode(double, strict):
    double.limits = strict
    fields = {"recording": "text", "number": "number", "metadata.speaker": "text", "probabilities.age": "number"}
    with ServerStore.create(connect(double.url), *NEW) as store:
        store.ensure_fields(fields)
        assert store.schema() == fields
        store.upsert(list(clips(40, metadata={"speaker": "anna"})))
        store.set_payload({"content": "c3"}, {"metadata": {"speaker": "ben"}})
        store.delete({"content": "c4"})
        query = np.array([1, 0, 0, 0], dtype=np.float32)
        everything = [hit.payload["content"] for hit in store.query(query, 100)]
        assert everything == [f"c{number}" for number in range(40) if number != 4]
        assert [hit.payload["content"] for hit in store.query(query, 12)] == everything[:12]
        for condition, expected in {
            "number=5": ["c5"],
            "number=5,6,7,8,9,10,11": [f"c{number}" for number in range(5, 12)],
            "number:2..6": ["c2", "c3", "c5", "c6"],
            "speaker=ben": ["c3"],
            "not speaker=anna": ["c3"],
            'path~"/a/02*.wav"': [f"c{number}" for number in range(20, 30)],
            "path~wav": everything,
            "path~03": ["c3", *(f"c{number}" for number in range(30, 40))],
        }.items():
            found = store.query(query, 100, parse_filter(condition))
            assert [hit.payload["content"] for hit in found] == expected, condition
        assert dict(store.facet("speaker")) == {"anna": 38, "ben": 1}
        assert len(store.facet("recording")) == 39
        assert store.count() == 39 and len(list(store.payloads("clip", ["content"]))) == 39
        assert len(store.sample_vectors(100)) == 39


def test_fields_beyond_the_limit_of_payload_indexes(double, caplog):
    double.limits = {"max_payload_index_count": 5}
    with ServerStore.create(connect(double.url), *NEW) as store:
        store.ensure_fields({"tags.title": "text", "recording": "text", "metadata.a": "text", "metadata.b": "number"})
        assert "allows 5 payload indexes" in caplog.text and "metadata.b, tags.title" in caplog.text
    with ServerStore.open(connect(double.url), "voices") as store:
        assert store.schema() == {"tags.title": "text", "recording": "text", "metadata.a": "text", "metadata.b": "number"}
        assert set(describe(connect(double.url), store._collection)[FIELDS]) == {"tags.title", "metadata.b"}


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_points_count": 5}, r"limit.*strict mode"),
        ({"max_collection_vector_size_bytes": 40}, r"limit.*strict mode"),
        ({"filter_max_conditions": 2}, r"strict mode"),
    ],
)
def test_limits_that_are_too_low(double, limits, reason):
    with ServerStore.create(connect(double.url), *NEW) as store:
        store.ensure_fields({"number": "number"})
        with httpx.Client(base_url=double.url) as http:
            http.patch(f"/collections/{store._collection}", json={"strict_mode_config": {"enabled": True, **limits}})
    with ServerStore.open(connect(double.url), "voices") as store:
        with pytest.raises(StoreError, match=reason) as error:
            for number in range(4):
                store.upsert(list(clips(40))[10 * number : 10 * number + 10])
            store.query(np.ones(4, dtype=np.float32), 3, parse_filter("number=1 or number=2 or number=3"))
        assert "{" not in str(error.value) and "b'" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["", "..", ".", "a b", "a/b", "a:b", "-a", "a-", "a.", "x" * 101, "ä", "a\nb", "a\n", "a%20b", "a\0"]
)
def test_invalid_collection_names(double, name):
    for ask in (ServerStore.open, ServerStore.exists, lambda server, name: ServerStore.create(server, name, *NEW[1:])):
        with pytest.raises(StoreError, match="no name for an index on a server"):
            ask(connect(double.url), name)
    assert not double.requests


@pytest.mark.parametrize("name", ["a", "A1", "oral-history_2.b", "x" * 100])
def test_valid_collection_names(double, name):
    ServerStore.create(connect(double.url), name, *NEW[1:]).close()
    assert ServerStore.exists(connect(double.url), name)
