"""A double of a Qdrant server over HTTP, with failures on demand; the answers are in api.py."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.fakes.qdrant.api import Cluster, Request
from tests.fakes.qdrant.terms import Json, Refused

OPEN: dict[str, Json | str] = {
    "/": {"title": "qdrant - vector search engine", "commit": "0" * 40},
    "/healthz": "healthz check passed",
    "/livez": "livez check passed",
    "/readyz": "all shards are ready",
}
"""Answers that need no key."""

ALERT = bytes.fromhex("15 0303 0002 0232")
"""The TLS alert with which a TLS server answers plain HTTP."""


class Double:
    """A server, or a node of one, on a port of this machine.

    requests, bodies: method and path, and body, of each request. on_request: called with each of `requests` before it is
    carried out. Failures: failing (number of the next requests to answer with 503), rate (number to answer with 429 and
    retry_after seconds), full (writes fail), down (the port is closed), silent (no answers until it is False again). api_key,
    read_key: keys for all requests, and for reads only. limits: strict mode of collections created from now on.
    """

    def __init__(self, cluster: Cluster, certificate: Path | None = None) -> None:
        self._cluster, self.certificate = cluster, certificate
        self.requests: list[str] = []
        self.bodies: list[Any] = []
        self.on_request: Callable[[str], object] = lambda request: None
        self.failing, self.rate, self.retry_after, self.full = 0, 0, 1, False
        self.api_key: str | None = None
        self.read_key: str | None = None
        self.limits: Json = {}
        self.version = "1.18.3"
        self._nodes: list[Double] = []
        self._deaths = 0
        self._heard = threading.Event()
        self._heard.set()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = socket.socket()  # keeps the port while the node is down
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self._port.setsockopt(socket.SOL_SOCKET, option, 1)
        self._port.bind(("127.0.0.1", 0))
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._port.getsockname()[1]}"
        self.down = False

    def node(self) -> "Double":
        """Another node of the same server, with the same keys and failures of its own."""
        node = Double(self._cluster, self.certificate)
        node.api_key, node.read_key, node.limits, node.version = self.api_key, self.read_key, self.limits, self.version
        self._nodes.append(node)
        return node

    @property
    def silent(self) -> bool:
        return not self._heard.is_set()

    @silent.setter
    def silent(self, silent: bool) -> None:
        self._heard.clear() if silent else self._heard.set()

    @property
    def down(self) -> bool:
        return self._server is None

    @down.setter
    def down(self, down: bool) -> None:
        server = self._server
        if down == (server is None):
            return
        if server is None:
            self._server = Listener(self._port.getsockname(), handler_of(self))
            if self.certificate:
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(self.certificate, self.certificate.with_suffix(".key"))
                self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
            return
        self._server, self._deaths = None, self._deaths + 1
        server.shutdown()
        server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # closed at the other end
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for node in self._nodes:
            node.close()
        self.down, self.silent = True, False
        self._port.close()

    def answer(self, method: str, target: str, key: str | None, content: bytes) -> tuple[Any, bool]:
        """The result of a request, and whether it is the whole body."""
        address = urlsplit(target)
        timeout = parse_qs(address.query).get("timeout")
        request = Request(method, address.path, read_json(content) if content else {}, int(timeout[0]) if timeout else None)
        with self._cluster.lock:
            self.requests.append(str(request))
            self.bodies.append(request.body)
            deaths = self._deaths
        self.on_request(str(request))
        self._heard.wait()
        if deaths != self._deaths:  # the node has gone down since
            raise ConnectionAbortedError
        with self._cluster.lock:
            if method == "GET" and (told := OPEN.get(request.path)):
                return {**told, "version": self.version} if isinstance(told, dict) else told, True
            self._check_key(key, request.writes)
            if self.failing:
                self.failing -= 1
                raise Refused(503, "starting")
            if self.rate:
                self.rate -= 1
                what = "Write" if request.writes else "Read"
                reason = f"Operation requires 1 tokens but only 0.0 were available. Retry after {self.retry_after}s"
                raise Refused(429, f"Rate limiting exceeded: {what} rate limit exceeded: {reason}", self.retry_after)
            return self._cluster.answer(request, self.limits, self.full), False

    def _check_key(self, key: str | None, writes: bool) -> None:
        keys = [each for each in (self.api_key, self.read_key) if each is not None]
        if not keys or key == self.api_key is not None:
            return
        if key is None:
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if key not in keys:
            raise Refused(401, "Invalid API key or JWT")
        if writes:
            raise Refused(403, "Forbidden: Global manage access is required")


def read_json(content: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise Refused(400, f"Format error in JSON body: expected value, found {constant}")

    try:
        return json.loads(content, parse_constant=refuse)
    except ValueError as error:
        raise Refused(400, f"Format error in JSON body: {error}") from error


class Listener(ThreadingHTTPServer):
    """A server at a port that is already bound by a socket that does not listen."""

    allow_reuse_port = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore broken connections of killed clients and of clients without TLS, which receive an alert."""
        error = sys.exc_info()[1]
        if isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
            with suppress(OSError), socket.socket(fileno=os.dup(request.fileno())) as plain:
                plain.sendall(ALERT)


def handler_of(double: Double) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            double._connections.add(self.request)
            super().setup()

        def finish(self) -> None:
            double._connections.discard(self.request)
            super().finish()

        def handle_any(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            key = self.headers.get("api-key") or (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
            try:
                result, alone = double.answer(self.command, self.path, key, content)
            except ConnectionAbortedError:
                self.close_connection = True
                return None
            except Refused as refused:
                return self.refuse(refused)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                return self.refuse(Refused(400, f"Format error in JSON body: {type(error).__name__} {error}"))
            except Exception as error:  # the engine raises plain exceptions
                return self.refuse(Refused(400, f"Wrong input: {error}"))
            self.reply(200, result if alone else {"result": result, "status": "ok", "time": 0.0})

        do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = handle_any

        def refuse(self, refused: Refused) -> None:
            plain = refused.status == 401 or not refused.reason
            again = {} if refused.retry_after is None else {"Retry-After": str(refused.retry_after)}
            document = {"status": {"error": refused.reason}, "time": 0.0}
            self.reply(refused.status, refused.reason if plain else document, **again)

        def reply(self, status: int, document: Json | str, **headers: str) -> None:
            plain = isinstance(document, str)
            content = (document if plain else json.dumps(document)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if plain else "application/json")
            self.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def make_certificate(folder: Path) -> Path:
    """Create a self-signed certificate for localhost, with its key beside it."""
    certificate = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate


@contextmanager
def qdrant_double(tls: Path | None = None) -> Iterator[Double]:
    """Run a double on a free port. tls: a folder for its certificate, to serve HTTPS."""
    cluster = Cluster()
    double = Double(cluster, make_certificate(tls) if tls else None)
    try:
        yield double
    finally:
        double.close()
        cluster.close()


def collection_names(double: Double) -> list[str]:
    return [found["name"] for found in httpx.get(f"{double.url}/collections").json()["result"]["collections"]]


def collection_config(double: Double, collection: str) -> Json:
    return httpx.get(f"{double.url}/collections/{collection}").json()["result"]["config"]
