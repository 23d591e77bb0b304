"""Decoding of recordings into clips in a worker process."""

import os
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.paths import file_sha256
from voxdex.indexer.pipeline.decoder import Decoder, DecodeSummary, Segmentation, SegmentedClip
from voxdex.indexer.pipeline.local import Reader


@pytest.fixture
def decoder():
    decoder = Decoder(Segmentation(10.0))
    yield decoder
    decoder.close()


def test_clips_and_summary_of_a_recording(decoder, tmp_path):
    path = write_sound(tmp_path / "a.flac", np.tile(voice(6.0), 4), codec="flac")
    *pieces, done = decoder.read(str(path), path)
    assert all(isinstance(piece, SegmentedClip) and piece.path == str(path) for piece in pieces) and len(pieces) > 2
    assert done.audio_seconds == pytest.approx(24.0) and done.origin.codec == "flac" and done.work_seconds > 0
    assert not done.failure and not done.is_passing


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to kill with")
def test_crash_is_a_passing_failure_of_one_recording(decoder, tmp_path):
    path = write_sound(tmp_path / "a.flac", np.tile(voice(10.0), 60), codec="flac")
    events = decoder.read(str(path), path)
    next(events)
    os.kill(decoder._worker._process.pid, signal.SIGSEGV)
    *_, done = events
    assert isinstance(done, DecodeSummary) and "crashed" in done.failure and done.is_passing
    assert list(decoder.read(str(path), path))[-1].failure == ""


def test_unexpected_exception_is_a_failure_of_one_recording(monkeypatch, tmp_path):
    from voxdex.indexer.pipeline import decoder_worker as decoder_process

    def surprise(samples):
        raise RuntimeError("surprise")

    monkeypatch.setattr(decoder_process, "measure", surprise)
    path = write_sound(tmp_path / "a.wav", voice(3.0))
    (done,) = decoder_process.decode("a.wav", path, Segmentation(10.0))
    assert "surprise" in done.failure and "report it" in done.failure and done.is_passing


@pytest.mark.parametrize("seed", range(5))
def test_copies_follow_the_decoded_recording(tmp_path, monkeypatch, seed):
    rng, lock = random.Random(seed), threading.Lock()

    class Flaky:
        """Decode nothing, after a delay; every third call fails as by a crash."""

        def __init__(self, segmentation):
            self.segmentation = segmentation

        def read(self, path, file):
            with lock:
                wait, fails = rng.uniform(0, 0.01), rng.random() < 1 / 3
            time.sleep(wait)
            yield DecodeSummary(failure="killed" if fails else "", is_passing=fails)

        def close(self):
            pass

    monkeypatch.setattr("voxdex.indexer.pipeline.local.Decoder", Flaky)
    monkeypatch.setattr("voxdex.indexer.pipeline.local.usable_cores", lambda: 6)
    paths = [tmp_path / f"{number}.wav" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_text(f"content {number % 4}")
    known = file_sha256(paths[0])
    decoded, done = {known}, []
    for event in Reader([known], Segmentation(10.0)).read(map(str, paths)):
        done.append(event.path)
        if event.summary is None:
            assert event.content in decoded
        else:
            assert event.content not in decoded
            if not event.summary.failure:
                decoded.add(event.content)
    assert sorted(done) == sorted(map(str, paths)) and len(decoded) == 4
