"""Decoding in a process of its own: what crashes or hangs takes only that process along."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from indexer.decoding import Decoded, Decoder, Piece
from tests.conftest import PATIENCE
from tests.sounds import voice, write_sound


@pytest.fixture
def decoder():
    decoder = Decoder(10.0, False)
    yield decoder
    decoder.close()


def test_a_recording_comes_as_its_clips_and_what_it_was(decoder, tmp_path):
    path = write_sound(tmp_path / "a.flac", np.tile(voice(6.0), 4), codec="flac")
    *pieces, done = decoder.read(str(path), path)
    assert all(isinstance(piece, Piece) and piece.path == str(path) for piece in pieces) and len(pieces) > 2
    assert done.audio_seconds == pytest.approx(24.0) and done.origin.codec == "flac" and done.work_seconds > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to kill with")
def test_a_crash_is_a_failure_of_one_recording(decoder, tmp_path):
    path = str(write_sound(tmp_path / "a.flac", np.tile(voice(10.0), 60), codec="flac"))
    events = decoder.read(path, path)
    next(events)
    os.kill(decoder._process.pid, signal.SIGSEGV)
    *_, done = events
    assert isinstance(done, Decoded) and "crashed" in done.failure
    assert list(decoder.read(path, path))[-1].failure == ""


def test_a_process_that_hangs_ends_itself():
    program = """
import time
from indexer import decoder_process

def blocks():
    yield 1
    time.sleep(3600)

patience = decoder_process.Patience()
for block in patience.watch(blocks()):
    print("one", flush=True)
    patience.rest()
    decoder_process.PATIENCE_SECONDS = 0.1  # only now, as starting may take its time
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (1, "one\n", "")


def test_what_nobody_foresaw_is_a_failure_of_one_recording(monkeypatch, tmp_path):
    from encoders.voice_activity import VoiceActivity
    from indexer import decoder_process

    def surprise(path):
        raise RuntimeError("surprise")

    monkeypatch.setattr(
        decoder_process, "AudioReader", lambda path: type("Odd", (), {"origin": None, "damage": None, "__iter__": surprise})()
    )
    (done,) = decoder_process.decode("a.wav", tmp_path / "a.wav", 10.0, False, VoiceActivity(), decoder_process.Patience())
    assert "surprise" in done.failure and "report it" in done.failure


def test_what_lies_in_the_working_folder_is_not_imported(decoder, tmp_path, monkeypatch):
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not the real one')")
    monkeypatch.chdir(tmp_path)
    path = write_sound(tmp_path / "a.wav", voice(2.0))
    assert list(decoder.read(str(path), path))[-1].failure == ""
