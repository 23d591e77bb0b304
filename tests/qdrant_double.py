"""A Qdrant server's REST interface over qdrant-client's local mode, with failures on demand: no cluster, no disk.

Only what Voxdex asks for is answered; anything else is 404.
"""

import json
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from qdrant_client import QdrantClient, models


@dataclass
class Double:
    """failing: how many of the next requests are answered with 503. requests: method and path of all so far."""

    client: QdrantClient = field(default_factory=lambda: QdrantClient(":memory:"))
    failing: int = 0
    requests: list[str] = field(default_factory=list)
    url: str = ""


def answer(client: QdrantClient, method: str, path: str, body: dict[str, Any]) -> Any:
    """The result of a request, as JSON can hold it."""
    if (method, path) == ("GET", "/aliases"):
        return client.get_aliases().model_dump()
    if (method, path) == ("POST", "/collections/aliases"):
        return client.update_collection_aliases(models.ChangeAliasesOperation(**body).actions)
    name, operation = re.fullmatch(r"/collections/([^/]+)(/.*)?", path).groups()
    match method, operation:
        case "GET", "/exists":
            return {"exists": any(each.name == name for each in client.get_collections().collections)}
        case "PUT", None:
            return client.create_collection(name, vectors_config=models.CreateCollection(**body).vectors)
        case "GET", None:
            return client.get_collection(name).model_dump(mode="json")
        case "DELETE", None:
            return client.delete_collection(name)
        case "PUT", "/index":
            return {"operation_id": 0, "status": "completed"}
        case "PUT", "/points":
            points = [models.PointStruct(**point) for point in body["points"]]
            return client.upsert(name, points).model_dump()
        case "POST", "/points":
            found = client.retrieve(name, body["ids"], with_payload=True, with_vectors=body.get("with_vector") or False)
            return [record.model_dump() for record in found]
        case "POST", "/facet":
            asked = models.FacetRequest(**body)
            return client.facet(name, asked.key, asked.filter, limit=asked.limit, exact=asked.exact).model_dump()
        case "POST", "/points/payload":
            return client.set_payload(name, body["payload"], points=models.Filter(**body["filter"])).model_dump()
        case "POST", "/points/delete":
            return client.delete(name, models.FilterSelector(**body)).model_dump()
        case "POST", "/points/count":
            return {"count": client.count(name, count_filter=models.Filter(**body["filter"])).count}
        case "POST", "/points/scroll":
            asked = models.ScrollRequest(**body)
            points, offset = client.scroll(
                name, asked.filter, limit=asked.limit, offset=asked.offset, with_payload=asked.with_payload,
                with_vectors=asked.with_vector or False,
            )  # fmt: skip
            return {"points": [point.model_dump() for point in points], "next_page_offset": offset}
        case "POST", "/points/query":
            asked = models.QueryRequest(**body)
            found = client.query_points(
                name, asked.query, using=asked.using, query_filter=asked.filter, limit=asked.limit,
                with_payload=asked.with_payload, with_vectors=asked.with_vector or False,
            )  # fmt: skip
            return found.model_dump()
    raise LookupError(f"{method} {path}")


@contextmanager
def qdrant_double() -> Iterator[Double]:
    """Serves on a free port of this machine."""
    double, lock = Double(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
            path = self.path.partition("?")[0]
            with lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                double.requests.append(f"{self.command} {path}")
                if double.failing:
                    double.failing -= 1
                    return self.reply(503, {"status": {"error": "starting"}})
                try:
                    result = answer(double.client, self.command, path, body)
                except (LookupError, AttributeError, ValueError) as error:
                    return self.reply(404, {"status": {"error": str(error)}})
            self.reply(200, {"result": result, "status": "ok", "time": 0.0})

        do_GET = do_PUT = do_POST = do_DELETE = handle_any

        def reply(self, status: int, document: dict[str, Any]) -> None:
            content = json.dumps(document, default=str).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    double.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
