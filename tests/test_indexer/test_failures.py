"""Odd recordings, killed processes, absent drives and runs without a sheet: an index loses nothing by them."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE, ROOT, until
from tests.fakes.sounds import RATE, voice, write_sound
from voxdex.encoders.audio.acoustics import measure
from voxdex.encoders.model import Model
from voxdex.indexer import index as pipeline
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.maintenance import rebuild_index
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.pipeline.decoder import Decoder, DecodeSummary
from voxdex.indexer.report import IndexReport
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.base import Point, PointError, StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.writer import Writer

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to end with")


@pytest.fixture
def audio(tmp_path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    for number, name in enumerate("abcde"):
        write_sound(folder / f"{name}.wav", voice(2.0, 100 + 15 * number, number))
    return folder


def index(paths: list[Path], *arguments, **options) -> IndexReport:
    return pipeline.index(find_recordings(paths), *arguments, **options)


def names(failures) -> list[str]:
    return [Path(failure.path).name for failure in failures]


def said_of(store: EdgeStore, kind: str = "clip") -> dict[str, dict]:
    return {Path(payload["recording"]).name: payload["metadata"] for payload in store.payloads(kind, ["recording", "metadata"])}


def sheet(folder: Path, *rows: str):
    (folder / "sheet.csv").write_text("\n".join(["path,speaker,year", *rows]))
    return read_metadata(folder / "sheet.csv")


# odd recordings


def two_pitches(gap: float = 0.05) -> np.ndarray:
    """Half of its voiced frames far below their median and half far above: none is near it."""

    def pulses(hz: float) -> np.ndarray:
        times = np.arange(RATE) / RATE
        return 0.1 * sum(np.sin(2 * np.pi * hz * k * times) / k for k in range(1, int(3800 / hz)))

    return np.concatenate([pulses(70), np.zeros(int(gap * RATE)), pulses(330)]).astype(np.float32)


def test_a_clip_without_a_usual_pitch_has_no_range_of_pitch():
    for gap in (0.0, 0.05, 0.1):
        measured = measure(two_pitches(gap))
        assert all(value is None or np.isfinite(value) for value in vars(measured).values())
    assert measured.pitch_hz and measured.pitch_range_semitones is None


@pytest.mark.parametrize("sound", [np.zeros(RATE), np.ones(RATE), np.full(10, 0.5), np.zeros(1), np.tile([1, -1], 8000)])
def test_measures_of_odd_sounds_are_numbers_or_nothing(sound):
    assert all(value is None or np.isfinite(value) for value in vars(measure(sound.astype(np.float32))).values())


def test_an_odd_clip_is_indexed_among_the_others(store, audio, mini):
    write_sound(audio / "odd.wav", two_pitches())
    report = index([audio], store, mini, vad=False)
    assert (report.indexed, report.failed, store.count()) == (6, [], 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {1, 2}], ids=["nan", "inf", "surrogate", "set"])
def test_what_cannot_be_stored_is_refused_before_anything_is_written(store, mini, value):
    vector = np.eye(1, mini.card.dimension, dtype=np.float32)[0]
    good = Point("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c11", vector, {"kind": "clip", "recording": "a"})
    bad = Point("6f0f7b7e-6a0c-5d1c-9a57-0b1e5a9f5c12", vector, {"kind": "clip", "recording": "b", "x": {"y": [value]}})
    with pytest.raises(PointError, match="cannot be"):
        store.upsert([good, bad])
    assert store.count() == 0


def test_what_cannot_be_stored_of_one_recording_fails_that_one_alone(store, audio, mini, monkeypatch):
    usual = Writer._clip_point

    def odd(self, done, decoded, span):
        point = usual(self, done, decoded, span)
        return Point(point.id, point.vector, point.payload | {"odd": float("nan")}) if "c.wav" in done.path else point

    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.writer.Writer._clip_point", odd)
        report = index([audio], store, mini)
    assert (report.indexed, names(report.failed), store.count()) == (4, ["c.wav"], 4)
    assert "cannot be" in report.failed[0].reason
    assert index([audio], store, mini).indexed == 1


def test_a_clip_that_cannot_be_embedded_fails_its_recording_alone(store, audio, mini, monkeypatch):
    odd = len(voice(3.0))
    write_sound(audio / "odd.wav", voice(3.0, 140))
    usual = Model.embed_speech

    def embed(self, clips, *more):
        clips = list(clips)
        if any(len(clip) == odd for clip in clips):
            raise RuntimeError("this one is too odd")
        return usual(self, clips, *more)

    with monkeypatch.context() as patched:
        patched.setattr(Model, "embed_speech", embed)
        report = index([audio], store, mini, vad=False)
    assert (report.indexed, names(report.failed)) == (5, ["odd.wav"]) and "this one is too odd" in report.failed[0].reason
    assert index([audio], store, mini, vad=False).indexed == 1


def test_modification_times_beyond_what_an_index_holds(store, audio, mini):
    os.utime(audio / "a.wav", (10**11, 10**11))
    assert index([audio], store, mini).indexed == 5
    assert index([audio], store, mini).unchanged == 5


def test_odd_names_of_tags_end_no_run(store, audio, mini):
    write_sound(audio / "odd.flac", voice(2.0), codec="flac", tags={'back\\slash "x"': "1", "a.b[0]": "2", "\t": "3"})
    report = index([audio], store, mini)
    assert (report.indexed, report.failed) == (6, [])
    assert store.facet("back/slash 'x'") == {"1": 1}


# failures that the machine caused


def failing(kind: str):
    """A stand-in for a decoder that fails on b.wav."""

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
def test_what_the_machine_does_is_named_and_tried_again(store, audio, mini, monkeypatch, kind, reason):
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", failing(kind))
        report = index([audio], store, mini)
    assert names(report.failed) == ["b.wav"] and report.indexed == 4
    assert re.search(reason, report.failed[0].reason)
    if kind == "away":
        (audio / "b.wav.away").rename(audio / "b.wav")
    again = index([audio], store, mini)
    assert (again.indexed, again.failed, store.count()) == (1, [], 5)


@pytest.mark.parametrize("kind", ["crash", "change"])
def test_a_copy_is_decoded_where_the_machine_made_the_other_one_fail(store, audio, mini, monkeypatch, kind):
    for name in ("b1.wav", "b2.wav"):
        shutil.copy(audio / "b.wav", audio / name)
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", failing(kind))
        report = index([audio], store, mini)
    assert (report.recordings, len(report.failed) <= 1, store.count()) == (7, True, 5)
    assert report.indexed + report.unchanged == 7 - len(report.failed) and report.indexed == 5
    assert index([audio], store, mini).failed == []


def test_copies_of_what_cannot_be_read_fail_with_it(store, audio, mini):
    index([audio], store, mini)
    for name in ("a.wav", "b.wav", "new.wav"):
        (audio / name).write_bytes(b"no sound" * 100)
    for _ in range(2):
        report = index([audio], store, mini)
        assert names(report.failed) == ["a.wav", "b.wav", "new.wav"] and report.unchanged == 3
        assert len({failure.reason for failure in report.failed}) == 1 and store.count() == 5


def test_a_recording_that_may_not_be_read_is_tried_again(store, audio, mini, monkeypatch):
    from voxdex.indexer import scan as files

    def refused(file):
        if str(file).endswith("b.wav"):
            raise PermissionError(13, "Permission denied")
        return usual(file)

    usual = files.file_sha256
    with monkeypatch.context() as patched:
        patched.setattr(files, "file_sha256", refused)
        assert names(index([audio], store, mini).failed) == ["b.wav"]
    again = index([audio], store, mini)
    assert (again.indexed, again.failed) == (1, [])


def test_what_failed_for_good_is_tried_again_only_when_asked_for(voxdex, audio, monkeypatch):
    (audio / "odd.wav").write_bytes(b"no sound" * 100)
    shutil.copy(audio / "odd.wav", audio / "copy.wav")
    assert voxdex("index", audio, "--json").json["indexed"] == 5
    seen = voxdex("index", audio, "--profile", "--json")
    assert seen.status == 1 and names_of(seen) == ["copy.wav", "odd.wav"]
    dry = voxdex("index", audio, "--retry-failed", "--dry-run", "--json").json
    assert [Path(path).name for path in dry["changed"] + dry["known"]] == ["copy.wav", "odd.wav"]
    tried = voxdex("index", audio, "--retry-failed", "--json")
    assert tried.status == 1 and names_of(tried) == ["copy.wav", "odd.wav"] and tried.json["unchanged"] == 5


def names_of(ran) -> list[str]:
    return [Path(failure["path"]).name for failure in ran.json["failed"]]


def test_what_was_remembered_as_failed_is_indexed_once_it_can_be_read(store, audio, mini, monkeypatch):
    def refuse(self, path, file):
        yield DecodeSummary(failure="a former version could not read it")

    shutil.copy(audio / "a.wav", audio / "copy.wav")
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", refuse)
        assert len(index([audio], store, mini).failed) == 6
    assert (len(index([audio], store, mini).failed), store.count()) == (6, 0)
    report = index([audio], store, mini, retry_failed=True)
    assert (report.indexed, report.unchanged, report.failed, store.count()) == (5, 1, [], 5)


@needs_signals
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
@pytest.mark.parametrize("event", ["index.json", "decoders"])
def test_ended_while_it_begins_the_next_run_is_complete(audio, tmp_path, number, event):
    """As Ctrl-C does, the signal goes to the whole group: when the index has just been made, and when decoders have started."""
    command = [sys.executable, str(ROOT / "cli.py"), "index", str(audio), "--index", str(tmp_path / "index"), "--json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )
    until(lambda: process.poll() is not None or has_come(event, process.pid, tmp_path / "index"))
    os.killpg(process.pid, number)
    process.communicate(timeout=PATIENCE)
    assert process.returncode in (0, 130, -number)
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    with EdgeStore.open(tmp_path / "index") as store:
        assert store.count() == 5


def has_come(event: str, process: int, index: Path) -> bool:
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


@needs_signals
def test_ctrl_c_while_the_program_starts_is_no_traceback(home):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")


# drives that are away


def test_pruning_keeps_what_lay_on_a_drive_that_is_away(voxdex, audio, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_sound(other / "x.wav", voice(2.0, 180))
    voxdex("index", audio, other)
    audio.rename(tmp_path / "away")
    plain = voxdex("index", audio, other, "--json")
    assert plain.status == 1 and (plain.json["missing"], plain.json["removed"]) == (5, 0)
    assert "no such file or folder; what the index holds of it is kept" in plain.err
    for is_mounted in (False, True):
        if is_mounted:
            audio.mkdir()
        refused = voxdex("index", audio, other, "--prune", "--json")
        assert refused.status == 1 and refused.json["removed"] == 0 and refused.json["missing"] == 5
        assert f"{audio}: 5 of its 5 indexed recordings are gone" in refused.err and "--prune=all" in refused.err
    alone = voxdex("index", audio, "--prune")
    assert alone.status == 2 and "--prune=all" in alone.err
    assert voxdex("status", "--json").json["files"] == 6
    dropped = voxdex("index", audio, other, "--prune=all", "--json")
    assert dropped.status == 0 and dropped.json["removed"] == 5
    assert voxdex("status", "--json").json["files"] == 1


def test_pruning_drops_a_half_but_asks_again_before_it_drops_more(store, audio, mini):
    index([audio], store, mini)
    for name in "ab":
        (audio / f"{name}.wav").unlink()
    assert index([audio], store, mini, prune=True).removed == 2
    for name in "cd":
        (audio / f"{name}.wav").unlink()
    kept = index([audio], store, mini, prune=True)
    assert (kept.removed, kept.missing, store.count()) == (0, 2, 3) and names(kept.failed) == ["audio"]
    assert index([audio], store, mini, prune=True, prune_all=True).removed == 2


def test_recordings_that_were_moved_are_not_gone(store, audio, mini, tmp_path):
    index([audio], store, mini)
    audio.rename(tmp_path / "moved")
    report = index([tmp_path], store, mini, prune=True)
    assert (report.unchanged, report.removed, report.missing, report.failed) == (5, 0, 0, [])


def test_the_option_may_stand_before_a_path(voxdex, audio):
    voxdex("index", audio)
    (audio / "a.wav").unlink()
    assert voxdex("index", "--prune", audio, "--json").json["removed"] == 1
    assert voxdex("index", "--prune=some", audio).status == 2


# an index made again


def test_an_index_is_not_replaced_while_its_recordings_cannot_be_read(voxdex, audio, other_model):
    (audio / "broken.wav").write_bytes(b"no sound" * 100)
    voxdex("index", audio)
    contents = {path: path.read_bytes() for path in sorted(audio.iterdir())}
    for path in (audio / "a.wav", audio / "b.wav", audio / "c.wav"):
        path.write_bytes(b"unreadable" * 10)
    refused = voxdex("reindex", "--model", other_model)
    assert refused.status == 2 and "3 of the 5 recordings" in refused.err and "--drop-failed" in refused.err
    before = voxdex("status", "--json").json
    assert before["space"].startswith("mini@") and before["clips"] == 5
    for path, content in contents.items():
        path.write_bytes(content)
    done = voxdex("reindex", "--model", other_model, "--json")
    assert done.status == 1 and names_of(done) == ["broken.wav"]
    assert voxdex("status", "--json").json["clips"] == 5


def test_an_index_of_which_nothing_can_be_read_is_never_replaced(voxdex, audio, other_model):
    voxdex("index", audio)
    for path in audio.iterdir():
        path.write_bytes(b"unreadable" * 10)
    assert voxdex("reindex", "--model", other_model).status == 2
    assert voxdex("status", "--json").json["clips"] == 5
    dropped = voxdex("reindex", "--model", other_model, "--drop-failed", "--json")
    assert dropped.status == 2 and len(dropped.json["failed"]) == 5
    assert voxdex("status", "--json").json["clips"] == 0


def test_what_was_dropped_between_two_tries_does_not_come_back(audio, tmp_path, mini, other_model):
    from voxdex.encoders.model import open_model

    place, other = LocalIndex(tmp_path / "index"), open_model(str(other_model))
    with place.create(mini.card.space, "mini", mini.card.dimension) as store:
        index([audio], store, mini)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_index(place, other, on_progress=stop)
    for name in "ab":
        (audio / f"{name}.wav").unlink()
    with place.open() as store:
        assert index([audio], store, mini, prune=True).removed == 2
    assert rebuild_index(place, other).recordings == 3
    with place.open() as store:
        assert store.space == other.card.space and store.count() == 3


def test_an_index_made_again_does_not_lose_most_of_it_for_a_drive_that_is_away(audio, tmp_path, mini, other_model):
    from voxdex.encoders.model import open_model

    place, other = LocalIndex(tmp_path / "index"), open_model(str(other_model))
    with place.create(mini.card.space, "mini", mini.card.dimension) as store:
        index([audio], store, mini)
    for name in "abc":
        (audio / f"{name}.wav").unlink()
    with pytest.raises(StoreError, match=r"3 of the 5 files .* --prune=all"):
        rebuild_index(place, other, prune=True)
    assert rebuild_index(place, other, prune=True, prune_all=True).indexed == 2


# what the user said of recordings


def test_what_was_said_is_kept_by_a_run_without_a_sheet(store, audio, mini):
    index([audio], store, mini, sheet(audio, "a.wav,Anna,1999", "b.wav,Bert,2001"))
    expected = {"a.wav": {"speaker": "Anna", "year": 1999.0}, "b.wav": {"speaker": "Bert", "year": 2001.0}}
    write_sound(audio / "a.wav", voice(3.0, 130))
    os.utime(audio / "b.wav", (1, 1))
    assert index([audio], store, mini).indexed == 1
    assert {name: said for name, said in said_of(store).items() if said} == expected == with_words(said_of(store, "recording"))


def with_words(said: dict) -> dict:
    return {name: words for name, words in said.items() if words}


def test_what_was_said_is_kept_when_what_is_spoken_is_added(voxdex, audio, tmp_path):
    sheet(audio, "a.wav,Anna,1999", "b.wav,Bert,2001")
    voxdex("index", audio, "--metadata", audio / "sheet.csv")
    added = voxdex("index", audio, "--phonetic", "--json")
    assert added.status == 0 and added.json["indexed"] == 5
    hits = voxdex("search", "a voice", "--where", "speaker=Anna and year<2000", "--json").json["hits"]
    assert [Path(hit["recording"]).name for hit in hits] == ["a.wav"]


def test_what_was_said_moves_with_a_recording_and_stays_with_its_copies(store, audio, mini):
    shutil.copy(audio / "a.wav", audio / "copy.wav")
    shutil.copy(audio / "c.wav", audio / "copied.wav")
    index([audio], store, mini, sheet(audio, "a.wav,Anna,1999", "copy.wav,Bert,2001", "c.wav,Carl,1970", "d.wav,Dora,1980"))
    (audio / "d.wav").rename(audio / "moved.wav")
    for name in "ac":
        (audio / f"{name}.wav").unlink()
    index([audio], store, mini, prune=True)
    speakers = {name: said.get("speaker") for name, said in said_of(store).items()}
    assert speakers == {"b.wav": None, "copied.wav": "Carl", "copy.wav": "Bert", "e.wav": None, "moved.wav": "Dora"}


def test_what_was_said_outlasts_a_failure(store, audio, mini):
    good = (audio / "a.wav").read_bytes()
    (audio / "a.wav").write_bytes(b"no sound" * 100)
    index([audio], store, mini, sheet(audio, "a.wav,Anna,1999"))
    assert said_of(store, "recording")["a.wav"] == {"speaker": "Anna", "year": 1999.0}
    (audio / "a.wav").write_bytes(b"nothing yet" * 100)
    assert len(index([audio], store, mini).failed) == 1
    (audio / "a.wav").write_bytes(good)
    assert index([audio], store, mini).failed == []
    assert said_of(store)["a.wav"] == {"speaker": "Anna", "year": 1999.0}


def test_a_sheet_changes_what_it_names_and_nothing_else(store, audio, mini):
    index([audio], store, mini, sheet(audio, "a.wav,Anna,1999", "b.wav,Bert,2001", "c.wav,Carl,1970"))
    index([audio], store, mini, sheet(audio, "a.wav,Ann,", "b.wav,,"))
    assert with_words(said_of(store)) == {"a.wav": {"speaker": "Ann"}, "c.wav": {"speaker": "Carl", "year": 1970.0}}


def test_an_index_made_again_keeps_what_was_said_of_every_copy(audio, tmp_path, mini, other_model):
    from voxdex.encoders.model import open_model

    shutil.copy(audio / "a.wav", audio / "copy.wav")
    place, other = LocalIndex(tmp_path / "index"), open_model(str(other_model))
    with place.create(mini.card.space, "mini", mini.card.dimension) as store:
        index([audio], store, mini, sheet(audio, "a.wav,Anna,1999", "copy.wav,Bert,2001"))
    rebuild_index(place, other)
    (audio / "a.wav").unlink()
    with place.open() as store:
        index([audio], store, other, prune=True)
        assert with_words(said_of(store)) == {"copy.wav": {"speaker": "Bert", "year": 2001.0}}
