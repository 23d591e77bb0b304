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
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voxdex.web.settings import Settings, is_loopback

log = logging.getLogger("voxdex")

COOKIE = "voxdex-token"
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
            await _refused(500, "Voxdex failed on this request; the reason is in its log.")(scope, receive, send_with_headers)

    def _answer(self, scope: Scope) -> Response | None:
        """Return a refusal, or a redirect to the address without the token; None for a request with access."""
        headers, path = Headers(scope=scope), scope["path"]
        if not (_is_address(f"//{headers.get('host', '')}") and _is_address(headers.get("origin", ""))):
            return _refused(400, "The header Host or Origin is no address.")
        if is_loopback(self._settings.host) and _name_of(headers.get("host", "")) not in {*LOCAL, self._settings.host}:
            return _refused(421, "This host name is not Voxdex's: open the page at http://127.0.0.1.")
        if _is_foreign(headers, scope["method"]):
            return _refused(403, "Pages of other sites may not send requests to Voxdex.")
        if len(scope["query_string"]) > MAX_QUERY:
            return _refused(414, f"The address is longer than {MAX_QUERY} characters: send a POST request.")
        if _length_of(headers) > self._settings.max_upload_bytes:
            return _refused(413, self._too_large())
        if not self._limiter.hit(self._limit, (scope.get("client") or ("",))[0]):
            reason = f"More than {self._settings.requests_per_minute} requests a minute: wait a little."
            return _refused(429, reason, {"Retry-After": "5"})
        if self._settings.token is None:
            return None
        given = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if "token" in given and self._is_token(given["token"]):
            rest = urlencode([pair for pair in parse_qsl(scope["query_string"].decode("latin-1")) if pair[0] != "token"])
            response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            response.set_cookie(COOKIE, given["token"], httponly=True, samesite="strict", max_age=30 * 86400)
            return response
        if self._is_token(headers.get("authorization", "").removeprefix("Bearer ")) or self._is_token(_cookie(headers)):
            return None
        return _refused(
            401, "A token is needed: open the address that `serve` printed, or send Authorization: Bearer TOKEN.",
            {"WWW-Authenticate": "Bearer"},
        )  # fmt: skip

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), (self._settings.token or "").encode())

    def _too_large(self) -> str:
        return f"More than {self._settings.max_upload_bytes / 1e6:.0f} MB were sent: send less at a time."


def _refused(status: int, reason: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": reason}, status, headers)


def _is_address(text: str) -> bool:
    try:
        return urlsplit(text) is not None
    except ValueError:
        return False


def _is_foreign(headers: Headers, method: str) -> bool:
    """Return whether a page of another site sent the request."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers.get("host"):
        return True
    return method != "GET" and headers.get("sec-fetch-site") == "cross-site"


def _length_of(headers: Headers) -> int:
    length = headers.get("content-length", "")
    return int(length) if length.isdecimal() else 0


def _name_of(host: str) -> str:
    """Return a Host header without its port."""
    return urlsplit(f"//{host}").hostname or ""


def _cookie(headers: Headers) -> str:
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""
