"""An index outlives what happens to the process that writes it."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from indexer import EdgeStore
from tests.conftest import ROOT
from tests.sounds import voice, write_sound

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Thirty recordings, some of several clips."""
    folder = tmp_path_factory.mktemp("archive")
    for i in range(30):
        write_sound(folder / f"{i}.flac", np.tile(voice(5.0, 90 + 3 * i, seed=i), 1 + i % 6), codec="flac")
    return folder


def start(archive: Path, index: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "cli.py"), "index", str(archive), "--index", str(index), "--json"]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def points(index: Path) -> dict[str, tuple[str, float, np.ndarray]]:
    with EdgeStore.open(index) as store:
        clips = list(store.points({"kind": "clip"}))
    return {clip.id: (Path(clip.payload["recording"]).name, clip.payload["start"], clip.vector) for clip in clips}


def wait_for_first_batch(process: subprocess.Popen) -> None:
    assert any("Embedding with" in line for line in process.stderr)


def test_killed_again_and_again_it_ends_with_the_same_points(archive, tmp_path):
    started = time.monotonic()
    assert start(archive, tmp_path / "whole").wait() == 0
    seconds = time.monotonic() - started
    rng = random.Random(0)
    for kill in range(3):
        process = start(archive, tmp_path / "killed")
        if kill == 0:
            wait_for_first_batch(process)
        else:
            time.sleep(rng.uniform(0.2, 0.8) * seconds)
        process.kill()
        process.wait()
    assert start(archive, tmp_path / "killed").wait() == 0
    expected, found = points(tmp_path / "whole"), points(tmp_path / "killed")
    assert found.keys() == expected.keys() and len(found) > 40
    for clip, (name, begin, vector) in expected.items():
        assert found[clip][:2] == (name, begin) and np.allclose(found[clip][2], vector, atol=1e-5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop_it_keeps_what_is_done_and_says_how_to_go_on(archive, tmp_path, number):
    process = start(archive, tmp_path / "index")
    wait_for_first_batch(process)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in told
    assert "run the same command again" in told
    done = len(points(tmp_path / "index"))
    assert done > 0
    assert start(archive, tmp_path / "index").wait() == 0
    assert len(points(tmp_path / "index")) > done


def test_decoders_end_with_the_process_that_started_them(archive, tmp_path):
    process, children = start(archive, tmp_path / "index"), []
    while not children and process.poll() is None:
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True)
        children = listed.stdout.split()
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while any(Path("/proc", child).exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children and not [child for child in children if Path("/proc", child).exists()]
