"""Addresses of Qdrant servers."""

import re
from urllib.parse import urlsplit

from indexer.store.base import StoreError

PORT = 6333
"""Where a server listens whose address names no port."""


def as_address(url: str) -> str:
    """The address of a server, whole: with http:// and a port.

    Raises:
        StoreError: it is none.
    """
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(whole)
        port = PORT if parts.port is None else parts.port
        (parts.hostname or "").encode("idna")
        is_address = re.fullmatch(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", parts.hostname or "") is not None
    except ValueError:
        is_address, parts, port = False, urlsplit(""), 0
    if not is_address or port == 0 or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise StoreError(f"{url!r} is no address of a Qdrant server: write it as http://HOST:6333.")
    if parts.username is not None:
        raise StoreError("The address of a Qdrant server has no name or password in it: give its key with --api-key.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def is_exposed(url: str) -> bool:
    """Whether a key shown at an address can be read on its way: without TLS, and not to this machine."""
    parts = urlsplit(as_address(url))
    host = parts.hostname or ""
    return parts.scheme == "http" and host not in ("localhost", "::1") and not host.startswith("127.")
