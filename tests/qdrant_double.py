"""A Qdrant server's REST interface over Qdrant's own engine (see qdrant_engine), with failures on demand.

It answers as Qdrant 1.18 does, errors included, and what Voxdex has no use for (snapshots, sparse vectors, groups) with 404.
"""

import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.qdrant_engine import Collection, Json, Refused
from tests.qdrant_limits import Limits

MEMORY = Path("/dev/shm")
"""A disk in memory, where an index of a payload field is made twenty times as fast as on another."""
ROOM = 1 << 30
"""Bytes that have to be free there."""
FORBIDDEN = '<>:"/\\|?*\0\x1f'
"""Characters that no collection's name has."""
OPEN = ("/", "/healthz", "/livez", "/readyz")
"""Paths that need no key."""
FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
UPDATES: dict[str, Callable[[Collection, Json], Any]] = {
    "upsert": Collection.upsert,
    "delete": Collection.delete,
    "set_payload": Collection.set_payload,
    "overwrite_payload": Collection.overwrite_payload,
    "delete_payload": Collection.delete_payload,
    "clear_payload": Collection.clear_payload,
    "update_vectors": Collection.update_vectors,
    "delete_vectors": Collection.delete_vectors,
}
"""Changes of points, by the names that they have in a list of changes."""
WRITES: dict[tuple[str, str], Callable[[Collection, Json], Any]] = {
    ("PUT", "/points"): Collection.upsert,
    ("POST", "/points/delete"): Collection.delete,
    ("POST", "/points/payload"): Collection.set_payload,
    ("PUT", "/points/payload"): Collection.overwrite_payload,
    ("POST", "/points/payload/delete"): Collection.delete_payload,
    ("POST", "/points/payload/clear"): Collection.clear_payload,
    ("PUT", "/points/vectors"): Collection.update_vectors,
    ("POST", "/points/vectors/delete"): Collection.delete_vectors,
    ("PUT", "/index"): Collection.create_index,
}
READS: dict[tuple[str, str], Callable[[Collection, Json], Any]] = {
    ("POST", "/points"): Collection.retrieve,
    ("POST", "/points/scroll"): Collection.scroll,
    ("POST", "/points/count"): Collection.count,
    ("POST", "/points/query"): Collection.query,
    ("POST", "/points/query/batch"): Collection.query_batch,
    ("POST", "/facet"): Collection.facet,
}
"""Requests about what is in a collection, by method and the end of the path."""


class Cluster:
    """What the nodes of a server have in common: collections and their aliases."""

    def __init__(self) -> None:
        spacious = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
        self._folder = Path(tempfile.mkdtemp(prefix="qdrant-", dir=MEMORY if spacious else None))
        self.lock = threading.RLock()
        self.collections: dict[str, Collection] = {}
        self._aliases: dict[str, str] = {}
        self._limits: dict[str, Limits] = {}
        self._made = 0

    def named(self, name: str) -> Collection:
        """The collection of a name or an alias."""
        if found := self.collections.get(self._aliases.get(name, name)):
            return found
        raise missing(name)

    def limits(self, name: str) -> Limits:
        return self._limits[self._aliases.get(name, name)]

    def exists(self, name: str) -> bool:
        return self._aliases.get(name, name) in self.collections

    def create(self, name: str, wish: Json) -> bool:
        if reason := fault_of(name):
            raise Refused(422, f"Validation error in path parameters: [name: {reason}]")
        self._expect_free(name)
        if name in self._aliases:
            reason = f"Can't create collection with name {name}. Alias with the same name already exists"
            raise Refused(400, f"Wrong input: {reason}")
        self._made += 1
        self.collections[name] = Collection.create(self._folder / str(self._made), wish)
        self._limits[name] = Limits()
        return True

    def delete(self, name: str) -> bool:
        """Whether there was one of that name, which is not looked up among the aliases; those of it go with it."""
        self._aliases = {alias: target for alias, target in self._aliases.items() if target != name}
        if collection := self.collections.pop(name, None):
            collection.drop()
        return collection is not None

    def change_aliases(self, actions: list[Json]) -> bool:
        """Makes all of some changes, or none."""
        changed = dict(self._aliases)
        for action in actions:
            match action:
                case {"create_alias": {"collection_name": target, "alias_name": alias}}:
                    if target not in self.collections:
                        raise missing(target)
                    self._expect_free(alias)
                    changed[alias] = target
                case {"delete_alias": {"alias_name": alias}}:
                    changed.pop(alias, None)
                case {"rename_alias": {"old_alias_name": former, "new_alias_name": alias}}:
                    if former not in changed:
                        raise Refused(404, f"Not found: Alias {former} does not exists!")
                    changed[alias] = changed.pop(former)
        self._aliases = changed
        return True

    def aliases(self, name: str | None = None) -> Json:
        """All aliases, or those of a collection."""
        kept = [(alias, target) for alias, target in self._aliases.items() if name in (None, target)]
        return {"aliases": [{"alias_name": alias, "collection_name": target} for alias, target in kept]}

    def _expect_free(self, name: str) -> None:
        if name in self.collections:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")

    def close(self) -> None:
        with self.lock:
            for name in list(self.collections):
                self.delete(name)
        shutil.rmtree(self._folder, ignore_errors=True)


def missing(name: str) -> Refused:
    return Refused(404, f"Not found: Collection `{name}` doesn't exist!")


def fault_of(name: str) -> str | None:
    """Why no collection can have a name."""
    if not 1 <= len(name) <= 255:
        return f'value "{name}" invalid, must be from 1 to 255 characters'
    return next((f'collection name cannot contain "{each}" char' for each in FORBIDDEN if each in name), None)


class Double:
    """A server, or a node of one, on a port of this machine.

    What it is asked: requests (method and path of each), bodies (of the same). on_request: called with each of `requests`
    before it is answered. What it does wrong, as it is told: failing (how many of the next requests are answered with 503),
    rate (how many with 429, to be sent again after retry_after seconds), full (no room for what is written), down (its port
    is dead), silent (it answers nothing until it is no longer silent). api_key, read_key: without one of them nothing is
    answered, with the second nothing is written. limits: strict mode of the collections made from now on.
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
        self._heard = threading.Event()
        self._heard.set()
        self._connections: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = socket.socket()  # keeps the port while nothing listens there
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            self._port.setsockopt(socket.SOL_SOCKET, option, 1)
        self._port.bind(("127.0.0.1", 0))
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._port.getsockname()[1]}"
        self.down = False

    def node(self) -> "Double":
        """Another node of the same server: all that it does wrong is its own. It is asked for the same keys."""
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
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
            return
        self._server = None
        server.shutdown()
        server.server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # closed at the other end
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for node in self._nodes:
            node.close()
        self.silent, self.down = False, True
        self._port.close()

    def answer(self, method: str, target: str, key: str | None, content: bytes) -> tuple[Any, bool]:
        """The result of a request as JSON can hold it, and whether it stands for itself."""
        address = urlsplit(target)
        path = address.path
        with self._cluster.lock:
            body = read_json(content) if content else {}
            self.requests.append(f"{method} {path}")
            self.bodies.append(body)
        self.on_request(f"{method} {path}")
        self._heard.wait()
        with self._cluster.lock:
            if path not in OPEN:
                self._check_key(key, writes=is_write(method, path))
            if path == "/" and method == "GET":
                return {"title": "qdrant - vector search engine", "version": self.version, "commit": "0" * 40}, True
            if path in OPEN and method == "GET":
                return "all shards are ready" if path == "/readyz" else f"{path[1:]} check passed", True
            if self.failing:
                self.failing -= 1
                raise Refused(503, "starting")
            if self.rate:
                self.rate -= 1
                reason = f"Operation requires 1 tokens but only 0.0 were available. Retry after {self.retry_after}s"
                what = "Write" if is_write(method, path) else "Read"
                raise Refused(429, f"Rate limiting exceeded: {what} rate limit exceeded: {reason}", self.retry_after)
            seconds = parse_qs(address.query).get("timeout")
            return self._answer(method, path, body, int(seconds[0]) if seconds else None), False

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

    def _answer(self, method: str, path: str, body: Json, timeout: int | None) -> Any:
        cluster = self._cluster
        match method, *(unquote(part) for part in path.strip("/").split("/")):
            case "GET", "collections":
                return {"collections": [{"name": name} for name in cluster.collections]}
            case "GET", "aliases":
                return cluster.aliases()
            case "POST", "collections", "aliases":
                return cluster.change_aliases(body["actions"])
            case "GET", "collections", name, "exists":
                return {"exists": cluster.exists(name)}
            case "GET", "collections", name, "aliases":
                return cluster.aliases(name)
            case "GET", "collections", name:
                return cluster.named(name).info()
            case "PUT", "collections", name:
                limits = {"enabled": True, **self.limits} if self.limits else {}
                return cluster.create(name, {**body, "strict_mode_config": limits | (body.get("strict_mode_config") or {})})
            case "PATCH", "collections", name:
                return cluster.named(name).change(body)
            case "DELETE", "collections", name:
                return cluster.delete(name)
            case "DELETE", "collections", name, "index", key:
                self._expect_room()
                return cluster.named(name).drop_index(key)
            case "GET", "collections", name, "points", id:
                return cluster.named(name).point(int(id) if id.isdecimal() else id)
            case "POST", "collections", name, "points", "batch":
                self._expect_room()
                changes = [change for each in body["operations"] for change in each.items()]
                return [UPDATES[what](cluster.named(name), wish) for what, wish in changes]
            case _, "collections", name, *rest if (way := (method, "/" + "/".join(rest))) in WRITES.keys() | READS.keys():
                collection, writes = cluster.named(name), way in WRITES
                cluster.limits(name).check(collection, way[1], body, writes, timeout)
                if writes:
                    self._expect_room()
                return (WRITES if writes else READS)[way](collection, body)
        raise Refused(404, "")

    def _expect_room(self) -> None:
        if self.full:
            raise Refused(500, FULL)


def read_json(content: bytes) -> Any:
    def refuse(constant: str) -> None:
        raise Refused(400, f"Format error in JSON body: expected value, found {constant}")

    try:
        return json.loads(content, parse_constant=refuse)
    except ValueError as error:
        raise Refused(400, f"Format error in JSON body: {error}") from error


def is_write(method: str, path: str) -> bool:
    end = "/" + path.removeprefix("/collections/").partition("/")[2]
    return method != "GET" and (method, end) not in READS


class Listener(ThreadingHTTPServer):
    """Accepts connections at a port that is taken by what does not listen."""

    allow_reuse_port = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break where a client is killed, or where it is none of TLS: nothing is printed of it."""


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
            except Refused as refused:
                return self.refuse(refused)
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
                return self.refuse(Refused(400, f"Format error in JSON body: {type(error).__name__} {error}"))
            except Exception as error:  # the engine's, which has no kinds of its own
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
    """A certificate of this machine that nobody signed; its key lies beside it."""
    certificate = folder / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(certificate.with_suffix(".key")), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate


@contextmanager
def qdrant_double(tls: Path | None = None) -> Iterator[Double]:
    """Serves on a free port of this machine. tls: the folder for a certificate to be made, where it is to speak HTTPS."""
    cluster = Cluster()
    double = Double(cluster, make_certificate(tls) if tls else None)
    try:
        yield double
    finally:
        double.close()
        cluster.close()
