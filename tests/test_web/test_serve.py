"""A server process: addresses, generated requests and many slow clients."""

import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import PATIENCE
from tests.fakes.server import serve_process


def test_addresses(address, library_index, tmp_path, here):
    port = httpx.URL(address).port
    taken = here("serve", "--index", library_index, "--port", port)
    assert taken.status == 2 and "Another --port may be free" in taken.err
    with serve_process(library_index, tmp_path, "--host", "0.0.0.0") as public:
        assert "?token=" in public
        untold = public.replace(httpx.URL(public).host, "127.0.0.1").split("?")[0]
        assert httpx.get(untold, timeout=PATIENCE).status_code == 401


def test_generated_requests(address):
    program = Path(sys.executable).with_name("schemathesis")
    if not program.exists():
        pytest.skip("schemathesis comes with the test extra")
    options = "--checks not_a_server_error --max-examples 5 --phases examples,coverage,fuzzing --seed 1".split()
    options += ["--request-timeout", str(PATIENCE)]
    done = subprocess.run([program, "run", f"{address}api/openapi.json", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_slow_clients_do_not_block_others(address):
    host, port = httpx.URL(address).host, httpx.URL(address).port
    slow = [socket.create_connection((host, port)) for _ in range(100)]
    for client in slow:
        client.sendall(b"POST /api/sounds HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000\r\n\r\n-")
    with (
        httpx.Client(base_url=address, limits=httpx.Limits(max_connections=200), timeout=PATIENCE) as http,
        ThreadPoolExecutor(200) as pool,
    ):
        asked = [pool.submit(http.get, "/api/search", params={"caption": f"a sad voice {number}"}) for number in range(200)]
        assert {answer.result().status_code for answer in asked} == {200}
    for client in slow:
        client.close()
