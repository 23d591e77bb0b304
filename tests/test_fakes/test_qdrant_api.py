"""Answers of the double; they run at QDRANT_URL too."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx
import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from qdrant_client import models

from tests.conftest import until
from tests.fakes.qdrant.client import (
    CITIES,
    FILTERS,
    INDEXES,
    PAIR,
    ROME,
    city_points,
    connect_client,
    field_filter,
    refusal,
    scroll_ids,
    strict_mode,
)


def test_create_an_existing_collection(client, create_cities):
    name = create_cities()
    again = refusal(lambda: client.create_collection(name, vectors_config=PAIR))
    assert again == (409, f"Wrong input: Collection `{name}` already exists!")
    assert client.count(name).count == 4


def test_missing_collections(client, create_cities):
    name = create_cities()
    assert client.collection_exists(name) and client.delete_collection(name) and not client.collection_exists(name)
    assert not client.delete_collection(name)
    for request in (
        lambda: client.get_collection(name),
        lambda: client.query_points(name, [1.0, 0.0]),
        lambda: client.upsert(name, city_points(CITIES)),
        lambda: client.create_payload_index(name, "city", models.PayloadSchemaType.KEYWORD),
    ):
        assert refusal(request) == (404, f"Not found: Collection `{name}` doesn't exist!")


@pytest.mark.parametrize("wrong", ["/", ":", "*", "?", "\\", '"', "<", ">", "|", "x" * 300])
def test_invalid_names(client, qdrant, wrong):
    name = quote(qdrant.collection(f"a{wrong}b"), safe="")  # clients before 1.20 do not
    answer = httpx.put(f"{qdrant.url}/collections/{name}", json={"vectors": {"size": 2, "distance": "Cosine"}})
    status, reason = answer.status_code, answer.json()["status"]["error"]
    assert status == 422 and reason.startswith("Validation error in path parameters: [name: ")
    assert len(wrong) > 1 or f'collection name cannot contain "{wrong}" char' in reason
    client.create_collection(qdrant.collection("a b.c-d_ü"), vectors_config=PAIR)


def test_aliases(client, qdrant, create_cities):
    one, other, alias = create_cities(), qdrant.collection("other"), qdrant.collection("alias")
    client.create_collection(other, vectors_config=PAIR)

    def create(name, target):
        return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=target, alias_name=name))

    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    client.update_collection_aliases([delete, create(alias, one)])
    counts, moved = set(), threading.Event()

    def count():
        with connect_client(qdrant.url) as reader:
            while not moved.is_set():
                counts.add(reader.count(alias).count)

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(count)
        until(lambda: counts or reading.done())
        for target in (other, one) * 10:
            client.update_collection_aliases([delete, create(alias, target)])
        moved.set()
        reading.result()
    assert counts <= {0, 4}
    assert {each.alias_name: each.collection_name for each in client.get_aliases().aliases}[alias] == one
    assert [each.alias_name for each in client.get_collection_aliases(one).aliases] == [alias]
    assert client.get_collection_aliases(other).aliases == []
    client.upsert(alias, [models.PointStruct(id=9, vector=[1.0, 0.0])])
    assert client.count(one).count == 5
    taken = refusal(lambda: client.update_collection_aliases([create(other, one)]))
    assert taken == (409, f"Wrong input: Collection `{other}` already exists!")
    assert refusal(lambda: client.update_collection_aliases([create("x", "nothing")]))[0] == 404
    status, reason = refusal(lambda: client.create_collection(alias, vectors_config=PAIR))
    assert status == 400 and "Alias with the same name already exists" in reason
    client.delete_collection(one)
    assert refusal(lambda: client.count(alias)) == (404, f"Not found: Collection `{alias}` doesn't exist!")


def test_collection_info(client, create_cities):
    small = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True))
    half = models.VectorParams(size=3, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16, on_disk=True)
    name = create_cities(
        {"": PAIR, "says": half},
        hnsw_config=models.HnswConfigDiff(m=8, ef_construct=64, payload_m=0),
        quantization_config=small,
        shard_number=2,
        replication_factor=1,
        strict_mode_config=strict_mode(max_query_limit=100),
    )
    for key, schema in INDEXES.items():
        client.create_payload_index(name, key, schema, wait=True)
    info = client.get_collection(name)
    assert (info.status, info.points_count) == ("green", 4)
    assert info.config.params.vectors == {"": PAIR, "says": half}
    assert (info.config.params.shard_number, info.config.params.replication_factor) == (2, 1)
    assert (info.config.hnsw_config.m, info.config.hnsw_config.ef_construct, info.config.hnsw_config.payload_m) == (8, 64, 0)
    assert info.config.quantization_config == small
    assert (info.config.strict_mode_config.enabled, info.config.strict_mode_config.max_query_limit) == (True, 100)
    kinds = {key: str(getattr(schema, "type", schema).value) for key, schema in INDEXES.items()}
    assert {key: about.data_type for key, about in info.payload_schema.items()} == kinds
    assert {key: info.payload_schema[key].points for key in ("city", "size", "loud")} == {"city": 3, "size": 3, "loud": 2}
    assert info.payload_schema["path"].params.phrase_matching and info.payload_schema["city"].params.on_disk
    client.delete_payload_index(name, "city")
    assert "city" not in client.get_collection(name).payload_schema
    client.update_collection(name, strict_mode_config=models.StrictModeConfig(max_query_limit=5))
    changed = client.get_collection(name).config.strict_mode_config
    assert (changed.enabled, changed.max_query_limit) == (True, 5)


@pytest.mark.parametrize("indexed", [False, True])
def test_filters(client, create_cities, indexed):
    name = create_cities()
    for key, schema in INDEXES.items() if indexed else ():
        client.create_payload_index(name, key, schema, wait=True)
    rome, big = (each.must[0] for each in (ROME, field_filter("size", range=models.Range(gte=5))))

    def nested(kind):
        both = [models.FieldCondition(key="part", match=models.MatchValue(value=1))]
        both.append(models.FieldCondition(key="kind", match=models.MatchValue(value=kind)))
        return models.NestedCondition(nested=models.Nested(key="of.parts", filter=models.Filter(must=both)))

    joined = [
        (models.Filter(must=[rome, big]), [2]),
        (models.Filter(should=[rome, big]), [0, 1, 2]),
        (models.Filter(must_not=[rome]), [1, 3]),
        (models.Filter(must=rome, must_not=[big]), [0]),
        (models.Filter(min_should=models.MinShould(conditions=[rome, big], min_count=2)), [2]),
        (models.Filter(must=[models.Filter(should=[big, models.Filter(must_not=[rome])])], must_not=[rome]), [1, 3]),
        (models.Filter(must=[nested("p")]), [3]),
        (models.Filter(must=[nested("q")]), []),
    ]
    for filter, expected in FILTERS + joined:
        assert scroll_ids(client, name, filter) == expected, filter
        assert client.count(name, count_filter=filter, exact=True).count == len(expected)
    for words, by_words, by_letters in (
        (models.MatchText(text="tapes old"), [0, 2], [2]),
        (models.MatchText(text="OLD"), [0, 2], []),
        (models.MatchText(text="apes"), [], [0, 2]),
        (models.MatchPhrase(phrase="tapes/rome"), [0], [0]),
        (models.MatchTextAny(text_any="slo apes"), [], [0, 1, 2]),
    ):
        assert scroll_ids(client, name, field_filter("path", match=words)) == (by_words if indexed else by_letters), words


def test_prefix_index(client, create_cities):
    name = create_cities()
    by_prefix = models.TextIndexParams(type="text", tokenizer=models.TokenizerType.PREFIX, min_token_len=2, lowercase=True)
    client.create_payload_index(name, "path", by_prefix, wait=True)
    assert scroll_ids(client, name, field_filter("path", match=models.MatchText(text="TAP"))) == [0, 2]
    assert scroll_ids(client, name, field_filter("path", match=models.MatchText(text="apes"))) == []


def test_facets(client, create_cities):
    name = create_cities()
    status, reason = refusal(lambda: client.facet(name, "city"))
    assert status == 400 and "No appropriate index for faceting: `city`" in reason
    for key in ("city", "size", "loud"):
        client.create_payload_index(name, key, INDEXES[key], wait=True)
    assert [(hit.value, hit.count) for hit in client.facet(name, "city", exact=True).hits] == [("Rome", 2), ("Oslo", 1)]
    assert [(hit.value, hit.count) for hit in client.facet(name, "city", exact=True, limit=1).hits] == [("Rome", 2)]
    big = field_filter("size", range=models.Range(gte=5))
    assert {hit.value: hit.count for hit in client.facet(name, "city", big, exact=True).hits} == {"Rome": 1, "Oslo": 1}
    assert {hit.value for hit in client.facet(name, "size").hits} == {3, 5, 7}
    assert {hit.value for hit in client.facet(name, "loud").hits} == {True, False}


def test_payload_changes(client, create_cities):
    name = create_cities()

    def payloads():
        return {record.id: record.payload for record in client.retrieve(name, [0, 1, 2, 3])}

    client.set_payload(name, {"size": 4, "new": 1}, points=ROME, wait=True)
    assert [payloads()[i].get("size") for i in range(4)] == [4, 5, 4, None]
    assert payloads()[0]["path"] == CITIES[0]["path"]
    client.set_payload(name, {"name": "y", "more": 2}, points=[3], key="of", wait=True)
    assert payloads()[3]["of"] == CITIES[3]["of"] | {"name": "y", "more": 2}
    client.delete_payload(name, ["new", "of.more"], points=[0, 3], wait=True)
    assert ("new" in payloads()[0], "new" in payloads()[2], "more" in payloads()[3]["of"]) == (False, True, False)
    client.overwrite_payload(name, {"only": "this"}, points=[1], wait=True)
    client.clear_payload(name, points_selector=ROME, wait=True)
    assert (payloads()[0], payloads()[1], payloads()[2]) == ({}, {"only": "this"}, {})
    client.delete(name, models.FilterSelector(filter=field_filter("only", match=models.MatchValue(value="this"))), wait=True)
    assert scroll_ids(client, name) == [0, 2, 3]
    client.delete(name, models.PointIdsList(points=[0, 7]), wait=True)
    assert scroll_ids(client, name) == [2, 3]
    assert refusal(lambda: client.retrieve(name, ["no-id"]))[0] == 400


def test_batch_of_changes(client, create_cities):
    name = create_cities()
    rome = models.SetPayload(payload={"size": 1}, filter=ROME)
    client.batch_update_points(
        name,
        [
            models.UpsertOperation(upsert=models.PointsList(points=[models.PointStruct(id=9, vector=[1.0, 0.0])])),
            models.SetPayloadOperation(set_payload=rome),
            models.DeleteOperation(delete=models.PointIdsList(points=[1])),
        ],
        wait=True,
    )
    assert scroll_ids(client, name) == [0, 2, 3, 9]
    assert [record.payload["size"] for record in client.retrieve(name, [0, 2])] == [1, 1]


def test_scroll_in_order(client, create_cities):
    name = create_cities()
    client.create_payload_index(name, "rating", INDEXES["rating"], wait=True)
    falling = models.OrderBy(key="rating", direction=models.Direction.DESC)
    assert [record.id for record in client.scroll(name, order_by=falling)[0]] == [2, 1, 0]
    assert [each.id for each in client.query_points(name, models.OrderByQuery(order_by=falling)).points] == [2, 1, 0]
    drawn = client.query_points(name, models.SampleQuery(sample=models.Sample.RANDOM), limit=9).points
    assert sorted(each.id for each in drawn) == [0, 1, 2, 3]


def test_scroll_pages(client, create_cities, qdrant):
    name, payload = create_cities(), {"city": "x"}
    batch = models.Batch(ids=list(range(10, 17)), vectors=[[1.0, 0.0]] * 7, payloads=[payload] * 7)
    client.upsert(name, batch, wait=True)
    pages, offset = [], None
    while True:
        page, offset = client.scroll(name, limit=4, offset=offset, with_payload=["city"])
        pages.append([record.id for record in page])
        if offset is None:
            break
    assert pages == [[0, 1, 2, 3], [10, 11, 12, 13], [14, 15, 16]]
    some = client.retrieve(name, [16, 1, 99, 0], with_payload=["city"], with_vectors=True)
    assert sorted((record.id, record.payload["city"]) for record in some) == [(0, "Rome"), (1, "Oslo"), (16, "x")]
    assert len(client.scroll(name)[0]) == 10  # as many as are not said
    names = ["0b6f3c1e-7a55-5d0e-8d5c-3f3a7b1c9e42", "a06f3c1e-7a55-5d0e-8d5c-3f3a7b1c9e42"]
    client.upsert(name, [models.PointStruct(id=each, vector={}) for each in names], wait=True)
    assert client.scroll(name, limit=100)[0][-1].id == names[1]


def test_queries(client, create_cities):
    name = create_cities()
    near = client.query_points(name, [1.0, 0.1], with_payload=["city"]).points
    assert [point.id for point in near] == [0, 2, 1] and near[0].payload == {"city": "Rome"}
    assert near[0].score == pytest.approx(0.995037, abs=1e-5) and near[0].score > near[1].score > near[2].score
    assert client.query_points(name, [1.0, 0.1]).points[0].payload.keys() == CITIES[0].keys()
    exclude = models.PayloadSelectorExclude(exclude=["path", "day"])
    assert client.query_points(name, [1.0, 0.1], limit=1, with_payload=exclude).points[0].payload.keys() == {
        "city", "size", "rating", "loud",
    }  # fmt: skip
    assert [point.id for point in client.query_points(name, [1.0, 0.1], offset=1, limit=1).points] == [2]
    params = models.SearchParams(hnsw_ef=16, exact=True)
    assert [each.id for each in client.query_points(name, [0.0, 1.0], query_filter=ROME, search_params=params).points] == [2, 0]
    assert [each.id for each in client.query_points(name, 0, with_vectors=True).points] == [2, 1]
    assert [each.id for each in client.query_points(name, [1.0, 0.0], score_threshold=0.9).points] == [0]
    pair = models.ContextPair(positive=[0.0, 1.0], negative=[1.0, 0.0])
    wish = models.DiscoverQuery(discover=models.DiscoverInput(target=[1.0, 1.0], context=[pair]))
    assert client.query_points(name, wish).points[0].id == 1
    several = client.query_batch_points(name, [models.QueryRequest(query=[1.0, 0.0], limit=k) for k in (1, 2)])
    assert [[each.id for each in found.points] for found in several] == [[0], [0, 2]]
    status, reason = refusal(lambda: client.query_points(name, [1.0, 0.0, 0.0]))
    assert status == 400 and "Vector dimension error: expected dim: 2, got 3" in reason
    assert "Not existing vector name error: nix" in refusal(lambda: client.query_points(name, [1.0, 0.0], using="nix"))[1]


def test_named_vectors(client, create_cities, qdrant):
    name = qdrant.collection("named")
    half = models.VectorParams(size=3, distance=models.Distance.COSINE, datatype=models.Datatype.FLOAT16)
    client.create_collection(name, vectors_config={"": PAIR, "says": half})
    points = [
        models.PointStruct(id=1, vector={"": [1.0, 0.0], "says": [0.0, 0.0, 1.0]}),
        models.PointStruct(id=2, vector=[0.0, 1.0]),
        models.PointStruct(id=3, vector={"says": [1.0, 2.0, 3.0]}),
        models.PointStruct(id=4, vector={}),
    ]
    client.upsert(name, points, wait=True)
    assert [each.id for each in client.query_points(name, [1.0, 0.0]).points] == [1, 2]
    said = client.query_points(name, [0.0, 0.0, 1.0], using="says", with_vectors=["says"]).points
    assert [each.id for each in said] == [1, 3] and said[0].vector == {"says": [0.0, 0.0, 1.0]}
    kept = {record.id: record.vector for record in client.retrieve(name, [1, 2, 3, 4], with_vectors=True)}
    assert kept[1] == {"": [1.0, 0.0], "says": [0.0, 0.0, 1.0]} and not kept[4]
    assert kept[3]["says"] == pytest.approx([0.267261, 0.534522, 0.801784], abs=1e-3)
    assert kept[3]["says"] != pytest.approx([0.267261, 0.534522, 0.801784], abs=1e-7)  # of half the digits
    alone = create_cities()
    assert client.retrieve(alone, [0], with_vectors=True)[0].vector == [1.0, 0.0]
    client.update_vectors(name, [models.PointVectors(id=4, vector={"": [1.0, 1.0]})], wait=True)
    client.delete_vectors(name, ["says"], [1], wait=True)
    assert client.query_points(name, [1.0, 1.0]).points[0].id == 4
    assert [each.id for each in client.query_points(name, [0.0, 0.0, 1.0], using="says").points] == [3]
