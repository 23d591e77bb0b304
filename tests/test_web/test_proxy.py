"""The proxy that the documentation describes: nginx before the server."""

import re
import shutil
import socket
import subprocess
import time

import httpx
import pytest

from tests.conftest import PATIENCE, ROOT
from tests.fakes.server import serve_process

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SNIPPET = re.search(r"```nginx\n(.*?)```", (ROOT / "docs" / "serving.md").read_text(encoding="utf-8"), re.DOTALL)[1]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


@pytest.fixture
def proxied(library_index, tmp_path):
    """A client of a server at http://voices.example.org:PORT behind nginx; without TLS, which nginx ends in any case."""
    if NGINX is None:
        pytest.skip("nginx comes from Debian: apt-get install nginx-light")
    port = free_port()
    address = f"http://voices.example.org:{port}"
    with serve_process(
        library_index, tmp_path / "home", "--address", address, "--token", "s3cret", port=free_port()
    ) as upstream:
        plain = re.sub(r" *ssl_.*\n", "", SNIPPET).replace("listen 443 ssl", f"listen 127.0.0.1:{port}")
        plain = plain.replace("http://127.0.0.1:8765", upstream).replace("$host;", "$host:$server_port;")
        kinds = "\n".join(f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log stderr; events {{}} http {{ access_log off; {kinds} {plain} }}"
        )
        with subprocess.Popen([NGINX, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-e", "stderr"]) as process:
            try:
                with httpx.Client(
                    base_url=f"http://127.0.0.1:{port}", headers={"Host": f"voices.example.org:{port}"}
                ) as client:
                    wait_for(client)
                    yield client, address
            finally:
                process.terminate()


def wait_for(client: httpx.Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            client.get("/static/voxdex.css")
            return
        except httpx.ConnectError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_page_and_api_behind_nginx(proxied):
    client, address = proxied
    asked = client.get("/?captions=calm", headers={"Accept": "text/html"})
    assert asked.status_code == 401 and 'action="/login"' in asked.text
    origin = {"Origin": address, "Sec-Fetch-Site": "same-origin"}
    opened = client.post("/login", data={"token": "s3cret", "target": "/?captions=calm"}, headers=origin)
    assert opened.status_code == 303 and opened.headers["location"] == "/?captions=calm"
    cookie = {"Cookie": opened.headers["set-cookie"].split(";")[0]}
    assert client.get("/?captions=calm", headers=cookie | {"Accept": "text/html"}).status_code == 200
    found = client.post("/api/search", json={"caption": "a man", "limit": 1}, headers=cookie | origin)
    assert found.status_code == 200, found.text
    clip = client.get(f"/api/clips/{found.json()['hits'][0]['id']}/audio", headers=cookie)
    assert clip.status_code == 200 and clip.headers["content-type"].startswith("audio/")
    assert (
        client.post("/api/search", json={"caption": "a man"}, headers=cookie | {"Origin": "http://evil.example"}).status_code
        == 403
    )
