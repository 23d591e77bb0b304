"""Settings of a server: its address, token and limits."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from voxdex.encoders.paths import voxdex_home


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a server.

    Args:
        host: address to listen at.
        token: secret that every request must show; None for none, which only loopback addresses allow.
        max_upload_bytes: size of a request.
        max_audio_seconds: duration of an uploaded recording.
        requests_per_minute: limit for each client address.
        allows_teaching: whether requests may teach the index words.
        uploads: folder of uploaded sounds.

    Raises:
        ValueError: the host can be reached from other machines, and there is no token.
    """

    host: str = "127.0.0.1"
    token: str | None = field(default=None, repr=False)
    max_upload_bytes: int = 100_000_000
    max_audio_seconds: float = 600.0
    requests_per_minute: int = 6000
    allows_teaching: bool = False
    uploads: Path = field(default_factory=lambda: voxdex_home() / "sounds")

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"{self.host} is reachable from other machines: that needs a token.")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
