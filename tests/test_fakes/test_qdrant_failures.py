"""Failures, keys and certificates of the double."""

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException

from tests.conftest import until
from tests.fakes.qdrant.client import CITIES, PAIR, city_points, connect_client, refusal


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
    assert refusal(lambda: reader.upsert("a", city_points(CITIES)))[0] == 403
    assert reader.query_points("a", [1.0, 0.0]).points == reader.scroll("a")[0] == []
    for each in (reader, owner):
        each.close()


def test_version(double):
    double.version = "1.17.0"
    assert httpx.get(double.url).json()["version"] == "1.17.0" and "qdrant" in httpx.get(double.url).json()["title"]
    with connect_client(double.url) as client:
        assert client.info().version == "1.17.0"
    assert httpx.get(f"{double.url}/healthz").text == "healthz check passed"


def test_number_of_failures(cities_client, double):
    double.failing = 2
    assert [refusal(lambda: cities_client.count("a"))[0] for _ in range(2)] == [503, 503] and cities_client.count(
        "a"
    ).count == 4
    double.rate, double.retry_after = 1, 7
    with pytest.raises(ResourceExhaustedResponse) as error:
        cities_client.count("a")
    assert error.value.retry_after_s == 7 and cities_client.count("a").count == 4
    assert double.requests[-1] == "POST /collections/a/points/count" and double.bodies[-1] == {"exact": True}


def test_full_disk_refuses_writes_only(cities_client, double):
    double.full = True
    reason = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
    assert refusal(lambda: cities_client.upsert("a", city_points(CITIES))) == (500, reason)
    assert refusal(lambda: cities_client.set_payload("a", {"a": 1}, points=[1])) == (500, reason)
    assert cities_client.query_points("a", [1.0, 0.0]).points[0].id == 0
    double.full = False
    cities_client.upsert("a", city_points(CITIES))


def test_server_that_is_down(cities_client, double):
    other = double.node()
    double.down = True
    with pytest.raises(ResponseHandlingException):
        cities_client.count("a")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", httpx.URL(double.url).port))
    with connect_client(other.url) as client:
        client.upsert("a", [models.PointStruct(id=9, vector=[1.0, 0.0])])
        double.down = False
        assert cities_client.count("a").count == client.count("a").count == 5
        other.down = True
        assert cities_client.count("a").count == 5


def test_server_that_fails_at_a_request(cities_client, double):
    def die(request):
        double.down = request.startswith("PUT")

    double.on_request = die
    assert cities_client.count("a").count == 4
    with pytest.raises(ResponseHandlingException):
        cities_client.upsert("a", [models.PointStruct(id=9, vector=[1.0, 0.0])])
    double.on_request, double.down = print, False
    assert cities_client.count("a").count == 4


def test_silent_server_answers_later(cities_client, double):
    double.silent = True
    with connect_client(double.url, timeout=1) as hasty, pytest.raises(ResponseHandlingException, match="timed out"):
        hasty.count("a")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: cities_client.count("a").count)
        until(lambda: double.requests.count("POST /collections/a/points/count") == 2)
        assert not waiting.done()
        double.silent = False
        assert waiting.result() == 4


def test_self_signed_certificate(tls_double):
    trust = ssl.create_default_context(cafile=tls_double.certificate)
    assert tls_double.url.startswith("https://")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(tls_double.url)
    with pytest.raises(httpx.RemoteProtocolError, match="illegal request line"):
        httpx.get(tls_double.url.replace("https", "http"))
    with connect_client(tls_double.url, verify=trust) as client:
        assert client.create_collection("a", vectors_config=PAIR) and client.count("a").count == 0
        tls_double.down = True
        with pytest.raises(ResponseHandlingException):
            client.count("a")
        tls_double.down = False
        assert client.collection_exists("a")
