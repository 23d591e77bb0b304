"""Output of commands: encodings, closed pipes, full disks and unusual file names."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fakes.sounds import voice, write_sound


def test_markup_in_file_names(voxdex, tmp_path):
    path = write_sound(tmp_path / "talk [live] :smile: [b].wav", voice(1.0))
    voxdex("index", path)
    assert "talk [live] :smile: [b].wav" in voxdex("search", "a man", cwd=tmp_path).out
    assert voxdex("classify", path, "--labels", "x{y},z", "--template", "{} {w}", "--anyway", "--json").status == 0


@pytest.fixture
def shell(indexed_recordings, home):
    """Run a command in a shell."""
    home.mkdir()

    def run(arguments: str, **environment: str) -> subprocess.CompletedProcess:
        command = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'cli.py'))} {arguments}"
        there = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, env=there, cwd=home, timeout=600
        )

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_output_in_other_encodings(shell, tmp_path, encoding):
    caption = "'a sad wöman ✓'"
    table = shell(f"search {caption} --save {tmp_path}/hits.csv", PYTHONIOENCODING=encoding)
    assert table.returncode == 0, table.stderr
    shown = table.stdout.decode(encoding)
    assert "low" in shown and re.search(r"sad\s+(yes|no)", shown)
    assert len((tmp_path / "hits.csv").read_text(encoding="utf-8").splitlines()) == 3
    document = json.loads(shell(f"search {caption} --json", PYTHONIOENCODING=encoding).stdout.decode(encoding))
    assert document["query"]["caption"] == "a sad wöman ✓"
    assert shell("-h", PYTHONIOENCODING=encoding).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="another operating system: /dev/full")
def test_output_that_cannot_be_written(shell):
    for arguments in ("search 'a man'", "search 'a man' --json", "-h", "models"):
        full = shell(f"{arguments} > /dev/full")
        assert full.returncode == 2 and b"The output cannot be written (No space left on device)." in full.stderr
        assert b"Traceback" not in full.stderr and b"Exception ignored" not in full.stderr
        cut = shell(f"{arguments} | true")
        assert cut.returncode in (0, 1) and b"Traceback" not in cut.stderr and b"Exception ignored" not in cut.stderr
    assert shell("search '...' 2> /dev/full").returncode == 2


def test_removed_working_folder(shell, tmp_path):
    gone = f"{tmp_path}/gone"
    for arguments, status in (("search 'a man'", 0), ("index x", 2), ("classify x.wav", 2), ("embed x.wav --out x.npz", 2)):
        done = shell(f"-h > /dev/null; mkdir {gone}; cd {gone}; rmdir {gone}; {sys.executable} {ROOT}/cli.py {arguments}")
        assert done.returncode == status and b"Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: names with control characters")
def test_control_characters_in_file_names(voxdex, library, tmp_path):
    name = "take\n\x1b[31m\u2028.wav"
    told = r"take\n\x1b[31m\u2028.wav"
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / name).write_bytes(b"RIFF of nothing")
    for arguments in (
        ("index", tmp_path / "archive", "--index", tmp_path / "index"),
        ("search", "--like", tmp_path / "archive" / name, "--index", library / "indexes" / "default"),
        ("embed", tmp_path / "archive" / name, "--out", tmp_path / "vectors.npz"),
        ("classify", tmp_path / "archive" / name),
    ):
        done = voxdex(*arguments)
        assert done.status in (1, 2) and told in done.err and "\x1b" not in done.err and "\u2028" not in done.err, arguments
    write_sound(tmp_path / "archive" / name, voice(1.5))
    assert voxdex("index", tmp_path / "archive", "--index", tmp_path / "index", "--no-vad").status == 0
    shown = voxdex("search", "a voice", "--index", tmp_path / "index").out
    assert told in shown and "\x1b" not in shown and "\u2028" not in shown
