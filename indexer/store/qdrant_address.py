"""Addresses of Qdrant servers."""

import re
from urllib.parse import urlsplit

from voxdex.indexer.store.base import StoreError

PORT = 6333
"""Default port of a server."""


def as_address(url: str) -> str:
    """Complete the address of a server with http:// and a port.

    Raises:
        StoreError: the address is invalid.
    """
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(whole)
        port = PORT if parts.port is None else parts.port
        host = parts.hostname or ""
        host.encode("idna")
        is_address = re.fullmatch(r"[\w.-]+|[0-9a-f:.]+(%\w+)?", host) is not None
    except ValueError:
        is_address, parts, host, port = False, urlsplit(""), "", 0
    if not is_address or port == 0 or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise StoreError(f"{url!r} is no address of a Qdrant server: write it as http://HOST:6333.")
    if parts.username is not None:
        raise StoreError("The address of a Qdrant server has no name or password in it: give its key with --api-key.")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}{parts.path.rstrip('/')}"


def is_exposed(url: str) -> bool:
    """Return whether a key sent to an address can be read on the way: without TLS, and not to this machine."""
    parts = urlsplit(as_address(url))
    host = parts.hostname or ""
    return parts.scheme == "http" and host not in ("localhost", "::1") and not host.startswith("127.")
