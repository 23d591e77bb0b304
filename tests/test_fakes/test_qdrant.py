"""The double of a Qdrant server answers as one does: what does not ask for failures runs at QDRANT_URL too."""

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import quote

import httpx
import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from tests.conftest import PATIENCE, until

PAIR = models.VectorParams(size=2, distance=models.Distance.COSINE)
CITIES = [
    {"city": "Rome", "size": 3, "rating": 1.5, "day": "2020-01-01", "path": "/voices/old tapes/rome 1.wav", "loud": True},
    {"city": "Oslo", "size": 5, "rating": 2.0, "day": "2020-02-01T12:00:00Z", "path": "/voices/new/oslo.wav", "loud": False},
    {"city": "Rome", "size": 7, "rating": 2.5, "day": "2021-03-01", "path": "/voices/tapes old/rome 2.wav", "tags": ["a", "b"]},
    {"city": None, "tags": [], "of": {"name": "x", "parts": [{"part": 1, "kind": "p"}, {"part": 2, "kind": "q"}]}},
]
"""Payloads of the points 0 to 3."""
INDEXES = {
    "city": models.KeywordIndexParams(type="keyword", on_disk=True),
    "size": models.PayloadSchemaType.INTEGER,
    "rating": models.FloatIndexParams(type="float", on_disk=True),
    "day": models.DatetimeIndexParams(type="datetime", on_disk=True),
    "path": models.TextIndexParams(type="text", tokenizer=models.TokenizerType.WORD, phrase_matching=True, on_disk=True),
    "loud": models.PayloadSchemaType.BOOL,
    "tags": models.PayloadSchemaType.KEYWORD,
}


@contextmanager
def connected(url, **options):
    client = QdrantClient(url, check_compatibility=False, **{"timeout": int(PATIENCE)} | options)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def client(qdrant):
    with connected(qdrant.url) as client:
        yield client


@pytest.fixture
def made(client, qdrant):
    """Makes a collection of the points 0 to 3, of which the last has no vector."""

    def make(vectors=PAIR, points=CITIES, **config):
        name = qdrant.collection()
        client.create_collection(name, vectors_config=vectors, **config)
        client.upsert(name, points_of(points), wait=True)
        return name

    return make


def points_of(payloads):
    vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], {}]
    return [models.PointStruct(id=i, vector=vectors[i], payload=payload) for i, payload in enumerate(payloads)]


def refusal(request) -> tuple[int, str]:
    """The status and the reason of an answer that is an error."""
    with pytest.raises(UnexpectedResponse) as error:
        request()
    return error.value.status_code, error.value.structured()["status"]["error"]


def matching(key, **match):
    return models.Filter(must=[models.FieldCondition(key=key, **match)])


def ids(client, name, filter=None):
    found, _ = client.scroll(name, scroll_filter=filter, limit=100, with_payload=False)
    return [record.id for record in found]


def strict(**limits):
    return models.StrictModeConfig(enabled=True, **limits)


def test_a_collection_that_exists_is_not_made_again(client, made):
    name = made()
    again = refusal(lambda: client.create_collection(name, vectors_config=PAIR))
    assert again == (409, f"Wrong input: Collection `{name}` already exists!")
    assert client.count(name).count == 4


def test_a_collection_that_is_gone_is_not_found(client, made):
    name = made()
    assert client.collection_exists(name) and client.delete_collection(name) and not client.collection_exists(name)
    assert not client.delete_collection(name)
    for request in (
        lambda: client.get_collection(name),
        lambda: client.query_points(name, [1.0, 0.0]),
        lambda: client.upsert(name, points_of(CITIES)),
        lambda: client.create_payload_index(name, "city", models.PayloadSchemaType.KEYWORD),
    ):
        assert refusal(request) == (404, f"Not found: Collection `{name}` doesn't exist!")


@pytest.mark.parametrize("wrong", ["/", ":", "*", "?", "\\", '"', "<", ">", "|", "x" * 300])
def test_names_that_no_collection_has(client, qdrant, wrong):
    name = quote(qdrant.collection(f"a{wrong}b"), safe="")  # clients before 1.20 do not
    answer = httpx.put(f"{qdrant.url}/collections/{name}", json={"vectors": {"size": 2, "distance": "Cosine"}})
    status, reason = answer.status_code, answer.json()["status"]["error"]
    assert status == 422 and reason.startswith("Validation error in path parameters: [name: ")
    assert len(wrong) > 1 or f'collection name cannot contain "{wrong}" char' in reason
    client.create_collection(qdrant.collection("a b.c-d_ü"), vectors_config=PAIR)


def test_an_alias_moves_in_one_step(client, qdrant, made):
    one, other, alias = made(), qdrant.collection("other"), qdrant.collection("alias")
    client.create_collection(other, vectors_config=PAIR)

    def create(name, target):
        return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=target, alias_name=name))

    delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
    client.update_collection_aliases([delete, create(alias, one)])
    counts, moved = set(), threading.Event()

    def count():
        with connected(qdrant.url) as reader:
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


def test_a_collection_says_how_it_was_made(client, made):
    small = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True))
    half = models.VectorParams(size=3, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16, on_disk=True)
    name = made(
        {"": PAIR, "says": half},
        hnsw_config=models.HnswConfigDiff(m=8, ef_construct=64, payload_m=0),
        quantization_config=small,
        shard_number=2,
        replication_factor=1,
        strict_mode_config=strict(max_query_limit=100),
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


FILTERS = [
    (matching("city", match=models.MatchValue(value="Rome")), [0, 2]),
    (matching("size", match=models.MatchValue(value=5)), [1]),
    (matching("loud", match=models.MatchValue(value=True)), [0]),
    (matching("city", match=models.MatchAny(any=["Oslo", "Rome"])), [0, 1, 2]),
    (matching("size", match=models.MatchAny(any=[3, 7])), [0, 2]),
    (matching("city", match=models.MatchExcept(**{"except": ["Oslo"]})), [0, 2]),
    (matching("tags", match=models.MatchValue(value="b")), [2]),
    (matching("size", range=models.Range(gt=3, lte=7)), [1, 2]),
    (matching("rating", range=models.Range(gte=2.0, lte=2.0)), [1]),
    (matching("day", range=models.DatetimeRange(gte="2020-01-01T00:00:00Z", lt="2021-01-01T00:00:00Z")), [0, 1]),
    (matching("path", match=models.MatchPhrase(phrase="old tapes")), [0]),
    (matching("path", match=models.MatchTextAny(text_any="oslo tapes")), [0, 1, 2]),
    (matching("size", values_count=models.ValuesCount(gte=1)), [0, 1, 2]),
    (models.Filter(must=[models.HasIdCondition(has_id=[1, 3, 99])]), [1, 3]),
    (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="tags"))]), [0, 1, 3]),
    (models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="city"))]), [3]),
    (models.Filter(must=[models.HasVectorCondition(has_vector="")]), [0, 1, 2]),
    (matching("of.name", match=models.MatchValue(value="x")), [3]),
    (matching("of.parts[].part", match=models.MatchValue(value=2)), [3]),
    (models.Filter(), [0, 1, 2, 3]),
]

ROME = FILTERS[0][0]


@pytest.mark.parametrize("indexed", [False, True])
def test_filters(client, made, indexed):
    name = made()
    for key, schema in INDEXES.items() if indexed else ():
        client.create_payload_index(name, key, schema, wait=True)
    rome, big = (each.must[0] for each in (ROME, matching("size", range=models.Range(gte=5))))

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
        assert ids(client, name, filter) == expected, filter
        assert client.count(name, count_filter=filter, exact=True).count == len(expected)
    for words, by_words, by_letters in (
        (models.MatchText(text="tapes old"), [0, 2], [2]),
        (models.MatchText(text="OLD"), [0, 2], []),
        (models.MatchText(text="apes"), [], [0, 2]),
        (models.MatchPhrase(phrase="tapes/rome"), [0], [0]),
        (models.MatchTextAny(text_any="slo apes"), [], [0, 1, 2]),
    ):
        assert ids(client, name, matching("path", match=words)) == (by_words if indexed else by_letters), words


def test_an_index_of_prefixes(client, made):
    name = made()
    by_prefix = models.TextIndexParams(type="text", tokenizer=models.TokenizerType.PREFIX, min_token_len=2, lowercase=True)
    client.create_payload_index(name, "path", by_prefix, wait=True)
    assert ids(client, name, matching("path", match=models.MatchText(text="TAP"))) == [0, 2]
    assert ids(client, name, matching("path", match=models.MatchText(text="apes"))) == []


def test_values_are_counted_where_there_is_an_index(client, made):
    name = made()
    status, reason = refusal(lambda: client.facet(name, "city"))
    assert status == 400 and "No appropriate index for faceting: `city`" in reason
    for key in ("city", "size", "loud"):
        client.create_payload_index(name, key, INDEXES[key], wait=True)
    assert [(hit.value, hit.count) for hit in client.facet(name, "city", exact=True).hits] == [("Rome", 2), ("Oslo", 1)]
    assert [(hit.value, hit.count) for hit in client.facet(name, "city", exact=True, limit=1).hits] == [("Rome", 2)]
    big = matching("size", range=models.Range(gte=5))
    assert {hit.value: hit.count for hit in client.facet(name, "city", big, exact=True).hits} == {"Rome": 1, "Oslo": 1}
    assert {hit.value for hit in client.facet(name, "size").hits} == {3, 5, 7}
    assert {hit.value for hit in client.facet(name, "loud").hits} == {True, False}


def test_payloads_are_changed(client, made):
    name = made()

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
    client.delete(name, models.FilterSelector(filter=matching("only", match=models.MatchValue(value="this"))), wait=True)
    assert ids(client, name) == [0, 2, 3]
    client.delete(name, models.PointIdsList(points=[0, 7]), wait=True)
    assert ids(client, name) == [2, 3]
    assert refusal(lambda: client.retrieve(name, ["no-id"]))[0] == 400


def test_changes_in_a_list(client, made):
    name = made()
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
    assert ids(client, name) == [0, 2, 3, 9]
    assert [record.payload["size"] for record in client.retrieve(name, [0, 2])] == [1, 1]


def test_points_in_the_order_of_a_field(client, made):
    name = made()
    client.create_payload_index(name, "rating", INDEXES["rating"], wait=True)
    falling = models.OrderBy(key="rating", direction=models.Direction.DESC)
    assert [record.id for record in client.scroll(name, order_by=falling)[0]] == [2, 1, 0]
    assert [each.id for each in client.query_points(name, models.OrderByQuery(order_by=falling)).points] == [2, 1, 0]
    drawn = client.query_points(name, models.SampleQuery(sample=models.Sample.RANDOM), limit=9).points
    assert sorted(each.id for each in drawn) == [0, 1, 2, 3]


def test_points_are_read_page_by_page(client, made, qdrant):
    name, payload = made(), {"city": "x"}
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


def test_queries(client, made):
    name = made()
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


def test_named_vectors(client, made, qdrant):
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
    alone = made()
    assert client.retrieve(alone, [0], with_vectors=True)[0].vector == [1.0, 0.0]
    client.update_vectors(name, [models.PointVectors(id=4, vector={"": [1.0, 1.0]})], wait=True)
    client.delete_vectors(name, ["says"], [1], wait=True)
    assert client.query_points(name, [1.0, 1.0]).points[0].id == 4
    assert [each.id for each in client.query_points(name, [0.0, 0.0, 1.0], using="says").points] == [3]


UNINDEXED = (
    'Index required but not found for "city" of one of the following types: [keyword]. Help: Create an index for this key'
)
QUANTISED = models.SearchParams(quantization=models.QuantizationSearchParams(oversampling=3.0))
STRICT = [
    ({"max_timeout": 2}, lambda client, name: client.scroll(name, timeout=5), 'Limit exceeded 5 > 2 for "timeout"'),
    (
        {"search_max_batchsize": 1},
        lambda client, name: client.query_batch_points(name, [models.QueryRequest(query=[1.0, 0.0])] * 2),
        'Limit exceeded 2 > 1 for "search batch size"',
    ),
    ({"max_query_limit": 3}, lambda client, name: client.scroll(name, limit=4), 'Limit exceeded 4 > 3 for "limit"'),
    ({"max_query_limit": 3}, lambda client, name: client.query_points(name, [1.0, 0.0]), 'Limit exceeded 10 > 3 for "limit"'),
    ({"max_query_limit": 3}, lambda client, name: client.facet(name, "tags", limit=9), 'Limit exceeded 9 > 3 for "limit"'),
    (
        {"search_max_hnsw_ef": 256},
        lambda client, name: client.query_points(name, [1.0, 0.0], search_params=models.SearchParams(hnsw_ef=512)),
        'Limit exceeded 512 > 256 for "hnsw_ef". Help: Reduce the "hnsw_ef" parameter to or below 256.',
    ),
    (
        {"search_max_oversampling": 2},
        lambda client, name: client.query_points(name, [1.0, 0.0], search_params=QUANTISED),
        'Limit exceeded 3 > 2 for "oversampling"',
    ),
    (
        {"search_allow_exact": False},
        lambda client, name: client.query_points(name, [1.0, 0.0], search_params=models.SearchParams(exact=True)),
        "Exact search disabled!",
    ),
    ({"search_allow_exact": False}, lambda client, name: client.count(name), "Exact search disabled!"),
    ({"unindexed_filtering_retrieve": False}, lambda client, name: client.scroll(name, ROME), UNINDEXED),
    ({"unindexed_filtering_retrieve": False}, lambda client, name: client.count(name, ROME), UNINDEXED),
    (
        {"unindexed_filtering_retrieve": False},
        lambda client, name: client.query_points(name, [1.0, 0.0], query_filter=models.Filter(must_not=[ROME])),
        UNINDEXED,
    ),
    (
        {"unindexed_filtering_update": False},
        lambda client, name: client.delete(name, models.FilterSelector(filter=ROME)),
        UNINDEXED,
    ),
    ({"unindexed_filtering_update": False}, lambda client, name: client.set_payload(name, {"a": 1}, points=ROME), UNINDEXED),
    (
        {"upsert_max_batchsize": 3},
        lambda client, name: client.upsert(name, points_of(CITIES)),
        'Limit exceeded 4 > 3 for "upsert limit"',
    ),
    (
        {"filter_max_conditions": 2},
        lambda client, name: client.scroll(name, models.Filter(must=[ROME, models.Filter(should=[ROME, ROME])])),
        "Filter condition limit reached (3 > 2). Help: Reduce the amount of conditions of your filter.",
    ),
    (
        {"condition_max_size": 2},
        lambda client, name: client.scroll(name, matching("city", match=models.MatchAny(any=["a", "b", "c"]))),
        "Condition size limit reached (3 > 2). Help: Reduce the size of your condition.",
    ),
    (
        {"max_payload_index_count": 1},
        lambda client, name: client.create_payload_index(name, "size", models.PayloadSchemaType.INTEGER),
        "Collection already has the maximum number of payload indices (1). Help: Please delete an existing index",
    ),
]


@pytest.mark.parametrize(
    ("limit", "ask", "reason"), STRICT, ids=[f"{next(iter(each[0]))}-{i}" for i, each in enumerate(STRICT)]
)
def test_limits_of_strict_mode(client, made, limit, ask, reason):
    name = made()
    client.create_payload_index(name, "tags", models.PayloadSchemaType.KEYWORD, wait=True)
    if limit.keys() != {"max_payload_index_count"}:
        ask(client, name)
        client.upsert(name, points_of(CITIES), wait=True)
    client.update_collection(name, strict_mode_config=strict(**limit))
    status, said = refusal(lambda: ask(client, name))
    assert status == 400 and said.startswith(f"Bad request: {reason}")
    client.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=False))
    ask(client, name)


def test_a_match_of_another_type_needs_another_index(client, made):
    name = made(strict_mode_config=strict(unindexed_filtering_retrieve=False))
    for key, schema in INDEXES.items():
        client.create_payload_index(name, key, schema, wait=True)
    for filter, _ in FILTERS[:11] + FILTERS[13:16]:
        client.scroll(name, filter)
    for filter, types in (
        (matching("rating", match=models.MatchAny(any=["1.5"])), "keyword"),
        (matching("rating", match=models.MatchValue(value=2)), "integer"),
        (matching("city", range=models.Range(gte=1)), "float, integer"),
        (matching("city", match=models.MatchText(text="Rome")), "text"),
        (matching("size", range=models.DatetimeRange(gte="2020-01-01T00:00:00Z")), "datetime"),
        (matching("of.name", match=models.MatchValue(value="x")), "keyword"),
    ):
        key = filter.must[0].key
        reason = f'Bad request: Index required but not found for "{key}" of one of the following types: [{types}].'
        assert refusal(lambda filter=filter: client.scroll(name, filter))[1].startswith(reason)
    client.scroll(name, matching("rating", match=models.MatchAny(any=[])))  # matches nothing, which needs no index


def fill(client, name):
    """Writes until the server refuses: its sizes are estimates that it takes anew every few requests."""
    for i in range(10, 1000):
        client.upsert(name, [models.PointStruct(id=i, vector=[1.0, 0.0])], wait=True)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"max_points_count": 10}, "Bad request: Max points count limit of 10 reached!"),
        (
            {"max_collection_vector_size_bytes": 1 << 10},
            "Bad request: Max vector storage size limit of 0.0009765625MB reached!",
        ),
    ],
)
def test_a_collection_that_is_as_large_as_it_may_be(client, made, limits, reason):
    name = made(strict_mode_config=strict(**limits))
    assert refusal(lambda: fill(client, name)) == (400, reason)
    client.delete(name, models.FilterSelector(filter=models.Filter()), wait=True)
    assert client.count(name).count == 0


def test_requests_above_a_rate_are_told_when_to_come_back(client, made):
    name = made(strict_mode_config=strict(write_rate_limit=4, read_rate_limit=2))
    with pytest.raises(ResourceExhaustedResponse, match="Write rate limit exceeded: Operation requires 4 tokens") as error:
        for _ in range(100):  # a minute passes until there is room for another one
            client.upsert(name, points_of(CITIES), wait=True)
    assert 1 <= error.value.retry_after_s <= 60
    status, reason = refusal(lambda: client.upsert(name, points_of(CITIES) * 2))
    assert status == 429 and "request larger than" in reason and "please try to split your request" in reason
    with pytest.raises(ResourceExhaustedResponse, match="Rate limiting exceeded: Read rate limit exceeded"):
        for _ in range(100):
            client.query_points(name, [1.0, 0.0], query_filter=ROME)


def test_keys(double):
    double.api_key, double.read_key = "master", "reader"
    answers = {
        key: httpx.get(f"{double.url}/collections", headers={"api-key": key} if key else {}) for key in ("", "no", "reader")
    }
    assert {key: answer.status_code for key, answer in answers.items()} == {"": 401, "no": 401, "reader": 200}
    assert answers["no"].text == "Invalid API key or JWT"
    assert answers[""].text == "Must provide an API key or an Authorization bearer token"
    assert httpx.get(f"{double.url}/readyz").status_code == 200
    with pytest.warns(UserWarning, match="insecure"):
        reader, owner = (QdrantClient(double.url, api_key=key, check_compatibility=False) for key in ("reader", "master"))
    assert refusal(lambda: reader.create_collection("a", PAIR)) == (403, "Forbidden: Global manage access is required")
    assert owner.create_collection("a", PAIR) and reader.count("a").count == 0
    assert refusal(lambda: reader.upsert("a", points_of(CITIES)))[0] == 403
    assert reader.query_points("a", [1.0, 0.0]).points == reader.scroll("a")[0] == []
    for each in (reader, owner):
        each.close()


def test_the_server_says_what_it_is(double):
    double.version = "1.17.0"
    assert httpx.get(double.url).json()["version"] == "1.17.0" and "qdrant" in httpx.get(double.url).json()["title"]
    with connected(double.url) as client:
        assert client.info().version == "1.17.0"
    assert httpx.get(f"{double.url}/healthz").text == "healthz check passed"


@pytest.fixture
def filled(double):
    """A client of a double in which there is a collection, "a"."""
    with connected(double.url) as client:
        client.create_collection("a", vectors_config=PAIR)
        client.upsert("a", points_of(CITIES), wait=True)
        yield client


def test_failures_are_as_many_as_asked_for(filled, double):
    double.failing = 2
    assert [refusal(lambda: filled.count("a"))[0] for _ in range(2)] == [503, 503] and filled.count("a").count == 4
    double.rate, double.retry_after = 1, 7
    with pytest.raises(ResourceExhaustedResponse) as error:
        filled.count("a")
    assert error.value.retry_after_s == 7 and filled.count("a").count == 4
    assert double.requests[-1] == "POST /collections/a/points/count" and double.bodies[-1] == {"exact": True}


def test_a_full_disk_refuses_what_is_written_alone(filled, double):
    double.full = True
    reason = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
    assert refusal(lambda: filled.upsert("a", points_of(CITIES))) == (500, reason)
    assert refusal(lambda: filled.set_payload("a", {"a": 1}, points=[1])) == (500, reason)
    assert filled.query_points("a", [1.0, 0.0]).points[0].id == 0
    double.full = False
    filled.upsert("a", points_of(CITIES))


def test_a_server_that_is_down_is_a_dead_port(filled, double):
    other = double.node()
    double.down = True
    with pytest.raises(ResponseHandlingException):
        filled.count("a")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", httpx.URL(double.url).port))
    with connected(other.url) as client:
        client.upsert("a", [models.PointStruct(id=9, vector=[1.0, 0.0])])
        double.down = False
        assert filled.count("a").count == client.count("a").count == 5
        other.down = True
        assert filled.count("a").count == 5


def test_a_server_dies_at_a_request(filled, double):
    def die(request):
        double.down = request.startswith("PUT")

    double.on_request = die
    assert filled.count("a").count == 4
    with pytest.raises(ResponseHandlingException):
        filled.upsert("a", [models.PointStruct(id=9, vector=[1.0, 0.0])])
    double.on_request, double.down = print, False
    assert filled.count("a").count == 4


def test_a_silent_server_answers_once_it_goes_on(filled, double):
    double.silent = True
    with connected(double.url, timeout=1) as hasty, pytest.raises(ResponseHandlingException, match="timed out"):
        hasty.count("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: filled.count("a").count)
        until(lambda: double.requests.count("POST /collections/a/points/count") == 2)
        assert not waiting.done()
        double.silent = False
        assert waiting.result() == 4


def test_limits_of_new_collections(filled, double):
    double.limits = {"max_query_limit": 2}
    filled.create_collection("b", vectors_config=PAIR)
    assert refusal(lambda: filled.scroll("b"))[0] == 400 and filled.scroll("a")
    assert filled.get_collection("b").config.strict_mode_config.max_query_limit == 2


def test_a_server_with_a_certificate_of_its_own(tls_double):
    trust = ssl.create_default_context(cafile=tls_double.certificate)
    assert tls_double.url.startswith("https://")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(tls_double.url)
    with pytest.raises(httpx.RemoteProtocolError, match="illegal request line"):
        httpx.get(tls_double.url.replace("https", "http"))
    with connected(tls_double.url, verify=trust) as client:
        assert client.create_collection("a", vectors_config=PAIR) and client.count("a").count == 0
        tls_double.down = True
        with pytest.raises(ResponseHandlingException):
            client.count("a")
        tls_double.down = False
        assert client.collection_exists("a")
