"""The page and the HTTP API over search/: `voxdex serve`, and the client of the API."""

from voxdex.web.client import Client, ServerError

__all__ = ["Client", "ServerError"]
