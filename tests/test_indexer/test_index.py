"""Indexing of folders: new, changed, moved, missing and failed recordings."""

import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.archives import failed_names, index_paths, spans_by_name, write_speaker_sheet
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.pipeline.embedder import EmbedJob
from voxdex.indexer.pipeline.local import embed_locally
from voxdex.indexer.statistics import index_statistics
from voxdex.indexer.store.base import Point
from voxdex.indexer.store.edge import EdgeStore

CLIPS = 7
"""Clips of `three_recordings`."""


def test_index_a_folder(store, three_recordings, mini):
    report = index_paths([three_recordings], store, mini)
    assert (report.recordings, report.indexed, report.unchanged, report.failed) == (3, 3, 0, [])
    assert report.audio_seconds == pytest.approx(30, abs=0.1)
    assert report.clips == store.count() == CLIPS
    spans = spans_by_name(store)
    assert spans["a.wav"] == [(0.0, pytest.approx(2.0, abs=0.01))]
    assert spans["long.wav"][0][0] == 0.0 and spans["long.wav"][-1][1] == pytest.approx(25.0, abs=0.01)
    assert all(end - start <= 10.0 for start, end in spans["long.wav"])
    payload = next(store.payloads("clip", ["recording", "space", "attributes", "content", "duration"]))
    assert payload["space"] == mini.card.space and len(payload["content"]) == 64
    assert payload["attributes"]["gender"] in ("female", "male")


def test_second_run_embeds_nothing(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    again = index_paths([three_recordings], store, mini)
    assert (again.indexed, again.unchanged, again.clips, again.stages.embed) == (0, 3, 0, 0.0)
    assert store.count() == CLIPS


def test_only_new_and_changed_recordings_are_embedded(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    write_sound(three_recordings / "new.wav", voice(1.0, 180))
    write_sound(three_recordings / "a.wav", voice(4.0, 90))
    os.utime(three_recordings / "b.flac", (1, 1))
    report = index_paths([three_recordings], store, mini)
    assert (report.indexed, report.unchanged, report.clips) == (2, 2, 2)
    assert spans_by_name(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]
    assert index_paths([three_recordings], store, mini).unchanged == 4


def test_moved_and_copied_recordings_keep_their_clips(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    (three_recordings / "a.wav").rename(three_recordings / "more" / "renamed.wav")
    shutil.copy(three_recordings / "b.flac", three_recordings / "copy.flac")
    report = index_paths([three_recordings], store, mini)
    assert (report.indexed, report.unchanged, report.missing, report.stages.embed) == (0, 4, 0, 0.0)
    assert list(spans_by_name(store)) == ["b.flac", "long.wav", "renamed.wav"]
    (three_recordings / "b.flac").unlink()
    report = index_paths([three_recordings], store, mini, prune=True)
    assert (report.unchanged, report.removed) == (3, 1)
    assert list(spans_by_name(store)) == ["copy.flac", "long.wav", "renamed.wav"]
    assert store.count() == CLIPS


def test_recordings_with_swapped_contents_are_kept(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    write_sound(three_recordings / "c.wav", voice(2.5, 170))
    (three_recordings / "a.wav").rename(three_recordings / "z.wav")
    (three_recordings / "c.wav").rename(three_recordings / "a.wav")
    report = index_paths([three_recordings], store, mini)
    assert report.failed == [] and list(spans_by_name(store)) == ["a.wav", "b.flac", "long.wav", "z.wav"]
    assert index_paths([three_recordings], store, mini).unchanged == 4


def test_swapped_contents_are_not_embedded_again(store, three_recordings, mini):
    catalogue = three_recordings.parent / "catalogue.csv"
    catalogue.write_text("path,speaker\naudio/a.wav,Anna\naudio/b.flac,Ben\n")
    index_paths([three_recordings], store, mini, read_metadata(catalogue))
    before = spans_by_name(store)
    contents = {name: (three_recordings / name).read_bytes() for name in ("a.wav", "b.flac")}
    (three_recordings / "a.wav").write_bytes(contents["b.flac"])
    (three_recordings / "b.flac").write_bytes(contents["a.wav"])
    report = index_paths([three_recordings], store, mini)
    assert (report.indexed, report.unchanged, report.failed, report.stages.embed) == (0, 3, [], 0.0)
    assert spans_by_name(store) == before | {"a.wav": before["b.flac"], "b.flac": before["a.wav"]} and store.count() == CLIPS
    metadata = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
    assert metadata == {"a.wav": {"speaker": "Anna"}, "b.flac": {"speaker": "Ben"}, "long.wav": {}}


def test_former_contents_are_kept_until_the_run_ends(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    write_sound(three_recordings / "a.wav", voice(4.0, 90))

    def killed(progress):
        raise MemoryError

    with pytest.raises(MemoryError):
        index_paths([three_recordings], store, mini, on_progress=killed)
    assert store.count("recording") == 4 and index_statistics(store).recordings == 3
    report = index_paths([three_recordings], store, mini)
    assert (report.indexed, report.unchanged, store.count("recording"), store.count()) == (0, 3, 3, CLIPS)
    assert spans_by_name(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]


def test_stopped_run_ends_after_the_batch(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    write_sound(three_recordings / "a.wav", voice(4.0, 90))
    batches = []
    with pytest.raises(KeyboardInterrupt):
        index_paths([three_recordings], store, mini, on_progress=batches.append, should_stop=lambda: True)
    assert len(batches) == 1 and store.count() == CLIPS
    assert spans_by_name(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]
    assert index_paths([three_recordings], store, mini).unchanged == 3


def test_missing_recordings_stay_until_pruned(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    (three_recordings / "a.wav").unlink()
    report = index_paths([three_recordings], store, mini)
    assert (report.missing, report.removed, store.count()) == (1, 0, CLIPS)
    assert index_paths([three_recordings / "b.flac"], store, mini, prune=True).removed == 0
    report = index_paths([three_recordings], store, mini, prune=True)
    assert (report.missing, report.removed, store.count()) == (0, 1, CLIPS - 1)


def test_failures_do_not_stop_the_run(store, three_recordings, mini):
    (three_recordings / "broken.wav").write_bytes(b"not a sound" * 100)
    (three_recordings / "empty.mp3").touch()
    (three_recordings / "notes.txt").write_text("hello")
    (three_recordings / ".hidden.wav").write_bytes(b"x")
    report = index_paths([three_recordings], store, mini)
    assert (report.recordings, report.indexed) == (5, 3)
    assert [
        (Path(failure.path).name, "damaged" in failure.reason or "empty" in failure.reason) for failure in report.failed
    ] == [
        ("broken.wav", True),
        ("empty.mp3", True),
    ]
    assert report.ignored == {".txt": 1, "hidden": 1}
    assert index_paths([three_recordings / "notes.txt"], store, mini).failed[0].path.endswith("notes.txt")


def test_changed_recording_that_fails_keeps_its_clips(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    (three_recordings / "a.wav").write_bytes(b"now broken" * 100)
    for _ in range(2):
        assert len(index_paths([three_recordings], store, mini).failed) == 1
        assert store.count() == CLIPS


def test_status_names_recordings_that_were_good_and_are_broken_now(store, three_recordings, mini, monkeypatch):
    path = three_recordings / "a.wav"
    good = path.read_bytes()
    index_paths([three_recordings], store, mini)
    clips = store.count()
    path.write_bytes(b"nonsense" * 99)
    index_paths([three_recordings], store, mini)
    with monkeypatch.context() as patched:  # it is not read again
        patched.setattr("voxdex.indexer.pipeline.decoder.Decoder.read", lambda *_: pytest.fail("was read again"))
        again = index_paths([three_recordings], store, mini)
    assert failed_names(again.failed) == ["a.wav"] and store.count() == clips
    [broken] = index_statistics(store).failed
    assert broken.path == str(path) and "the clips of what it held before are kept" in broken.reason
    assert failed_names(index_paths([three_recordings], store, mini, retry_failed=True).failed) == ["a.wav"]

    path.write_bytes(good)
    assert index_paths([three_recordings], store, mini).failed == [] and index_statistics(store).failed == []
    assert store.count() == clips


def test_failures_are_stored_and_reported_again(store, three_recordings, mini):
    (three_recordings / "broken.wav").write_bytes(b"not a sound" * 100)
    first = index_paths([three_recordings], store, mini)
    again = index_paths([three_recordings], store, mini)
    assert again.failed == first.failed and again.stages.decode == 0.0
    assert (store.count("recording"), store.count()) == (4, CLIPS)
    write_sound(three_recordings / "broken.wav", voice(1.0))
    assert index_paths([three_recordings], store, mini).failed == [] and store.count() == CLIPS + 1


def one_by_one(job: EmbedJob):
    """Reads a recording when the one before it is done, so that it is known what is stored when."""
    for path in job.paths:
        yield from embed_locally(replace(job, paths=[path]))


def test_interrupted_run_is_resumed(store, three_recordings, mini):
    write_sound(three_recordings / "more" / "z.wav", np.tile(voice(10.0), 70))

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.audio_seconds > 31:  # the others, and some of the last one
            assert progress.done == 3
            raise Stopped

    with pytest.raises(Stopped):
        index_paths([three_recordings], store, mini, on_progress=stop, backend=one_by_one)
    assert list(spans_by_name(store)) == ["a.wav", "b.flac", "long.wav"] and store.count() == CLIPS
    report = index_paths([three_recordings], store, mini)
    assert (report.indexed, report.unchanged) == (1, 3)
    assert spans_by_name(store)["z.wav"][0][0] == 0.0 and spans_by_name(store)["z.wav"][-1][1] == pytest.approx(700.0, abs=0.01)


def test_cached_statistics_equal_counted_ones(store, three_recordings, mini, monkeypatch):
    def told():
        remembered = index_statistics(store)
        with monkeypatch.context() as patched:
            patched.setattr(EdgeStore, "cache_get", lambda *_: None)
            counted = index_statistics(store)
        for found in (remembered, counted):
            found.failed.sort(key=lambda failure: failure.path)
        assert remembered == counted
        return remembered

    (three_recordings / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(three_recordings / "a.wav", three_recordings / "copy.wav")
    index_paths([three_recordings], store, mini)
    first = told()
    assert (first.recordings, first.files, first.duplicates, first.clips, first.missing) == (3, 4, 1, CLIPS, 0)
    assert [Path(failure.path).name for failure in first.failed] == ["broken.wav"]
    assert first.formats == {"wav pcm_s16le": 2, "flac flac": 1}
    (three_recordings / "b.flac").rename(three_recordings / "more" / "moved.flac")
    (three_recordings / "more" / "long.wav").unlink()
    (three_recordings / "more" / "long.wav").symlink_to(three_recordings / "nowhere.wav")
    assert index_statistics(store).missing == 2
    index_paths([three_recordings], store, mini)
    assert told().missing == 1 and store.cache_get("statistics")
    shutil.rmtree(three_recordings / "more")
    assert index_statistics(store).missing == 2
    index_paths([three_recordings], store, mini, prune=True, prune_all=True)
    assert (told().recordings, told().missing) == (1, 0)


@pytest.mark.parametrize("name", ["talk [live] :smile: [b].wav", "-leading dash.wav", "ümlaut 슬픈.wav", "UPPER.WAV"])
def test_file_names_are_stored_unchanged(store, tmp_path, mini, name):
    (tmp_path / "audio").mkdir()
    write_sound(tmp_path / "audio" / name, voice(1.0))
    assert index_paths([tmp_path / "audio"], store, mini).indexed == 1
    assert list(spans_by_name(store)) == [name]


def test_file_name_that_is_not_utf8_is_a_failure(store, three_recordings, mini):
    shutil.copy(three_recordings / "a.wav", os.fsencode(three_recordings) + b"/caf\xe9.wav")
    report = index_paths([three_recordings], store, mini)
    assert report.indexed == 3
    assert report.failed[0].path.endswith("caf\\xe9.wav") and "UTF-8" in report.failed[0].reason


def test_samples_far_beyond_full_scale_and_pipes_are_failures(store, three_recordings, mini):
    samples = voice(1.0)
    samples[100] = 1e25
    write_sound(three_recordings / "huge.wav", samples, codec="pcm_f32le")
    os.mkfifo(three_recordings / "pipe.wav")
    report = index_paths([three_recordings], store, mini)
    assert report.indexed == 3
    assert {Path(failure.path).name for failure in report.failed} == {"huge.wav", "pipe.wav"}


def test_paths_with_dots_and_missing_paths(store, three_recordings, mini, tmp_path):
    index_paths([three_recordings], store, mini)
    (three_recordings / "a.wav").unlink()
    assert index_paths([three_recordings / ".." / "audio"], store, mini, prune=True).removed == 1
    report = index_paths([three_recordings, tmp_path / "nowhere"], store, mini)
    assert (report.unchanged, [failure.reason for failure in report.failed]) == (2, ["there is no such file or folder"])
    shutil.rmtree(three_recordings)
    report = index_paths([three_recordings], store, mini)
    assert report.missing == 2
    kept = "there is no such file or folder; what the index holds of it is kept"
    assert [failure.reason for failure in report.failed] == [kept]
    assert index_paths([three_recordings], store, mini, prune=True).removed == 0
    assert index_paths([three_recordings], store, mini, prune=True, prune_all=True).removed == 2
    assert store.count() == 0


def test_known_paths_are_not_looked_up_again(store, three_recordings, mini, monkeypatch):
    (three_recordings / "broken.wav").write_bytes(b"no sound")
    first = index_paths([three_recordings], store, mini)
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.index.Catalog", None)
        again = index_paths([three_recordings], store, mini)
        assert (again.recordings, again.unchanged, again.failed) == (4, 3, first.failed) and len(again.failed) == 1
    assert index_paths([three_recordings / "more"], store, mini).unchanged == 1
    os.utime(three_recordings / "a.wav", ns=(1, 1))
    assert index_paths([three_recordings], store, mini).unchanged == 3
    write_sound(three_recordings / "c.wav", voice(2.0, 130))
    assert index_paths([three_recordings], store, mini).indexed == 1
    (three_recordings / "c.wav").unlink()
    assert [index_paths([three_recordings], store, mini).missing for _ in range(2)] == [1, 1]
    assert index_paths([three_recordings], store, mini, prune=True).removed == 1
    assert index_paths([three_recordings], store, mini, write_speaker_sheet(three_recordings)).unchanged == 3
    assert {payload["metadata"].get("speaker") for payload in store.payloads("clip", ["metadata"])} == {None, "Anna"}


def test_run_killed_between_new_and_old_content_is_repaired(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    keys = ("recording", "files", "metadata", "failure")
    before = next(p for p in store.payloads("recording", keys) if p["recording"].endswith("a.wav"))
    write_sound(three_recordings / "a.wav", voice(4.0, 90))
    index_paths([three_recordings], store, mini)
    (vector,) = mini.embed_speech([voice(1.0)])
    clip = {"kind": "clip", "recording": before["recording"], "content": "old", "start": 0.0, "end": 2.0}
    old = before | {"kind": "recording", "content": "old"}
    store.upsert([Point(str(uuid.uuid4()), vector, clip), Point(str(uuid.uuid4()), None, old)])
    assert index_paths([three_recordings], store, mini).unchanged == 3
    assert spans_by_name(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]


def test_interrupted_optimise_is_repeated_by_the_next_run(store, three_recordings, mini, monkeypatch):
    def killed(self: EdgeStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(EdgeStore, "optimise", killed)
        index_paths([three_recordings], store, mini)
    seen = []
    for _ in range(2):
        assert index_paths([three_recordings], store, mini, on_progress=seen.append).unchanged == 3
    assert [progress.optimising for progress in seen] == [True]
