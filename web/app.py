"""The application: the page, the API, and what stands before them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from voxdex import __version__
from voxdex.encoders.errors import VoxdexError
from voxdex.web import api, pages
from voxdex.web.metrics import MetricsMiddleware
from voxdex.web.security import SecurityMiddleware
from voxdex.web.state import AppState

STATIC = Path(__file__).parent / "static"


def create_app(services: AppState) -> FastAPI:
    """The application over an index; it closes the services when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services.library.watch()
        yield
        services.close()

    app = FastAPI(
        title="Voxdex",
        summary="Find a voice by describing it.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # its page comes from another site
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.include_router(api.routes(services))
    app.include_router(pages.routes(services), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        """In Prometheus' text form."""
        with services.library.opened() as index:
            services.meters.clips.set(index.clips)
        return Response(services.meters.text(), media_type="text/plain; version=0.0.4")

    def refuse(request: Request, status: int, reason: str) -> Response:
        reason = reason.encode("utf-8", "backslashreplace").decode()
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": reason}, status)
        return pages.refusal(request, status, reason, services)

    @app.exception_handler(VoxdexError)
    def failed(request: Request, error: VoxdexError) -> Response:
        return refuse(request, error.http_status, error.sentence)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return refuse(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return refuse(request, 400, f"{'.'.join(map(str, first['loc'][1:])) or 'The request'}: {first['msg']}.")

    app.add_middleware(SecurityMiddleware, settings=services.settings)
    app.add_middleware(MetricsMiddleware, meters=services.meters)
    return app
