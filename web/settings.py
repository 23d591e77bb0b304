"""Settings of a server: its address, token and limits."""

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from voxdex.encoders.paths import voxdex_home


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server.

    Args:
        host: address to listen at.
        address: URL at which a proxy serves the page, such as https://voices.example.org; None for none.
        token: secret that every request must show; None for none, which only loopback addresses allow.
        max_upload_bytes: size of a request.
        max_audio_seconds: duration of an uploaded recording.
        requests_per_minute: limit for each client address.
        allows_teaching: whether requests may teach the index words.
        uploads: folder of uploaded sounds.

    Raises:
        ValueError: the server can be reached from other machines, and there is no token; or the address is no URL of a host.
    """

    host: str = "127.0.0.1"
    address: str | None = None
    token: str | None = field(default=None, repr=False)
    max_upload_bytes: int = 100_000_000
    max_audio_seconds: float = 600.0
    requests_per_minute: int = 6000
    allows_teaching: bool = False
    uploads: Path = field(default_factory=lambda: voxdex_home() / "sounds")

    def __post_init__(self) -> None:
        if self.address is not None and not re.fullmatch(r"https?://[^/?#\s@]+", self.address):
            raise ValueError(f"{self.address} is no address of a server, such as https://voices.example.org.")
        if self.token is None and self.is_public:
            raise ValueError(f"{self.address or self.host} is reachable from other machines: that needs a token.")

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the server."""
        return not is_loopback(self.host) or not is_loopback(self.public_name or self.host)

    @property
    def public_name(self) -> str:
        """Host name of the address; "" without one."""
        return urlsplit(self.address or "").hostname or ""


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
