"""Access control: token, origin, request rate and size; security headers for browsers."""

import hmac
import logging
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxdex.web.settings import Settings, is_loopback
from voxdex.web.templating import TEMPLATES

log = logging.getLogger("voxdex")

COOKIE, LOGIN = "voxdex-token", "/login"
LOCAL = ("localhost", "127.0.0.1", "::1")
MAX_QUERY = 16_000
"""Characters of a query string."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
}


class SecurityMiddleware:
    """Refuse requests without access, limit their size, and answer defects with status 500 (ASGI middleware)."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(settings.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        size, started = 0, False

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._settings.max_upload_bytes:
                raise HTTPException(413, self._too_large())
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        try:
            answer = self._answer(scope) or self._app
            await answer(scope, receive_limited, send_with_headers)
        except HTTPException:
            raise
        except Exception:
            if started:
                raise
            log.exception("%s %s failed.", scope["method"], scope["path"])
            failed = refusal(scope, 500, "Voxdex failed on this request; the reason is in its log.")
            await failed(scope, receive, send_with_headers)

    def _answer(self, scope: Scope) -> ASGIApp | None:
        """Return a refusal, or a redirect to the address without the token; None for a request with access."""
        headers, path, settings = Headers(scope=scope), scope["path"], self._settings
        if not (_is_address(f"//{headers.get('host', '')}") and _is_address(headers.get("origin", ""))):
            return refusal(scope, 400, "The header Host or Origin is no address.")
        names = {*LOCAL, settings.host, settings.public_name or settings.host}
        if is_loopback(settings.host) and _name_of(headers.get("host", "")) not in names:
            return refusal(scope, 421, "This host name is not Voxdex's: open the page at http://127.0.0.1.")
        if self._is_foreign(headers, scope["method"], path):
            return refusal(scope, 403, "Pages of other sites may not send requests to Voxdex.")
        if len(scope["query_string"]) > MAX_QUERY:
            return refusal(scope, 414, f"The address is longer than {MAX_QUERY} characters: send a POST request.")
        if _length_of(headers) > settings.max_upload_bytes:
            return refusal(scope, 413, self._too_large())
        if not self._limiter.hit(self._limit, (scope.get("client") or ("",))[0]):
            reason = f"More than {settings.requests_per_minute} requests a minute: wait a little."
            return refusal(scope, 429, reason, {"Retry-After": "5"})
        if settings.token is None or path == LOGIN or path.startswith("/static/"):
            return None
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if "token" in given and is_token(given["token"], settings):
            rest = urlencode([pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != "token"])
            return logged_in(scope, settings, own_path(path) + (f"?{rest}" if rest else ""))
        bearer, cookie = headers.get("authorization", "").removeprefix("Bearer "), _cookie(headers)
        if is_token(bearer, settings) or is_token(cookie, settings):
            return None
        return refusal(
            scope, 401, "A token is needed: open the address that `serve` printed, or send Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    def _is_foreign(self, headers: Headers, method: str, path: str) -> bool:
        """Return whether a page of another site sent the request; links that a person follows to a page are none."""
        origin = headers.get("origin")
        if origin is not None and origin != self._settings.address and urlsplit(origin).netloc != headers.get("host"):
            return True
        is_link = (
            method in ("GET", "HEAD") and headers.get("sec-fetch-mode") in (None, "navigate") and not path.startswith("/api/")
        )
        return headers.get("sec-fetch-site") == "cross-site" and not is_link

    def _too_large(self) -> str:
        return f"More than {self._settings.max_upload_bytes / 1e6:.0f} MB were sent: send less at a time."


def refusal(scope: Scope, status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    """Return a refusal: a page for people, with a field for the token where one is needed; JSON for programs."""
    path, accepted = scope["path"], Headers(scope=scope).get("accept", "")
    if "text/html" not in accepted or path.startswith(("/api/", "/static/", "/metrics")):
        return JSONResponse({"error": reason}, status, headers)
    query = scope["query_string"].decode("latin-1")
    page = {"reason": reason, "target": "/" if path == LOGIN else own_path(path) + (f"?{query}" if query else "")}
    template = "token.html" if status == 401 else "error.html"
    return TEMPLATES.TemplateResponse(Request(scope), template, page, status, headers)


def logged_in(scope: Scope, settings: Settings, target: str) -> Response:
    """Return a redirect to a path of this server, with the token in a cookie.

    Links of other sites, such as a mail's, send it; their other requests are refused by their origin.
    """
    is_secure = scope["scheme"] == "https" or (settings.address or "").startswith("https:")
    response = RedirectResponse(target, 303)
    name = _cookie_name(Headers(scope=scope))
    response.set_cookie(name, settings.token or "", httponly=True, samesite="lax", secure=is_secure, max_age=30 * 86400)
    return response


def own_path(target: str) -> str:
    """Return a target as a path of this server: "//other.example/" would be another one's address."""
    return "/" + target.lstrip("/\\")


def is_token(text: str, settings: Settings) -> bool:
    """Return whether a text is the token of a server."""
    return hmac.compare_digest(text.encode(), (settings.token or "").encode())


def _is_address(text: str) -> bool:
    try:
        urlsplit(text).port  # noqa: B018  # raises ValueError, as urlsplit does
    except ValueError:
        return False
    return True


def _length_of(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _name_of(host: str) -> str:
    """Return a Host header without its port."""
    return urlsplit(f"//{host}").hostname or ""


def _cookie_name(headers: Headers) -> str:
    """Return the name of the cookie with the token: cookies are shared by all ports of a host, and servers are not."""
    port = urlsplit(f"//{headers.get('host', '')}").port
    return COOKIE if port is None else f"{COOKIE}-{port}"


def _cookie(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(_cookie_name(headers))
    except (CookieError, ValueError):
        return ""
    return cookie.value if cookie else ""
