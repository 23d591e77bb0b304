"""A folder of hostile files: each is indexed, or reported with a reason."""

import os
import sys
from pathlib import Path

import pytest

from tests.fakes.hostile import make_hostile
from voxdex.indexer.store.edge import EdgeStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="another operating system: FIFOs, sockets and such names")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("h") / "archive"
    make_hostile(folder)
    yield folder
    for locked in (folder / "locked", folder / "unreadable.wav"):
        locked.chmod(0o700)


def test_every_file_is_indexed_or_reported(hostile, tmp_path, voxdex):
    done = voxdex("index", hostile, "--index", tmp_path / "index", "--json")
    assert done.status == 1 and "Traceback" not in done.err
    report = done.json
    reasons = {Path(failure["path"]).name: failure["reason"] for failure in report["failed"]}
    assert not [reason for reason in reasons.values() if "unexpectedly" in reason or "crashed" in reason]
    assert all(f": {reason}." in done.err for reason in reasons.values())
    with EdgeStore.open(tmp_path / "index") as store:
        known = [Path(path).name for payload in store.payloads("recording", ["files"]) for path, _, _ in payload["files"]]
        spoken = {payload["content"] for payload in store.payloads("clip", ["content"])}
        named = {  # of files with the same content, clips name the one that was read first
            Path(path).name
            for payload in store.payloads("recording", ["files", "content"])
            for path, _, _ in payload["files"]
            if payload["content"] in spoken
        }
    names = [os.fsencode(name).decode("utf-8", "backslashreplace") for _, _, names in os.walk(hostile) for name in names]
    assert len(names) > 100 and set(names) - set(reasons) - set(known) == set()
    assert report["recordings"] == report["indexed"] + report["unchanged"] + len(report["failed"])

    assert reasons["empty.wav"] == "it is empty (0 bytes)"
    assert "1 samples a second" in reasons["1-hertz.wav"]
    assert "not numbers" in reasons["nan.wav"]
    assert "does not know" in reasons["unknown-codec.wav"]
    assert "regular file" in reasons["fifo.wav"] and "symbolic links" in reasons["loop-a.wav"]
    assert "UTF-8" in reasons["not-utf8-\\xff\\xfe.wav"]
    assert {"good.wav", "good.mp3", "good.mp4", "48-channels.wav", "clipped.wav", "quiet.wav", "new\nline.wav"} <= named
    damaged = {Path(damage["path"]).name for damage in report["damaged"]}
    assert {"cut-50.wav", "cut-50.mp3", "cut-60.flac", "cut-60.ogg"} <= damaged and "good.wav" not in damaged

    again = voxdex("index", hostile, "--index", tmp_path / "index", "--json").json
    assert again["failed"] == report["failed"] and (again["indexed"], again["clips"]) == (0, 0)
