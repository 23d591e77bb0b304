import json
import os
import shutil
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.indexer import index as pipeline
from voxdex.indexer.metadata import MetadataError, read_metadata
from voxdex.indexer.pipeline.clips import Windows
from voxdex.indexer.pipeline.embedder import EmbedJob
from voxdex.indexer.pipeline.local import embed_locally
from voxdex.indexer.report import IndexReport, Progress
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.statistics import index_statistics
from voxdex.indexer.store.base import Point
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter

CLIPS = 7
"""Of the recordings below: one each of the short ones, five of the long one."""


@pytest.fixture
def audio(tmp_path) -> Path:
    folder = tmp_path / "audio"
    (folder / "more").mkdir(parents=True)
    write_sound(folder / "a.wav", voice(2.0, 110))
    write_sound(folder / "b.flac", voice(3.0, 200), codec="flac")
    write_sound(folder / "more" / "long.wav", voice(25.0, 150))
    return folder


def index(paths: list[Path], *arguments, **options) -> IndexReport:
    return pipeline.index(find_recordings(paths), *arguments, **options)


def stored(store: EdgeStore) -> dict[str, list[tuple[float, float]]]:
    """Recording name -> its spans."""
    spans: dict[str, list] = {}
    for payload in store.payloads("clip", ["recording", "start", "end"]):
        spans.setdefault(Path(payload["recording"]).name, []).append((payload["start"], payload["end"]))
    return {name: sorted(found) for name, found in sorted(spans.items())}


def test_a_folder_becomes_clips(store, audio, mini):
    report = index([audio], store, mini)
    assert (report.recordings, report.indexed, report.unchanged, report.failed) == (3, 3, 0, [])
    assert report.audio_seconds == pytest.approx(30, abs=0.1)
    assert report.clips == store.count() == CLIPS
    spans = stored(store)
    assert spans["a.wav"] == [(0.0, pytest.approx(2.0, abs=0.01))]
    assert spans["long.wav"][0][0] == 0.0 and spans["long.wav"][-1][1] == pytest.approx(25.0, abs=0.01)
    assert all(end - start <= 10.0 for start, end in spans["long.wav"])
    payload = next(store.payloads("clip", ["recording", "space", "attributes", "content", "duration"]))
    assert payload["space"] == mini.card.space and len(payload["content"]) == 64
    assert payload["attributes"]["gender"] in ("female", "male")


def test_a_second_run_embeds_nothing(store, audio, mini):
    index([audio], store, mini)
    again = index([audio], store, mini)
    assert (again.indexed, again.unchanged, again.clips, again.stages.embed) == (0, 3, 0, 0.0)
    assert store.count() == CLIPS


def test_what_is_new_or_changed_is_embedded_and_nothing_else(store, audio, mini):
    index([audio], store, mini)
    write_sound(audio / "new.wav", voice(1.0, 180))
    write_sound(audio / "a.wav", voice(4.0, 90))
    os.utime(audio / "b.flac", (1, 1))
    report = index([audio], store, mini)
    assert (report.indexed, report.unchanged, report.clips) == (2, 2, 2)
    assert stored(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]
    assert index([audio], store, mini).unchanged == 4


def test_moved_and_copied_recordings_keep_their_clips(store, audio, mini):
    index([audio], store, mini)
    (audio / "a.wav").rename(audio / "more" / "renamed.wav")
    shutil.copy(audio / "b.flac", audio / "copy.flac")
    report = index([audio], store, mini)
    assert (report.indexed, report.unchanged, report.missing, report.stages.embed) == (0, 4, 0, 0.0)
    assert list(stored(store)) == ["b.flac", "long.wav", "renamed.wav"]
    (audio / "b.flac").unlink()
    report = index([audio], store, mini, prune=True)
    assert (report.unchanged, report.removed) == (3, 1)
    assert list(stored(store)) == ["copy.flac", "long.wav", "renamed.wav"]
    assert store.count() == CLIPS


def test_recordings_that_swap_their_contents_are_all_kept(store, audio, mini):
    index([audio], store, mini)
    write_sound(audio / "c.wav", voice(2.5, 170))
    (audio / "a.wav").rename(audio / "z.wav")
    (audio / "c.wav").rename(audio / "a.wav")
    report = index([audio], store, mini)
    assert report.failed == [] and list(stored(store)) == ["a.wav", "b.flac", "long.wav", "z.wav"]
    assert index([audio], store, mini).unchanged == 4


def test_two_recordings_that_swap_their_contents_are_not_embedded_again(store, audio, mini):
    catalogue = audio.parent / "catalogue.csv"
    catalogue.write_text("path,speaker\naudio/a.wav,Anna\naudio/b.flac,Ben\n")
    index([audio], store, mini, read_metadata(catalogue))
    before = stored(store)
    contents = {name: (audio / name).read_bytes() for name in ("a.wav", "b.flac")}
    (audio / "a.wav").write_bytes(contents["b.flac"])
    (audio / "b.flac").write_bytes(contents["a.wav"])
    report = index([audio], store, mini)
    assert (report.indexed, report.unchanged, report.failed, report.stages.embed) == (0, 3, [], 0.0)
    assert stored(store) == before | {"a.wav": before["b.flac"], "b.flac": before["a.wav"]} and store.count() == CLIPS
    metadata = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
    assert metadata == {"a.wav": {"speaker": "Anna"}, "b.flac": {"speaker": "Ben"}, "long.wav": {}}


def test_a_content_without_a_recording_is_kept_until_the_run_ends_and_counted_nowhere(store, audio, mini):
    index([audio], store, mini)
    write_sound(audio / "a.wav", voice(4.0, 90))

    def killed(progress):
        raise MemoryError

    with pytest.raises(MemoryError):
        index([audio], store, mini, on_progress=killed)
    assert store.count("recording") == 4 and index_statistics(store).recordings == 3
    report = index([audio], store, mini)
    assert (report.indexed, report.unchanged, store.count("recording"), store.count()) == (0, 3, 3, CLIPS)
    assert stored(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]


def test_a_run_that_is_asked_to_stop_ends_after_the_batch_and_leaves_no_former_contents(store, audio, mini):
    index([audio], store, mini)
    write_sound(audio / "a.wav", voice(4.0, 90))
    batches = []
    with pytest.raises(KeyboardInterrupt):
        index([audio], store, mini, on_progress=batches.append, should_stop=lambda: True)
    assert len(batches) == 1 and store.count() == CLIPS
    assert stored(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]
    assert index([audio], store, mini).unchanged == 3


def test_missing_recordings_stay_until_pruned(store, audio, mini):
    index([audio], store, mini)
    (audio / "a.wav").unlink()
    report = index([audio], store, mini)
    assert (report.missing, report.removed, store.count()) == (1, 0, CLIPS)
    assert index([audio / "b.flac"], store, mini, prune=True).removed == 0
    report = index([audio], store, mini, prune=True)
    assert (report.missing, report.removed, store.count()) == (0, 1, CLIPS - 1)


def test_failures_are_named_and_the_rest_goes_on(store, audio, mini):
    (audio / "broken.wav").write_bytes(b"not a sound" * 100)
    (audio / "empty.mp3").touch()
    (audio / "notes.txt").write_text("hello")
    (audio / ".hidden.wav").write_bytes(b"x")
    report = index([audio], store, mini)
    assert (report.recordings, report.indexed) == (5, 3)
    assert [
        (Path(failure.path).name, "damaged" in failure.reason or "empty" in failure.reason) for failure in report.failed
    ] == [
        ("broken.wav", True),
        ("empty.mp3", True),
    ]
    assert report.ignored == {".txt": 1, "hidden": 1}
    assert index([audio / "notes.txt"], store, mini).failed[0].path.endswith("notes.txt")


def test_a_changed_recording_that_fails_keeps_what_was_there(store, audio, mini):
    index([audio], store, mini)
    (audio / "a.wav").write_bytes(b"now broken" * 100)
    for _ in range(2):
        assert len(index([audio], store, mini).failed) == 1
        assert store.count() == CLIPS


def test_a_failure_is_remembered_and_named_again_without_reading(store, audio, mini):
    (audio / "broken.wav").write_bytes(b"not a sound" * 100)
    first = index([audio], store, mini)
    again = index([audio], store, mini)
    assert again.failed == first.failed and again.stages.decode == 0.0
    assert (store.count("recording"), store.count()) == (4, CLIPS)
    write_sound(audio / "broken.wav", voice(1.0))
    assert index([audio], store, mini).failed == [] and store.count() == CLIPS + 1


def one_by_one(job: EmbedJob):
    """Reads a recording when the one before it is done, so that it is known what is stored when."""
    for path in job.paths:
        yield from embed_locally(replace(job, paths=[path]))


def test_an_interrupted_run_leaves_whole_recordings_and_goes_on(store, audio, mini):
    write_sound(audio / "more" / "z.wav", np.tile(voice(10.0), 70))

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.audio_seconds > 31:  # the others, and some of the last one
            assert progress.done == 3
            raise Stopped

    with pytest.raises(Stopped):
        index([audio], store, mini, on_progress=stop, backend=one_by_one)
    assert list(stored(store)) == ["a.wav", "b.flac", "long.wav"] and store.count() == CLIPS
    report = index([audio], store, mini)
    assert (report.indexed, report.unchanged) == (1, 3)
    assert stored(store)["z.wav"][0][0] == 0.0 and stored(store)["z.wav"][-1][1] == pytest.approx(700.0, abs=0.01)


def test_metadata_is_stored_and_brought_up_to_date_without_embedding(store, audio, mini, tmp_path):
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text("path,speaker,age\naudio/a.wav,Anna,63\naudio/b.flac,Ben,\n")
    index([audio], store, mini, read_metadata(catalogue))
    found = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
    assert found == {"a.wav": {"speaker": "Anna", "age": 63.0}, "b.flac": {"speaker": "Ben"}, "long.wav": {}}
    catalogue.write_text("path,speaker\naudio/a.wav,Annegret\n")
    report = index([audio], store, mini, read_metadata(catalogue))
    assert (report.unchanged, report.stages.embed) == (3, 0.0)
    found = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
    assert found["a.wav"] == {"speaker": "Annegret"} and found["b.flac"] == {"speaker": "Ben"}
    assert report.unmatched_metadata == 0


def test_odd_catalogues(store, audio, mini, tmp_path):
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text(
        "path,tape number,rec.date,shelf,score,duration\naudio/a.wav,7,2001,0012,nan,long\nother.wav,1,2,3,4,5\n"
    )
    report = index([audio], store, mini, read_metadata(catalogue))
    assert report.unmatched_metadata == 1 and not report.failed

    def found(text):
        hits = store.query(np.ones(mini.card.dimension, np.float32), 99, parse_filter(text))
        return {Path(hit.payload["recording"]).name for hit in hits}

    for text in ("tape number=7", "tape number>5", "rec.date=2001", "shelf=0012", "score=nan", "duration=long"):
        assert found(text) == {"a.wav"}, text
    assert found("shelf!=0012") == {"b.flac", "long.wav"}


def test_numbers_of_a_later_table_in_a_column_of_text_are_text(store, audio, mini, tmp_path):
    catalogue = tmp_path / "catalogue.csv"
    for cell, found in (("0012", "0012"), ("7", "7"), ("2.5", "2.5")):
        catalogue.write_text(f"path,shelf\naudio/a.wav,{cell}\n")
        index([audio], store, mini, read_metadata(catalogue))
        for text in (f"shelf={found}", f"shelf~{found[:3]}*"):
            [hit] = store.query(np.ones(mini.card.dimension, np.float32), 99, parse_filter(text))
            assert hit.payload["metadata"] == {"shelf": found}
    assert index([audio], store, mini, read_metadata(catalogue)).unchanged == 3 and store.cache_get("statistics")


def test_what_is_told_of_an_index_is_remembered_as_it_is_counted(store, audio, mini, monkeypatch):
    def told():
        remembered = index_statistics(store)
        with monkeypatch.context() as patched:
            patched.setattr(EdgeStore, "cache_get", lambda *_: None)
            counted = index_statistics(store)
        for found in (remembered, counted):
            found.failed.sort(key=lambda failure: failure.path)
        assert remembered == counted
        return remembered

    (audio / "broken.wav").write_bytes(b"RIFF")
    shutil.copy(audio / "a.wav", audio / "copy.wav")
    index([audio], store, mini)
    first = told()
    assert (first.recordings, first.files, first.duplicates, first.clips, first.missing) == (3, 4, 1, CLIPS, 0)
    assert [Path(failure.path).name for failure in first.failed] == ["broken.wav"]
    assert first.formats == {"wav pcm_s16le": 2, "flac flac": 1}
    (audio / "b.flac").rename(audio / "more" / "moved.flac")
    (audio / "more" / "long.wav").unlink()
    (audio / "more" / "long.wav").symlink_to(audio / "nowhere.wav")
    assert index_statistics(store).missing == 2
    index([audio], store, mini)
    assert told().missing == 1 and store.cache_get("statistics")
    shutil.rmtree(audio / "more")
    assert index_statistics(store).missing == 2
    index([audio], store, mini, prune=True, prune_all=True)
    assert (told().recordings, told().missing) == (1, 0)


def test_copies_with_different_metadata_settle(store, audio, mini, tmp_path):
    shutil.copy(audio / "a.wav", audio / "copy.wav")
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text("path,speaker\naudio/a.wav,Anna\naudio/copy.wav,Copy\n")
    settled = []
    for _ in range(3):
        index([audio], store, mini, read_metadata(catalogue))
        found = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
        settled.append((found.get("a.wav"), found.get("copy.wav")))  # one of them, whichever was read first
    assert settled in ([({"speaker": "Anna"}, None)] * 3, [(None, {"speaker": "Copy"})] * 3)


@pytest.mark.parametrize("name", ["talk [live] :smile: [b].wav", "-leading dash.wav", "ümlaut 슬픈.wav", "UPPER.WAV"])
def test_file_names_are_kept_as_they_are(store, tmp_path, mini, name):
    (tmp_path / "audio").mkdir()
    write_sound(tmp_path / "audio" / name, voice(1.0))
    assert index([tmp_path / "audio"], store, mini).indexed == 1
    assert list(stored(store)) == [name]


def test_a_name_that_is_not_utf8_is_a_failure_and_the_rest_goes_on(store, audio, mini):
    shutil.copy(audio / "a.wav", os.fsencode(audio) + b"/caf\xe9.wav")
    report = index([audio], store, mini)
    assert report.indexed == 3
    assert report.failed[0].path.endswith("caf\\xe9.wav") and "UTF-8" in report.failed[0].reason


def test_samples_far_beyond_full_scale_and_pipes_are_failures(store, audio, mini):
    samples = voice(1.0)
    samples[100] = 1e25
    write_sound(audio / "huge.wav", samples, codec="pcm_f32le")
    os.mkfifo(audio / "pipe.wav")
    report = index([audio], store, mini)
    assert report.indexed == 3
    assert {Path(failure.path).name for failure in report.failed} == {"huge.wav", "pipe.wav"}


def test_paths_with_dots_and_paths_that_are_gone(store, audio, mini, tmp_path):
    index([audio], store, mini)
    (audio / "a.wav").unlink()
    assert index([audio / ".." / "audio"], store, mini, prune=True).removed == 1
    report = index([audio, tmp_path / "nowhere"], store, mini)
    assert (report.unchanged, [failure.reason for failure in report.failed]) == (2, ["there is no such file or folder"])
    shutil.rmtree(audio)
    report = index([audio], store, mini)
    assert report.missing == 2
    kept = "there is no such file or folder; what the index holds of it is kept"
    assert [failure.reason for failure in report.failed] == [kept]
    assert index([audio], store, mini, prune=True).removed == 0
    assert index([audio], store, mini, prune=True, prune_all=True).removed == 2
    assert store.count() == 0


def test_a_walk_that_was_wholly_known_is_not_looked_into_again(store, audio, mini, monkeypatch):
    (audio / "broken.wav").write_bytes(b"no sound")
    first = index([audio], store, mini)
    with monkeypatch.context() as patched:
        patched.setattr("voxdex.indexer.index.Catalog", None)
        again = index([audio], store, mini)
        assert (again.recordings, again.unchanged, again.failed) == (4, 3, first.failed) and len(again.failed) == 1
    assert index([audio / "more"], store, mini).unchanged == 1
    os.utime(audio / "a.wav", ns=(1, 1))
    assert index([audio], store, mini).unchanged == 3
    write_sound(audio / "c.wav", voice(2.0, 130))
    assert index([audio], store, mini).indexed == 1
    (audio / "c.wav").unlink()
    assert [index([audio], store, mini).missing for _ in range(2)] == [1, 1]
    assert index([audio], store, mini, prune=True).removed == 1
    assert index([audio], store, mini, read_metadata_of(audio)).unchanged == 3
    assert {payload["metadata"].get("speaker") for payload in store.payloads("clip", ["metadata"])} == {None, "Anna"}


def read_metadata_of(audio: Path):
    (audio.parent / "sheet.csv").write_text("path,speaker\na.wav,Anna\n")
    return read_metadata(audio.parent / "sheet.csv")


def test_a_run_killed_between_new_and_old_content_is_put_right(store, audio, mini):
    index([audio], store, mini)
    keys = ("recording", "files", "metadata", "failure")
    before = next(p for p in store.payloads("recording", keys) if p["recording"].endswith("a.wav"))
    write_sound(audio / "a.wav", voice(4.0, 90))
    index([audio], store, mini)
    (vector,) = mini.embed_speech([voice(1.0)])
    clip = {"kind": "clip", "recording": before["recording"], "content": "old", "start": 0.0, "end": 2.0}
    old = before | {"kind": "recording", "content": "old"}
    store.upsert([Point(str(uuid.uuid4()), vector, clip), Point(str(uuid.uuid4()), None, old)])
    assert index([audio], store, mini).unchanged == 3
    assert stored(store)["a.wav"] == [(0.0, pytest.approx(4.0, abs=0.01))]


def test_an_index_whose_optimising_was_killed_is_optimised_by_the_next_run(store, audio, mini, monkeypatch):
    def killed(self: EdgeStore) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(EdgeStore, "optimise", killed)
        index([audio], store, mini)
    seen = []
    for _ in range(2):
        assert index([audio], store, mini, on_progress=seen.append).unchanged == 3
    assert [progress.optimising for progress in seen] == [True]


@pytest.mark.parametrize("most_indexed", [2, 1000])
def test_fields_of_a_run_that_was_stopped_can_be_asked_for_before_and_after_the_next_run(
    tmp_path, store, audio, mini, monkeypatch, most_indexed
):
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", most_indexed)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    def asked() -> tuple[int, dict[str, int]]:
        where = parse_filter("speaker=Anna and duration>1.5 and pitch_hz<150")
        return len(store.query(np.ones(mini.card.dimension, np.float32), 10, where)), store.facet("speaker")

    with pytest.raises(KeyboardInterrupt):
        index([audio], store, mini, read_metadata_of(audio), on_progress=stop)
    schema = store.schema()
    assert {"start", "recording", "attributes.gender", "metadata.speaker"} < schema.keys()
    for _ in range(3):
        store.close()
        with EdgeStore.open(tmp_path / "index") as store:
            assert asked() == (1, {"Anna": 1}) and store.schema() == schema
            assert index([audio], store, mini).unchanged == 3


def test_metadata_that_comes_later_can_be_asked_for(store, audio, mini):
    index([audio], store, mini)
    for _ in range(2):
        assert index([audio], store, mini, read_metadata_of(audio)).unchanged == 3
        assert store.facet("speaker") == {"Anna": 1}


def test_sheets_name_recordings_by_the_ends_of_their_paths(tmp_path):
    for folder in ("tapes/one", "tapes/two"):
        (tmp_path / "archive" / folder).mkdir(parents=True)
    recordings = [
        str(tmp_path / "archive" / name) for name in ("tapes/one/1.wav", "tapes/two/1.wav", "tapes/two/2.wav", "3.wav")
    ]
    for recording in recordings:
        Path(recording).touch()
    sheet = tmp_path / "sheets" / "people.csv"
    sheet.parent.mkdir()
    rows = {
        "tapes/one/1.wav": "anna",
        "./two/1.wav": "ben",
        "2.wav": "cleo",
        "3": "dora",
        "other/3.wav": "none",
        "../3.wav": "none",
    }
    sheet.write_text("\n".join(["path,speaker", *map(",".join, rows.items())]))
    found = read_metadata(sheet)
    assert [found.of(recording)["speaker"] for recording in recordings] == ["anna", "ben", "cleo", "dora"]
    assert len(found.unmatched(recordings)) == 2 and not found.without_row(recordings)
    assert found.of("s3://bucket/tapes/one/1.wav")["speaker"] == "anna" and found.of("/tapes/5.wav") is None
    (tmp_path / "sheets" / "2.wav").touch()
    assert read_metadata(sheet).of(recordings[2]) is None


def test_sheets_may_hold_any_character(store, audio, mini, tmp_path):
    first = next(path for path in sorted(audio.iterdir()) if path.is_file())
    line = {"path": str(first), "note": "one\u2028two\u0085three", "half": "a\ud800b", "nul\x00": "c\x00d", "other": "e\u2029f"}
    (tmp_path / "sheet.jsonl").write_bytes(f"{json.dumps(line, ensure_ascii=False)}\r\n".encode("utf-8", "backslashreplace"))
    (tmp_path / "sheet.csv").write_text(f"path,half,nul\x00\n{first},a\x00b,c\x00d\n")
    known = read_metadata(tmp_path / "sheet.jsonl").of(str(first))
    assert known == {"note": "one\u2028two\u0085three", "half": "a�b", "nul�": "c�d", "other": "e\u2029f"}
    assert read_metadata(tmp_path / "sheet.csv").of(str(first)) == {"half": "a�b", "nul�": "c�d"}
    assert not index([audio], store, mini, read_metadata(tmp_path / "sheet.jsonl")).failed
    assert store.facet("half") == {"a�b": 1}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"empty{ending}", b"") for ending in (".csv", ".jsonl", ".xlsx")),
        *((f"bytes{ending}", bytes(range(128, 256))) for ending in (".csv", ".jsonl", ".xlsx")),
        ("deep.jsonl", b"[" * 100_000),
        ("list.jsonl", b"[1]"),
        ("digits.jsonl", b'{"path": ' + b"1" * 5000 + b"}"),
    ],
)
def test_sheets_that_are_none_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MetadataError, match=name):
        read_metadata(tmp_path / name)


@pytest.mark.parametrize("content", ["", "file,speaker\na.wav,Anna\n", "path,x\n\xff", "x,path\n1\n", 'path,"a""b"\nx,1\n'])
def test_metadata_that_cannot_be_used_is_refused(tmp_path, content):
    (tmp_path / "bad.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(MetadataError, match=r"bad\.csv"):
        read_metadata(tmp_path / "bad.csv")


@pytest.mark.parametrize("seconds", [0.01, 9.99, 10.0, 10.01, 19.0, 19.01, 61.7])
def test_windows_cover_all_and_are_never_too_long(seconds):
    samples = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32)
    clips = list(Windows(np.array_split(samples, 7), 10.0))
    assert all(clip.end - clip.start <= 10.0 for clip in clips)
    covered = np.zeros(len(samples), bool)
    for clip in clips:
        first = round(clip.start * SAMPLE_RATE)
        assert np.array_equal(clip.samples, samples[first : first + len(clip.samples)])
        covered[first : first + len(clip.samples)] = True
    assert covered.all()
    assert len(clips) == max(1, int(np.ceil(round((seconds - 1) / 9, 6))))
