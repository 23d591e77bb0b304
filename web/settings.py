"""What the page and the API may be asked for, and by whom."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from voxdex.encoders.paths import voxdex_home


@dataclass(frozen=True)
class Settings:
    """host: where to listen. token: what everybody must show; None asks for none, which only loopback addresses allow.

    most_upload_bytes, longest_seconds: of one request, of one sound in it. most_requests: of one address in a minute.
    sounds: the folder of sounds that were sent.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    most_upload_bytes: int = 100_000_000
    longest_seconds: float = 600.0
    most_requests: int = 6000
    sounds: Path = field(default_factory=lambda: voxdex_home() / "sounds")

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"{self.host} is reachable from other machines: that needs a token.")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
