"""Files that refer to other files (playlists) are refused by the reader, the commands and the server."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests.fakes.sounds import tone, voice, write_sound
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.machine import usable_cores
from voxdex.indexer.index import index
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.edge import EdgeStore
from voxdex.search.clip_audio import extract_clip
from voxdex.web.app import create_app
from voxdex.web.settings import Settings
from voxdex.web.state import AppState

LIVE = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3600\n#EXTINF:8,\n{secret}.ts\n"
FORMS = {
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:8,\n{secret}.mp3\n#EXT-X-ENDLIST\n",
    "live": LIVE,
    "crlf": LIVE.replace("\n", "\r\n"),
    "marked": "\ufeff" + LIVE,
    "m3u": "#EXTM3U\n#EXTINF:8,secret\n{secret}.mp3\n",
    "concat": "ffconcat version 1.0\nfile {secret}.mp3\n",
    "pls": "[playlist]\nFile1={secret}.mp3\nNumberOfEntries=1\n",
    "dash": '<?xml version="1.0"?>\n<MPD type="static"><Period><BaseURL>{secret}.mp3</BaseURL></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    "asx": '<asx version="3.0"><entry><ref href="file://{secret}.mp3"/></entry></asx>',
}
NAMES = ("x.m3u8", "x.m3u", "x.wav", "x.mp3", "x.ts", "x.aac", "x.mpd", "x.sdp", "x.ffconcat", "x")
REFUSED = "it is a playlist, which holds no sound of its own"


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> Path:
    """Recordings that must not be readable through a playlist."""
    path = tmp_path_factory.mktemp("private") / "secret"
    write_sound(path.with_suffix(".mp3"), tone(3.0, rate=44_100), rate=44_100, codec="libmp3lame")
    write_sound(path.with_suffix(".ts"), tone(3.0, rate=44_100), rate=44_100, codec="aac", container="mpegts")
    return path


def write(path: Path, form: str, secret: Path) -> Path:
    path.write_text(FORMS[form].format(secret=secret), newline="")
    return path


@pytest.mark.parametrize("form", FORMS)
def test_reader_refuses_playlists_of_any_name(tmp_path, secret, form):
    for name in NAMES:
        with pytest.raises(AudioError, match=REFUSED):
            read_audio(write(tmp_path / name, form, secret))


def test_playlist_after_other_content(tmp_path, secret):
    """The demuxer whitelist excludes FFmpeg's playlist demuxers, so that undetected playlists are not followed."""
    path = tmp_path / "x.m3u8"
    path.write_text("#" + "x" * 5000 + "\n" + FORMS["hls"].format(secret=secret))
    with pytest.raises(AudioError, match="not audio or video"):
        read_audio(path)
    (tmp_path / "x.ffconcat").write_text(f"# a comment\nfile {secret}.mp3\n")
    with pytest.raises(AudioError, match="not audio or video"):
        read_audio(tmp_path / "x.ffconcat")


@pytest.mark.parametrize("name", ["x.m3u8", "x.mp3"])
def test_commands_refuse_playlists(here, tmp_path, secret, name):
    path = write(tmp_path / name, "live", secret)
    for arguments in (
        ["index", path],
        ["classify", path, "--attribute", "gender"],
        ["caption", path],
        ["embed", path, "--out", tmp_path / "x.npz"],
        ["rerank", "a woman", path],
        ["intelligibility", path, "--phonemes", "/a/"],
    ):
        done = here(*arguments)
        assert done.status == 2 and REFUSED in " ".join(done.err.split()), (arguments, done.err)


def test_a_query_refuses_playlists(library, here, monkeypatch, tmp_path, secret):
    monkeypatch.setenv("VOXDEX_HOME", str(library))
    done = here("search", "--like", write(tmp_path / "x.m3u8", "hls", secret))
    assert done.status == 2 and REFUSED in " ".join(done.err.split())


@pytest.fixture(scope="module")
def served(tmp_path_factory, mini):
    """An index of one recording, and a server over it."""
    home = tmp_path_factory.mktemp("home")
    path = write_sound(home / "a.wav", voice(3.0))
    with EdgeStore.create(home / "index", mini.card.space, "mini", mini.card.dimension) as store:
        assert index(find_recordings([path]), store, mini).clips == 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VOXDEX_HOME", str(home))
        services = AppState.of(LocalIndex(home / "index"), Settings(), "cpu")
        with TestClient(create_app(services), base_url="http://127.0.0.1:8765") as server:
            yield server, path


def requests(server: TestClient, content: bytes, name: str) -> dict[str, tuple[int, str]]:
    """Status and text of each endpoint that accepts sounds."""
    doors = {
        "/api/classify": {},
        "/api/embed": {},
        "/api/caption": {},
        "/api/rerank": {"captions": "a woman"},
        "/api/sounds": None,
    }
    answers = {}
    for door, fields in doors.items():
        field = "file" if fields is None else "files"
        answer = server.post(door, files={field: (name, content)}, data=fields or {})
        answers[door] = answer.status_code, answer.json().get("error", "")
    return answers


@pytest.mark.parametrize("name", NAMES)
def test_the_server_refuses_playlists(served, secret, name):
    server, _ = served
    for form in ("hls", "live", "concat"):
        for status, reason in requests(server, FORMS[form].format(secret=secret).encode(), name).values():
            assert status == 400 and REFUSED in reason
            assert str(secret.parent) not in reason


def test_recording_replaced_by_a_playlist(served, tmp_path, secret):
    server, path = served
    [hit] = server.get("/api/search", params={"captions": "a voice"}).json()["hits"]
    write(path, "hls", secret)
    for door in ("audio", "peaks"):
        answer = server.get(f"/api/clips/{hit['id']}/{door}")
        assert answer.status_code == 400 and REFUSED in answer.json()["error"]
    with pytest.raises(AudioError, match=REFUSED):
        extract_clip(path, 0.0, 1.0, folder=tmp_path, name="cut")


def test_names_of_uploads_are_not_used(served, demo_archive):
    server, _ = served
    content = (demo_archive / "anna-1.wav").read_bytes()
    for name in ("..", "a/../b.wav", "n" * 300 + ".wav", "日" * 120, "x.m3u8", ""):
        for status, reason in requests(server, content, name or "sound").values():
            assert status == 200, (name, reason)
    told = server.post("/api/classify", files={"files": ("../../take 1.wav", content)}, data={"attributes": "gender"}).json()
    assert {clip["recording"] for clip in told["results"]} == {"take 1.wav"}


def test_eight_channels_on_the_server(served, tmp_path):
    server, _ = served
    for name, codec in (("a.wav", "pcm_s16le"), ("b.flac", "flac"), ("c.m4a", "aac")):
        path = write_sound(tmp_path / name, voice(1.5), codec=codec, channels=8)
        for status, reason in requests(server, path.read_bytes(), name).values():
            assert status == 200, reason


def test_slow_uploads_do_not_block_the_page(served, monkeypatch):
    server, _ = served
    inside, go_on = threading.Semaphore(0), threading.Event()

    def slow(path, max_seconds):
        inside.release()
        go_on.wait(300)
        raise AudioError("it was slow")

    monkeypatch.setattr("voxdex.web.api.tools.duration", slow)
    with ThreadPoolExecutor(40) as pool:
        answers = [pool.submit(server.post, "/api/classify", files={"files": ("a.wav", b"x")}) for _ in range(40)]
        for _ in range(usable_cores()):
            assert inside.acquire(timeout=300)
        for address in ("/", "/static/voxdex.css", "/metrics", "/api/search?captions=a+voice"):
            assert server.get(address).status_code == 200
        assert not any(answer.done() for answer in answers)
        go_on.set()
        assert {answer.result().status_code for answer in answers} == {400}


def test_concurrent_live_playlists_are_refused(served, secret):
    server, _ = served
    content = LIVE.format(secret=secret).encode()
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: server.post("/api/classify", files={"files": ("live.m3u8", content)}), range(40)))
    assert {answer.status_code for answer in answers} == {400}
    assert server.get("/").status_code == 200


def test_remote_playlists_are_refused(tmp_path, secret):
    fsspec = pytest.importorskip("fsspec", reason="fsspec comes with the remote extra")
    files = fsspec.filesystem("memory")
    with files.open("/lists/x.mp3", "wb") as file:
        file.write(FORMS["hls"].format(secret=secret).encode())
    with pytest.raises(AudioError, match=REFUSED):
        read_audio("memory:///lists/x.mp3")
    shutil.rmtree(tmp_path, ignore_errors=True)
