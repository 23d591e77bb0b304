"""Fixtures: a double of a Qdrant server, or the server at QDRANT_URL."""

import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.fakes.qdrant.double import Double, qdrant_double


@pytest.fixture
def double() -> Iterator[Double]:
    """A double of a Qdrant server, with failures on demand."""
    with qdrant_double() as double:
        yield double


@pytest.fixture
def tls_double(tmp_path_factory) -> Iterator[Double]:
    """A double with a self-signed certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    with qdrant_double(tls=tmp_path_factory.mktemp("certificate")) as double:
        yield double


@dataclass(frozen=True)
class Qdrant:
    """A Qdrant server for a test.

    urls: of its nodes. prefix: of the names of a test's collections. double: what stands for the server; None for a real one.
    """

    urls: tuple[str, ...]
    prefix: str
    double: Double | None = None

    @property
    def url(self) -> str:
        return self.urls[0]

    def collection(self, name: str = "voices") -> str:
        """Name of a collection, unique to this test."""
        return self.prefix + name

    def options(self, name: str = "voices") -> tuple[str, ...]:
        """Options of a command that select a collection."""
        return "--url", self.url, "--collection", self.collection(name)

    def clear(self) -> None:
        """Remove the collections of a test and their aliases."""
        headers = {"api-key": key} if (key := os.environ.get("VOXDEX_API_KEY")) else {}
        with httpx.Client(base_url=self.url, headers=headers, timeout=60) as client:
            for collection in client.get("/collections").json()["result"]["collections"]:
                if collection["name"].startswith(self.prefix):
                    client.delete(f"/collections/{collection['name']}").raise_for_status()


@pytest.fixture
def qdrant(request) -> Qdrant:
    """The server at QDRANT_URL, the nodes at QDRANT_URLS (between spaces), or else a double of one with three nodes."""
    urls = (os.environ.get("QDRANT_URLS") or os.environ.get("QDRANT_URL") or "").split()
    if not urls:
        double = request.getfixturevalue("double")
        return Qdrant((double.url, double.node().url, double.node().url), "", double)
    server = Qdrant(tuple(urls), f"test-{uuid.uuid4().hex[:8]}-")
    request.addfinalizer(server.clear)
    return server
