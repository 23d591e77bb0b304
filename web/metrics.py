"""What is counted, for Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("voxdex_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry)
        self.seconds = Histogram("voxdex_request_seconds", "How long answers took.", ["route"], registry=self.registry)
        self.together = Histogram(
            "voxdex_embedded_together", "Clips or captions in one run of a graph.", ["kind"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=self.registry,
        )  # fmt: skip
        self.clips = Gauge("voxdex_clips", "Clips in the index.", registry=self.registry)

    def ran(self, kind: str, items: int) -> None:
        """A graph ran, for so many items together."""
        self.together.labels(kind).observe(items)

    def text(self) -> bytes:
        """In Prometheus' text form."""
        return generate_latest(self.registry)


class MetricsMiddleware:
    """Counts and times requests (ASGI middleware)."""

    def __init__(self, app: ASGIApp, meters: Metrics) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._meters.requests.labels(route, scope["method"], status).inc()
            self._meters.seconds.labels(route).observe(time.perf_counter() - started)
