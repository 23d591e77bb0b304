"""Points, filters and refusals for tests that talk to a server through qdrant-client."""

from contextlib import contextmanager

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from tests.conftest import PATIENCE

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
def connect_client(url, **options):
    client = QdrantClient(url, check_compatibility=False, **{"timeout": int(PATIENCE)} | options)
    try:
        yield client
    finally:
        client.close()


def city_points(payloads):
    """Points with these payloads, of which the fourth has no vector."""
    vectors = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], {}]
    return [models.PointStruct(id=i, vector=vectors[i], payload=payload) for i, payload in enumerate(payloads)]


def refusal(request) -> tuple[int, str]:
    """Status and reason of the error that a request raises."""
    with pytest.raises(UnexpectedResponse) as error:
        request()
    return error.value.status_code, error.value.structured()["status"]["error"]


def field_filter(key, **match):
    return models.Filter(must=[models.FieldCondition(key=key, **match)])


def scroll_ids(client, name, filter=None):
    found, _ = client.scroll(name, scroll_filter=filter, limit=100, with_payload=False)
    return [record.id for record in found]


def strict_mode(**limits):
    return models.StrictModeConfig(enabled=True, **limits)


FILTERS = [
    (field_filter("city", match=models.MatchValue(value="Rome")), [0, 2]),
    (field_filter("size", match=models.MatchValue(value=5)), [1]),
    (field_filter("loud", match=models.MatchValue(value=True)), [0]),
    (field_filter("city", match=models.MatchAny(any=["Oslo", "Rome"])), [0, 1, 2]),
    (field_filter("size", match=models.MatchAny(any=[3, 7])), [0, 2]),
    (field_filter("city", match=models.MatchExcept(**{"except": ["Oslo"]})), [0, 2]),
    (field_filter("tags", match=models.MatchValue(value="b")), [2]),
    (field_filter("size", range=models.Range(gt=3, lte=7)), [1, 2]),
    (field_filter("rating", range=models.Range(gte=2.0, lte=2.0)), [1]),
    (field_filter("day", range=models.DatetimeRange(gte="2020-01-01T00:00:00Z", lt="2021-01-01T00:00:00Z")), [0, 1]),
    (field_filter("path", match=models.MatchPhrase(phrase="old tapes")), [0]),
    (field_filter("path", match=models.MatchTextAny(text_any="oslo tapes")), [0, 1, 2]),
    (field_filter("size", values_count=models.ValuesCount(gte=1)), [0, 1, 2]),
    (models.Filter(must=[models.HasIdCondition(has_id=[1, 3, 99])]), [1, 3]),
    (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="tags"))]), [0, 1, 3]),
    (models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="city"))]), [3]),
    (models.Filter(must=[models.HasVectorCondition(has_vector="")]), [0, 1, 2]),
    (field_filter("of.name", match=models.MatchValue(value="x")), [3]),
    (field_filter("of.parts[].part", match=models.MatchValue(value=2)), [3]),
    (models.Filter(), [0, 1, 2, 3]),
]
ROME = FILTERS[0][0]
