"""Recordings that fail: failures of the file, failures of the machine, and what is tried again."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.archives import failed_names, failed_names_of_command, index_paths
from tests.fakes.sounds import two_pitches, voice, write_sound
from voxdex.encoders.model import Model
from voxdex.indexer.pipeline.decoder import Decoder, DecodeSummary
from voxdex.indexer.store.base import Point, PointError
from voxdex.indexer.writer import Writer


def test_unusual_clip_is_indexed_among_others(store, five_recordings, mini):
    write_sound(five_recordings / "odd.wav", two_pitches())
    report = index_paths([five_recordings], store, mini, vad=False)
    assert (report.indexed, report.failed, store.count()) == (6, [], 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}], ids=["nan", "inf", "surrogate", "set"])
def test_invalid_payloads_are_refused_before_writing(store, mini, value):
    vector = np.eye(1, mini.card.dimension, dtype=np.float32)[0]
    good = Point("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c11", vector, {"kind": "clip", "recording": "a"})
    bad = Point("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c12", vector, {"kind": "clip", "recording": "b", "x": {"y": [value]}})
    with pytest.raises(PointError, match="cannot be"):
        store.upsert([good, bad])
    assert store.count() == 0


def test_invalid_payload_fails_its_recording_alone(store, five_recordings, mini, monkeypatch):
    usual = Writer._clip_point

    def odd(self, done, *more):
        point = usual(self, done, *more)
        return Point(point.id, point.vector, point.payload | {"odd": float("nan")}) if "c.wav" in done.path else point

    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.writer.Writer._clip_point", odd)
        report = index_paths([five_recordings], store, mini)
    assert (report.indexed, failed_names(report.failed), store.count()) == (4, ["c.wav"], 4)
    assert "cannot be" in report.failed[0].reason
    assert index_paths([five_recordings], store, mini).indexed == 1


def test_a_clip_that_cannot_be_embedded_fails_its_recording_alone(store, five_recordings, mini, monkeypatch):
    odd = len(voice(3.0))
    write_sound(five_recordings / "odd.wav", voice(3.0, 140))
    usual = Model.embed_speech

    def embed(self, clips, *more):
        clips = list(clips)
        if any(len(clip) == odd for clip in clips):
            raise RuntimeError("this one is too odd")
        return usual(self, clips, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Model, "embed_speech", embed)
        report = index_paths([five_recordings], store, mini, vad=False)
    assert (report.indexed, failed_names(report.failed)) == (5, ["odd.wav"]) and "this one is too odd" in report.failed[
        0
    ].reason
    assert index_paths([five_recordings], store, mini, vad=False).indexed == 1


def test_modification_times_out_of_range(store, five_recordings, mini):
    os.utime(five_recordings / "a.wav", (10**11, 10**11))
    assert index_paths([five_recordings], store, mini).indexed == 5
    assert index_paths([five_recordings], store, mini).unchanged == 5


def test_unusual_names_of_tags(store, five_recordings, mini):
    write_sound(five_recordings / "odd.flac", voice(2.0), codec="flac", tags={'back\\slash "x"': "1", "a.b[0]": "2", "\t": "3"})
    report = index_paths([five_recordings], store, mini)
    assert (report.indexed, report.failed) == (6, [])
    assert store.facet("back/slash 'x'") == {"1": 1}


def failing(kind: str):
    """A replacement of Decoder.read that fails on b.wav."""

    def read(self, path, file):
        usual = USUAL(self, path, file)
        if not path.endswith("b.wav"):
            yield from usual
        elif kind == "crash":
            yield DecodeSummary(failure="its decoder crashed on it (status -9)", is_passing=True)
        elif kind == "change":
            *_, done = usual
            os.utime(path, (1, 1))
            yield done
        elif kind == "away":
            Path(path).rename(f"{path}.away")
            *_, done = usual
            yield done
        elif kind == "bad sector":
            content = Path(path).read_bytes()
            Path(path).write_bytes(b"no sound at all" * 1000)
            os.utime(path, ns=(0, 0))
            *_, done = USUAL(self, path, file)
            Path(path).write_bytes(content)
            yield done

    return read


USUAL = Decoder.read


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("crash", "crashed on it"),
        ("change", "changed while it was read"),
        ("away", "no such file|went away while it was read"),
        ("bad sector", "not audio or video"),
    ],
)
def test_transient_failures_are_retried(store, five_recordings, mini, monkeypatch, kind, reason):
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", failing(kind))
        report = index_paths([five_recordings], store, mini)
    assert failed_names(report.failed) == ["b.wav"] and report.indexed == 4
    assert re.search(reason, report.failed[0].reason)
    if kind == "away":
        (five_recordings / "b.wav.away").rename(five_recordings / "b.wav")
    again = index_paths([five_recordings], store, mini)
    assert (again.indexed, again.failed, store.count()) == (1, [], 5)


@pytest.mark.parametrize("kind", ["crash", "change"])
def test_copy_is_decoded_after_a_transient_failure(store, five_recordings, mini, monkeypatch, kind):
    for name in ("b1.wav", "b2.wav"):
        shutil.copy(five_recordings / "b.wav", five_recordings / name)
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", failing(kind))
        report = index_paths([five_recordings], store, mini)
    assert (report.recordings, len(report.failed) <= 1, store.count()) == (7, True, 5)
    assert report.indexed + report.unchanged == 7 - len(report.failed) and report.indexed == 5
    assert index_paths([five_recordings], store, mini).failed == []


def test_copies_of_unreadable_recordings_fail(store, five_recordings, mini):
    index_paths([five_recordings], store, mini)
    for name in ("a.wav", "b.wav", "new.wav"):
        (five_recordings / name).write_bytes(b"no sound" * 100)
    for _ in range(2):
        report = index_paths([five_recordings], store, mini)
        assert failed_names(report.failed) == ["a.wav", "b.wav", "new.wav"] and report.unchanged == 3
        assert len({failure.reason for failure in report.failed}) == 1 and store.count() == 5


def test_permission_errors_are_retried(store, five_recordings, mini, monkeypatch):
    from voxdex.indexer import scan as files

    def refused(file):
        if str(file).endswith("b.wav"):
            raise PermissionError(13, "Permission denied")
        return usual(file)

    usual = files.file_sha256
    with monkeypatch.context() as patched:
        patched.setattr(files, "file_sha256", refused)
        assert failed_names(index_paths([five_recordings], store, mini).failed) == ["b.wav"]
    again = index_paths([five_recordings], store, mini)
    assert (again.indexed, again.failed) == (1, [])


def test_permanent_failures_are_retried_on_request(voxdex, five_recordings, monkeypatch):
    (five_recordings / "odd.wav").write_bytes(b"no sound" * 100)
    shutil.copy(five_recordings / "odd.wav", five_recordings / "copy.wav")
    assert voxdex("index", five_recordings, "--json").json["indexed"] == 5
    seen = voxdex("index", five_recordings, "--profile", "--json")
    assert seen.status == 1 and failed_names_of_command(seen) == ["copy.wav", "odd.wav"]
    dry = voxdex("index", five_recordings, "--retry-failed", "--dry-run", "--json").json
    assert [Path(path).name for path in dry["changed"] + dry["moved"]] == ["copy.wav", "odd.wav"]
    tried = voxdex("index", five_recordings, "--retry-failed", "--json")
    assert tried.status == 1 and failed_names_of_command(tried) == ["copy.wav", "odd.wav"] and tried.json["unchanged"] == 5


def test_retry_failed_indexes_recordings_that_became_readable(store, five_recordings, mini, monkeypatch):
    def refuse(self, path, file):
        yield DecodeSummary(failure="a former version could not read it")

    shutil.copy(five_recordings / "a.wav", five_recordings / "copy.wav")
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", refuse)
        assert len(index_paths([five_recordings], store, mini).failed) == 6
    assert (len(index_paths([five_recordings], store, mini).failed), store.count()) == (6, 0)
    report = index_paths([five_recordings], store, mini, retry_failed=True)
    assert (report.indexed, report.unchanged, report.failed, store.count()) == (5, 1, [], 5)
