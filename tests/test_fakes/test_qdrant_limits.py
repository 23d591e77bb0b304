"""Strict mode of the double."""

import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from qdrant_client import models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from tests.fakes.qdrant.client import CITIES, FILTERS, INDEXES, PAIR, ROME, city_points, field_filter, refusal, strict_mode

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
        lambda client, name: client.upsert(name, city_points(CITIES)),
        'Limit exceeded 4 > 3 for "upsert limit"',
    ),
    (
        {"filter_max_conditions": 2},
        lambda client, name: client.scroll(name, models.Filter(must=[ROME, models.Filter(should=[ROME, ROME])])),
        "Filter condition limit reached (3 > 2). Help: Reduce the amount of conditions of your filter.",
    ),
    (
        {"condition_max_size": 2},
        lambda client, name: client.scroll(name, field_filter("city", match=models.MatchAny(any=["a", "b", "c"]))),
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
def test_limits_of_strict_mode(client, create_cities, limit, ask, reason):
    name = create_cities()
    client.create_payload_index(name, "tags", models.PayloadSchemaType.KEYWORD, wait=True)
    if limit.keys() != {"max_payload_index_count"}:
        ask(client, name)
        client.upsert(name, city_points(CITIES), wait=True)
    client.update_collection(name, strict_mode_config=strict_mode(**limit))
    status, said = refusal(lambda: ask(client, name))
    assert status == 400 and said.startswith(f"Bad request: {reason}")
    client.update_collection(name, strict_mode_config=models.StrictModeConfig(enabled=False))
    ask(client, name)


def test_index_types_of_conditions(client, create_cities):
    name = create_cities(strict_mode_config=strict_mode(unindexed_filtering_retrieve=False))
    for key, schema in INDEXES.items():
        client.create_payload_index(name, key, schema, wait=True)
    for filter, _ in FILTERS[:11] + FILTERS[13:16]:
        client.scroll(name, filter)
    for filter, types in (
        (field_filter("rating", match=models.MatchAny(any=["1.5"])), "keyword"),
        (field_filter("rating", match=models.MatchValue(value=2)), "integer"),
        (field_filter("city", range=models.Range(gte=1)), "float, integer"),
        (field_filter("city", match=models.MatchText(text="Rome")), "text"),
        (field_filter("size", range=models.DatetimeRange(gte="2020-01-01T00:00:00Z")), "datetime"),
        (field_filter("of.name", match=models.MatchValue(value="x")), "keyword"),
    ):
        key = filter.must[0].key
        reason = f'Bad request: Index required but not found for "{key}" of one of the following types: [{types}].'
        assert refusal(lambda filter=filter: client.scroll(name, filter))[1].startswith(reason)
    client.scroll(name, field_filter("rating", match=models.MatchAny(any=[])))  # matches nothing, which needs no index


def fill_up(client, name):
    """Write until the server refuses; a real one estimates its sizes every few requests."""
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
def test_limits_of_size(client, create_cities, limits, reason):
    name = create_cities(strict_mode_config=strict_mode(**limits))
    assert refusal(lambda: fill_up(client, name)) == (400, reason)
    client.delete(name, models.FilterSelector(filter=models.Filter()), wait=True)
    assert client.count(name).count == 0


def test_rate_limits(client, create_cities):
    name = create_cities(strict_mode_config=strict_mode(write_rate_limit=4, read_rate_limit=2))
    with pytest.raises(ResourceExhaustedResponse, match="Write rate limit exceeded: Operation requires 4 tokens") as error:
        for _ in range(100):  # a minute passes until there is room for another one
            client.upsert(name, city_points(CITIES), wait=True)
    assert 1 <= error.value.retry_after_s <= 60
    status, reason = refusal(lambda: client.upsert(name, city_points(CITIES) * 2))
    assert status == 429 and "request larger than" in reason and "please try to split your request" in reason
    with pytest.raises(ResourceExhaustedResponse, match="Rate limiting exceeded: Read rate limit exceeded"):
        for _ in range(100):
            client.query_points(name, [1.0, 0.0], query_filter=ROME)


def test_limits_of_new_collections(cities_client, double):
    double.limits = {"max_query_limit": 2}
    cities_client.create_collection("b", vectors_config=PAIR)
    assert refusal(lambda: cities_client.scroll("b"))[0] == 400 and cities_client.scroll("a")
    assert cities_client.get_collection("b").config.strict_mode_config.max_query_limit == 2
