"""The command watch: recordings are indexed as they come in, and not before they are whole."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import PATIENCE, ROOT
from tests.fakes.sounds import voice, write_sound
from voxdex.commands.console import graceful_interrupts


@pytest.fixture
def watching(home, tmp_path):
    """Start `voxdex watch` on a folder, and end it by Ctrl-C."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    environment = os.environ | {"VOXDEX_HOME": str(home), "OMP_NUM_THREADS": "1"}
    running = []

    def start(*more):
        command = [sys.executable, str(ROOT / "cli.py"), "watch", str(folder), "--settle", "0.5", "--every", "5", *more]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment))
        assert "Watching" in running[-1].stderr.readline()
        return folder

    def stop():
        process = running.pop()
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=PATIENCE)[1], process.returncode

    yield start, stop
    for process in running:
        process.kill()


def wait_for(voxdex, seconds):
    """Wait until the index has whole recordings of these lengths, in seconds; return its state."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        state = voxdex("status", "--json")
        is_indexed = state.status == 0 and state.json["recordings"] == len(seconds)
        if is_indexed and state.json["audio_seconds"] == pytest.approx(sum(seconds), abs=0.01):
            return state.json
        time.sleep(0.3)
    raise AssertionError(f"the index does not have {len(seconds)} recordings: {state.out or state.err}")


def test_recordings_are_indexed_as_they_come_in(voxdex, watching, tmp_path):
    start, stop = watching
    folder = start()
    write_sound(folder / "first.wav", voice(1.5, 100))
    wait_for(voxdex, [1.5])

    whole = write_sound(tmp_path / "second.wav", voice(3.0, 220)).read_bytes()
    with (folder / "second.wav").open("wb") as copy:  # a slow copy
        for begin in range(0, len(whole), len(whole) // 6 + 1):
            copy.write(whole[begin : begin + len(whole) // 6 + 1])
            copy.flush()
            time.sleep(0.3)
    state = wait_for(voxdex, [1.5, 3.0])
    assert state["failed"] == [] and state["damaged"] == []
    said, status = stop()
    assert status == 130 and "1 recordings indexed" in said and "Traceback" not in said, said

    write_sound(folder / "third.wav", voice(1.5, 150))
    start()
    wait_for(voxdex, [1.5, 3.0, 1.5])
    assert stop()[1] == 130
    hits = json.loads(voxdex("search", "a voice", "--fold", 1, "--json").out)["hits"]
    assert {hit["recording"].rsplit("/", 1)[1] for hit in hits} == {"first.wav", "second.wav", "third.wav"}


def test_watch_needs_paths(here):
    refused = here("watch", "--index", "none")
    assert refused.status == 2 and "remembers no paths yet" in refused.err


def test_an_interrupt_at_the_end_of_a_run_is_not_lost():
    with pytest.raises(KeyboardInterrupt), graceful_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
