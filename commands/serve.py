"""The command `serve`: the web page and the HTTP API."""

import secrets
import socket
import threading
import webbrowser
from contextlib import suppress
from urllib.parse import urlencode

import click

from voxdex.commands.console import print_note
from voxdex.commands.options import at_index, device_option, show_licence_once
from voxdex.indexer.location import IndexLocation
from voxdex.indexer.store.base import StoreError

KEEP_ALIVE_SECONDS = 60
"""Idle time after which a connection is closed; longer than that of clients, so that both ends never close at once."""


@click.command()
@at_index
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. Other machines need the token.",
)
@click.option(
    "--port",
    default=8765,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="The port to listen on; 0 takes any free port.",
)
@click.option(
    "--address", metavar="URL", help="The address at which a proxy serves the page, such as https://voices.example.org."
)
@click.option(
    "--token",
    envvar="VOXDEX_TOKEN",
    show_envvar=True,
    help="The token that requests need.  [default: random, if other machines can reach the server]",
)
@click.option(
    "--max-upload-mb", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Maximum size of a request, in MB."
)
@click.option(
    "--max-audio-seconds",
    default=600,
    show_default=True,
    type=click.IntRange(1, 86_400),
    help="Maximum duration of an uploaded recording, in seconds.",
)
@click.option(
    "--rate-limit",
    default=6000,
    show_default=True,
    type=click.IntRange(1),
    help="Maximum number of requests a minute from one address.",
)
@click.option("--allow-teaching", is_flag=True, help="Let requests teach the index words of their own.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser.")
@device_option
def serve(
    location: IndexLocation,
    host: str,
    port: int,
    address: str | None,
    token: str | None,
    max_upload_mb: int,
    max_audio_seconds: int,
    rate_limit: int,
    allow_teaching: bool,
    open_page: bool,
    device: str,
) -> None:
    """Serve a page to search and play voices, and an HTTP API.

    The server reads a copy of an embedded index, so that `index` can run at the same time. It finds new recordings when that
    run has ended.

    \b
    voxdex serve
    voxdex serve --index oral-history --port 9000
    """
    if token and not (token.isascii() and token.isprintable()):
        raise click.UsageError("--token has characters that browsers do not send: write it in letters and digits.")
    import uvicorn  # slow to import, and used by this command only

    from voxdex.web.app import create_app
    from voxdex.web.settings import Settings, is_loopback
    from voxdex.web.state import AppState

    random = secrets.token_urlsafe(24)
    try:
        is_public = Settings(host=host, address=address and address.rstrip("/"), token=random).is_public
    except ValueError as error:
        raise click.UsageError(f"--address: {error}") from error
    settings = Settings(
        host=host,
        address=address and address.rstrip("/"),
        token=token or (random if is_public else None),
        max_upload_bytes=max_upload_mb * 1_000_000,
        max_audio_seconds=float(max_audio_seconds),
        requests_per_minute=rate_limit,
        allows_teaching=allow_teaching,
    )
    listening = listen(host, port)
    state = AppState.of(location, settings, device)
    with suppress(StoreError), state.index.opened() as index:
        show_licence_once(index.model.card)
        print_note(f"{index.clips} clips in {location}, embedded by {index.model.card.name}.")
    name = host if is_loopback(host) else socket.gethostname()
    base = settings.address or f"http://{f'[{name}]' if ':' in name else name}:{listening.getsockname()[1]}"
    page = f"{base}/" + (f"?{urlencode({'token': settings.token})}" if settings.token else "")
    print_note(f"Open {page} in a browser. Ctrl-C ends it.")
    if open_page:
        threading.Timer(1.0, webbrowser.open, [page]).start()
    config = uvicorn.Config(
        create_app(state),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_level="warning",
        server_header=False,
        proxy_headers=settings.address is not None,  # else anybody on this machine could take another client's name
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        StoreError: the address cannot be used.
    """
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)  # with the protocol named, asyncio sends answers without delay
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen()
        return listening
    except (OSError, UnicodeError) as error:  # the resolver raises UnicodeError for names that are too long
        reason = f"Voxdex cannot listen at {host}, port {port} ({getattr(error, 'strerror', None) or error})."
        raise StoreError(f"{reason} Another --port may be free; --port 0 finds one.") from error
