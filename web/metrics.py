"""Metrics of a server in the format of Prometheus."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Metrics:
    """Metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("voxdex_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry)
        self.seconds = Histogram("voxdex_request_seconds", "Duration of requests.", ["route"], registry=self.registry)
        self.batches = Histogram(
            "voxdex_embedded_together", "Clips or captions in one run of a graph.", ["kind"],
            buckets=(1, 2, 4, 8, 16, 32, 64, 128), registry=self.registry,
        )  # fmt: skip
        self.clips = Gauge("voxdex_clips", "Clips in the index.", registry=self.registry)

    def record_batch(self, kind: str, size: int) -> None:
        """Record a run of a graph. kind: "speech" or "text". size: clips or captions in the batch."""
        self.batches.labels(kind).observe(size)

    def exposition(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Methods with a label of their own."""


class MetricsMiddleware:
    """Count and time requests (ASGI middleware)."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = time.perf_counter(), 500

        async def send_with_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_with_status)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"  # each label is kept for ever
            self._metrics.requests.labels(route, method, status).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - started)
