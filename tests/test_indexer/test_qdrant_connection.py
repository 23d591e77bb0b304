"""Connections to Qdrant servers: addresses, keys, certificates, several nodes, waiting, and errors as sentences."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from socketserver import BaseRequestHandler, ThreadingTCPServer

import pytest

pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")

from tests.conftest import ROOT
from tests.fakes.qdrant.double import qdrant_double
from tests.fakes.sounds import voice, write_sound


def test_wait_for_a_server_that_starts(voxdex, four_recordings, double):
    double.failing = 3
    done = voxdex("index", four_recordings, "--url", double.url, "--json")
    assert done.status == 0 and done.json["indexed"] == 4
    assert "is not ready (starting): waiting" in done.err and "It answers again." in done.err and "Traceback" not in done.err


def test_second_node_answers_where_the_first_is_down(here, four_recordings, double):
    other = double.node()
    nodes = ("--url", double.url, "--url", other.url)
    assert here("index", four_recordings, *nodes).status == 0
    double.down = True
    assert len(here("search", "a man", *nodes, "--json").json["hits"]) == 4
    write_sound(four_recordings / "new.wav", voice(1.5, 130, seed=9))
    assert here("index", four_recordings, *nodes, "--json").json["indexed"] == 1
    other.down = True
    away = here("search", "a man", *nodes)
    assert away.status == 2 and "does not answer" in away.err


def test_node_that_fails_during_a_run_is_replaced(here, four_recordings, double):
    other, seen = double.node(), []

    def fail(request):
        seen.append(request)
        double.down = sum(request.endswith("/points") for request in seen) > 2

    double.on_request = fail
    done = here("index", four_recordings, "--url", double.url, "--url", other.url, "--json")
    assert (done.status, done.json["indexed"]) == (0, 4) and double.down


@pytest.mark.parametrize("command", [["search", "a man"], ["status"], ["index", "."], ["pull", "--index", "back"]])
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:80x", "is no address of a Qdrant server"),
        ("grpc://127.0.0.1:6334", "is no address of a Qdrant server"),
        ("http://a b:6333", "is no address of a Qdrant server"),
        ("http://me:secret@localhost:6333", "no name or password in it"),
        ("", "is no address"),
    ],
)
def test_invalid_addresses(here, command, url, reason):
    refused = here(*command, "--url", url)
    assert refused.status == 2 and reason in refused.err and "Traceback" not in refused.err


def test_short_addresses(here, four_recordings, double):
    port = double.url.rpartition(":")[2]
    assert here("index", four_recordings, "--url", f"localhost:{port}").status == 0
    assert here("status", "--url", f"127.0.0.1:{port}/", "--json").json["clips"] == 4


def refused(here, *command, status=2):
    """The last line on stderr of a command that fails."""
    done = here(*command)
    assert done.status == status and "Traceback" not in done.err and "b'" not in done.err and "{" not in done.err, done.err
    return done.err.strip().splitlines()[-1]


def test_server_that_is_down(here, four_recordings, double):
    double.down = True
    for command in (
        ["search", "a man"],
        ["status"],
        ["index", four_recordings, "--patience", 0.5],
        ["reindex", "--model", "mini", "--patience", 0],
    ):
        said = refused(here, *command, "--url", double.url)
        assert f"The Qdrant server at {double.url} does not answer" in said and "(--url)" in said


def test_server_that_is_silent(here, four_recordings, double):
    here("index", four_recordings, "--url", double.url)
    double.silent = True
    assert f"{double.url} does not answer (it says nothing)" in refused(here, "search", "a man", "--url", double.url)
    double.silent = False


def test_api_keys(here, four_recordings, double, monkeypatch):
    double.api_key, double.read_key = "secret", "reader"
    server = ("--url", double.url)
    assert "asks for a key" in refused(here, "status", *server)
    assert "does not accept the key" in refused(here, "status", *server, "--api-key", "wrong")
    assert "copy it again" in refused(here, "status", *server, "--api-key", "schlüssel")
    done = here("index", four_recordings, *server, "--api-key", "secret")
    assert done.status == 0 and "UserWarning" not in done.err and "can be read" not in done.err
    monkeypatch.setenv("VOXDEX_API_KEY", "reader")
    assert here("status", *server, "--json").json["clips"] == 4
    assert len(here("search", "a man", *server, "--json").json["hits"]) == 4
    write_sound(four_recordings / "new.wav", voice(1.5, 130, seed=9))
    assert "does not allow this with the key" in refused(here, "index", four_recordings, *server)


def test_unencrypted_key_warns_once(here):
    said = here("status", "--url", "http://nowhere.invalid:6333", "--api-key", "secret").err
    assert said.count("is sent unencrypted") == 1 and "cannot be found" in said


def test_certificates_and_schemes(here, four_recordings, tmp_path, monkeypatch):
    with qdrant_double(tls=tmp_path) as double:
        said = refused(here, "status", "--url", double.url)
        assert "certificate" in said and "SSL_CERT_FILE" in said
        monkeypatch.setenv("SSL_CERT_FILE", str(double.certificate))
        assert here("index", four_recordings, "--url", double.url).status == 0
    with qdrant_double() as double:
        assert "write its address as http://" in refused(here, "status", "--url", double.url.replace("http:", "https:"))

    class Alert(BaseRequestHandler):
        def handle(self):
            self.request.recv(100)
            self.request.sendall(b"\x15\x03\x03\x00\x02\x02\x46")  # the TLS alert for plain HTTP

    with ThreadingTCPServer(("127.0.0.1", 0), Alert) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        said = refused(here, "status", "--url", f"http://127.0.0.1:{other.server_address[1]}")
        other.shutdown()
    assert "write its address as https://" in said


def test_full_disk_and_another_kind_of_server(here, four_recordings, double):
    here("index", four_recordings, "--url", double.url)
    double.full = True
    write_sound(four_recordings / "new.wav", voice(1.5, 130, seed=9))
    assert f"The disk of the Qdrant server at {double.url} is full" in refused(
        here, "index", four_recordings, "--url", double.url
    )
    double.full = False
    assert here("index", four_recordings, "--url", double.url, "--json").json["indexed"] == 1

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        said = refused(here, "status", "--url", f"http://127.0.0.1:{other.server_port}")
        other.shutdown()
    assert "not Qdrant's" in said and "--url" in said


def test_rate_limits(here, four_recordings, double):
    double.rate, double.retry_after = 3, 1
    assert here("index", four_recordings, "--url", double.url, "--json").json["indexed"] == 4
    double.rate, double.retry_after = 5, 60
    assert "allows no more requests" in refused(here, "search", "a man", "--url", double.url)


def test_pinned_server_fits_the_installed_client():
    pinned = re.search(r"qdrant/qdrant:v(\d+)\.(\d+)", (ROOT / "docker-compose.yml").read_text()).groups()
    installed = version("qdrant-client").split(".")[:2]
    assert pinned[0] == installed[0] and abs(int(pinned[1]) - int(installed[1])) <= 1
