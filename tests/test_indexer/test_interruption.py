"""Signals to a process that indexes: what is written is kept, and the next run completes it."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE, ROOT, until
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.store.edge import EdgeStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to end with")

STRUCK = """
import subprocess, sys
from cli import main
from voxdex.indexer.pipeline import local
from voxdex.indexer.store.edge import EdgeStore

number, after = (int(sys.argv.pop(1)) for _ in range(2))
local.BATCH_CLIPS = 8  # most of the archive is still unread
write = EdgeStore.upsert

def upsert(store, points):
    global after
    if 0 <= after < len(points):
        signalled = subprocess.Popen(["sh", "-c", f"kill -{number} $PPID"])
        write(store, points)
        signalled.wait()
    else:
        write(store, points)
    after -= len(points)

EdgeStore.upsert = upsert
main()
"""
"""The program, which receives a signal while it writes, after a number of points."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Thirty recordings, some of several clips."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(30):
        write_sound(folder / f"{i}.flac", np.tile(voice(5.0, 90 + 3 * i, seed=i), 1 + i % 6), codec="flac")
    return folder


def start(archive: Path, index: Path, number: int | None = None, after: int = 0) -> subprocess.Popen:
    """Start to index. number: a signal to send when `after` points are written."""
    program = [str(ROOT / "cli.py")] if number is None else ["-c", STRUCK, str(int(number)), str(after)]
    command = [sys.executable, *program, "index", str(archive), "--index", str(index), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit status, and the text on stderr."""
    _, told = process.communicate(timeout=PATIENCE)
    return process.returncode, told


def points(index: Path) -> dict[str, tuple[str, float, np.ndarray]]:
    with EdgeStore.open(index) as store:
        clips = list(store.points({"kind": "clip"}))
    return {clip.id: (Path(clip.payload["recording"]).name, clip.payload["start"], clip.vector) for clip in clips}


def assert_alike(some: Mapping[str, tuple], all_of_them: Mapping[str, tuple]) -> None:
    """Assert that points are a subset of others."""
    for clip, (name, begin, vector) in some.items():
        assert all_of_them[clip][:2] == (name, begin) and np.allclose(all_of_them[clip][2], vector, atol=1e-5)


def test_repeatedly_killed_runs_end_with_the_same_points(archive, tmp_path):
    assert ended(start(archive, tmp_path / "whole"))[0] == 0
    expected, kept = points(tmp_path / "whole"), 0
    assert len(expected) > 40
    for after in (0, 20, 25):
        assert ended(start(archive, tmp_path / "killed", signal.SIGKILL, after))[0] == -signal.SIGKILL
        found = points(tmp_path / "killed")
        assert_alike(found, expected)
        assert kept + after // 2 <= len(found) < len(expected)  # one point of each recording is not a clip
        kept = len(found)
    assert ended(start(archive, tmp_path / "killed"))[0] == 0
    found = points(tmp_path / "killed")
    assert found.keys() == expected.keys()
    assert_alike(found, expected)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_run_keeps_its_work_and_names_the_next_step(archive, tmp_path, number):
    status, told = ended(start(archive, tmp_path / "index", number, after=10))
    assert status == 130 and "Traceback" not in told
    assert "run the same command again" in told
    done = len(points(tmp_path / "index"))
    assert done > 0
    assert ended(start(archive, tmp_path / "index"))[0] == 0
    assert len(points(tmp_path / "index")) > done


def test_decoders_end_with_their_parent(archive, tmp_path):
    process = start(archive, tmp_path / "index", signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    listed = subprocess.run(["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True)
    decoders = [int(line.split()[0]) for line in listed.stdout.splitlines() if " import " in line]
    process.kill()
    ended(process)
    assert decoders
    until(lambda: not any(map(runs, decoders)))


def runs(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
@pytest.mark.parametrize("event", ["index.json", "decoders"])
def test_run_after_an_interrupted_start_is_complete(five_recordings, tmp_path, number, event):
    """Signal the process group, as Ctrl-C does: after the index is created, or after the decoders have started."""
    command = [
        sys.executable,
        str(ROOT / "cli.py"),
        "index",
        str(five_recordings),
        "--index",
        str(tmp_path / "index"),
        "--json",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    until(lambda: process.poll() is not None or has_occurred(event, process.pid, tmp_path / "index"))
    os.killpg(process.pid, number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 130, -number)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    with EdgeStore.open(tmp_path / "index") as store:
        assert store.count() == 5


def has_occurred(event: str, process: int, index: Path) -> bool:
    if event == "index.json":
        return (index / event).exists()
    listed = subprocess.run(["ps", "-ww", "-o", "args=", "--ppid", str(process)], capture_output=True, text=True).stdout
    return "voxdex.encoders.worker" in listed


INTERRUPTED = """
import os, signal, sys
import cli

class Interrupting:
    def find_spec(name, path, target=None):
        if name == "voxdex.commands.search":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
cli.main(["status"])
"""


def test_ctrl_c_during_imports_prints_no_traceback(home):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")
