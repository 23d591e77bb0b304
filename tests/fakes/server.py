"""Servers over an index: in this process, or started as a user starts one."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from fastapi.testclient import TestClient

from tests.conftest import PATIENCE, ROOT
from voxdex.indexer.location import LocalIndex
from voxdex.web.app import create_app
from voxdex.web.settings import Settings
from voxdex.web.state import AppState


def serve_index(folder: Path, **settings) -> TestClient:
    """A client of a server over an index, with the address of a local browser."""
    return TestClient(create_app(open_state(folder, **settings)), base_url="http://127.0.0.1:8765")


def open_state(folder: Path, **settings) -> AppState:
    return AppState.of(LocalIndex(folder), Settings(**settings), "cpu")


def upload(path: Path) -> tuple[str, bytes]:
    """Name and content of a file, for a multipart form."""
    return path.name, path.read_bytes()


@contextmanager
def serve_process(folder: Path, home: Path, *options: str, port: int = 0) -> Iterator[str]:
    """Run `serve` in a process: yields the address that it prints, or that of the port. port: 0 for any free one."""
    many = ("--rate-limit", "1000000")  # fast tests exceed the limit for one person
    command = [sys.executable, str(ROOT / "cli.py"), "serve", "--index", str(folder), "--port", str(port), *many, *options]
    environment = os.environ | {"VOXDEX_HOME": str(home), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
            address = f"http://127.0.0.1:{port}" if port else address
            httpx.get(address, timeout=PATIENCE)  # the port is open before the server answers
            yield address
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
