"""Fixtures of the tests of the double. The files of tests skip themselves where qdrant-client is missing."""

import pytest


@pytest.fixture
def client(qdrant):
    from tests.fakes.qdrant.client import connect_client

    with connect_client(qdrant.url) as client:
        yield client


@pytest.fixture
def create_cities(client, qdrant):
    """Create a collection of the points 0 to 3, of which the last has no vector: returns its name."""
    from tests.fakes.qdrant.client import CITIES, PAIR, city_points

    def create(vectors=PAIR, points=CITIES, **config):
        name = qdrant.collection()
        client.create_collection(name, vectors_config=vectors, **config)
        client.upsert(name, city_points(points), wait=True)
        return name

    return create


@pytest.fixture
def cities_client(double):
    """A client of a double with the collection "a"."""
    from tests.fakes.qdrant.client import CITIES, PAIR, city_points, connect_client

    with connect_client(double.url) as client:
        client.create_collection("a", vectors_config=PAIR)
        client.upsert("a", city_points(CITIES), wait=True)
        yield client
