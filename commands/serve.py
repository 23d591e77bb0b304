"""The command that opens the page and the HTTP API."""

import secrets
import socket
import threading
import webbrowser
from contextlib import suppress

import click

from voxdex.commands.console import print_note
from voxdex.commands.options import at_index, device_option, show_licence_once
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.store.base import StoreError

KEPT_SECONDS = 60
"""How long a connection waits for its next request: longer than clients keep one, or both may let go of it at the same time."""


@click.command()
@at_index
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen; other machines must show the token.")
@click.option("--port", default=8765, show_default=True, type=click.IntRange(0, 65_535), help="0 takes any that is free.")
@click.option(
    "--token", envvar="VOXDEX_TOKEN", show_envvar=True, help="What everybody must show; made up where --host needs one."
)
@click.option("--most-upload", default=100, show_default=True, type=click.IntRange(1, 10_000), help="MB of one request.")
@click.option(
    "--longest-sound", default=600, show_default=True, type=click.IntRange(1, 86_400), help="Seconds of a sound sent."
)
@click.option("--most-requests", default=6000, show_default=True, type=click.IntRange(1), help="Of one address in a minute.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@device_option
def serve(
    place: IndexLocation,
    host: str,
    port: int,
    token: str | None,
    most_upload: int,
    longest_sound: int,
    most_requests: int,
    open_page: bool,
    device: str,
) -> None:
    """Open a page on which voices are found and heard, and an HTTP API for other programs.

    It reads a copy of the index, so `index` may run beside it; what a run has added is found when it is done.

    \b
    voxdex serve
    voxdex serve --index oral-history --port 9000
    """
    if token and not (token.isascii() and token.isprintable()):
        raise click.UsageError("--token has characters that no browser sends back: write it in letters and digits.")
    import uvicorn  # of no use to other commands, and slow to load

    from voxdex.web.app import create_app
    from voxdex.web.settings import Settings, is_loopback
    from voxdex.web.state import AppState

    token = token or (None if is_loopback(host) else secrets.token_urlsafe(24))
    settings = Settings(
        host=host,
        token=token,
        max_upload_bytes=most_upload * 1_000_000,
        max_audio_seconds=float(longest_sound),
        requests_per_minute=most_requests,
    )
    listening = listen(host, port)
    state = AppState.of(place, settings, device)
    with suppress(StoreError), state.index.opened() as index:
        show_licence_once(index.model.card)
        print_note(f"{index.clips} clips of {place}, indexed with {index.model.card.name}.")
    name = host if is_loopback(host) else socket.gethostname()
    address = f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}/" + (
        f"?token={token}" if token else ""
    )
    print_note(f"Open {address} in a browser. Ctrl-C ends it.")
    if open_page:
        threading.Timer(1.0, webbrowser.open, [address]).start()
    quietly = {"log_level": "warning", "server_header": False}
    server = uvicorn.Server(uvicorn.Config(create_app(state), timeout_keep_alive=KEPT_SECONDS, **quietly))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """The socket that requests come to."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)  # that says it is TCP: asyncio then sends answers without delay
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen()
        return listening
    except (OSError, UnicodeError) as error:  # a name too long for the name service is no text to it
        reason = f"Voxdex cannot listen at {host}, port {port} ({getattr(error, 'strerror', None) or error})."
        raise StoreError(f"{reason} Another --port may be free; --port 0 finds one.") from error
