"""The web application: pages, HTTP API, errors and middleware."""

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


def create_app(state: AppState) -> FastAPI:
    """Create the application of a server; it closes the state when it ends."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        state.index.watch()
        yield
        state.close()

    app = FastAPI(
        title="Voxdex",
        summary="Find a voice by describing it.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # it loads scripts from another site
        redoc_url=None,
        openapi_url="/api/openapi.json",
    )
    app.include_router(api.routes(state))
    app.include_router(pages.routes(state), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        with state.index.opened() as index:
            state.metrics.clips.set(index.clips)
        return Response(state.metrics.exposition(), media_type="text/plain; version=0.0.4")

    add_error_handlers(app, state)
    app.add_middleware(SecurityMiddleware, settings=state.settings)
    app.add_middleware(MetricsMiddleware, metrics=state.metrics)
    return app


def add_error_handlers(app: FastAPI, state: AppState) -> None:
    """Answer errors with a sentence: as JSON under /api, as a page elsewhere."""

    def respond(request: Request, status: int, reason: str) -> Response:
        reason = reason.encode("utf-8", "backslashreplace").decode()
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": reason}, status)
        return pages.error_page(request, status, reason, state)

    @app.exception_handler(VoxdexError)
    def failed(request: Request, error: VoxdexError) -> Response:
        return respond(request, error.http_status, error.sentence)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> Response:
        return respond(request, error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def validation_error(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return respond(request, 400, f"{'.'.join(map(str, first['loc'][1:])) or 'The request'}: {first['msg']}.")
