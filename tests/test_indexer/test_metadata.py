"""Metadata tables, and metadata of recordings over several runs."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.archives import index_paths, metadata_by_name, without_empty, write_sheet, write_speaker_sheet
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.tables import TableError
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.report import Progress
from voxdex.indexer.store.base import MOST_TAGS
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter


def test_metadata_is_kept_by_a_run_without_a_table(store, five_recordings, mini):
    index_paths([five_recordings], store, mini, write_sheet(five_recordings, "a.wav,Anna,1999", "b.wav,Bert,2001"))
    expected = {"a.wav": {"speaker": "Anna", "year": 1999.0}, "b.wav": {"speaker": "Bert", "year": 2001.0}}
    write_sound(five_recordings / "a.wav", voice(3.0, 130))
    os.utime(five_recordings / "b.wav", (1, 1))
    assert index_paths([five_recordings], store, mini).indexed == 1
    assert (
        {name: said for name, said in metadata_by_name(store).items() if said}
        == expected
        == without_empty(metadata_by_name(store, "recording"))
    )


def test_metadata_is_kept_when_phonetic_embeddings_are_added(voxdex, five_recordings, tmp_path):
    write_sheet(five_recordings, "a.wav,Anna,1999", "b.wav,Bert,2001")
    voxdex("index", five_recordings, "--metadata", five_recordings / "sheet.csv")
    added = voxdex("index", five_recordings, "--phonetic", "--json")
    assert added.status == 0 and added.json["indexed"] == 5
    hits = voxdex("search", "a voice", "--where", "speaker=Anna and year<2000", "--json").json["hits"]
    assert [Path(hit["recording"]).name for hit in hits] == ["a.wav"]


def test_metadata_follows_moved_and_copied_recordings(store, five_recordings, mini):
    shutil.copy(five_recordings / "a.wav", five_recordings / "copy.wav")
    shutil.copy(five_recordings / "c.wav", five_recordings / "copied.wav")
    index_paths(
        [five_recordings],
        store,
        mini,
        write_sheet(five_recordings, "a.wav,Anna,1999", "copy.wav,Bert,2001", "c.wav,Carl,1970", "d.wav,Dora,1980"),
    )
    (five_recordings / "d.wav").rename(five_recordings / "moved.wav")
    for name in "ac":
        (five_recordings / f"{name}.wav").unlink()
    index_paths([five_recordings], store, mini, prune=True)
    speakers = {name: said.get("speaker") for name, said in metadata_by_name(store).items()}
    assert speakers == {"b.wav": None, "copied.wav": "Carl", "copy.wav": "Bert", "e.wav": None, "moved.wav": "Dora"}


def test_metadata_of_recordings_that_failed(store, five_recordings, mini):
    good = (five_recordings / "a.wav").read_bytes()
    (five_recordings / "a.wav").write_bytes(b"no sound" * 100)
    index_paths([five_recordings], store, mini, write_sheet(five_recordings, "a.wav,Anna,1999"))
    assert metadata_by_name(store, "recording")["a.wav"] == {"speaker": "Anna", "year": 1999.0}
    (five_recordings / "a.wav").write_bytes(b"nothing yet" * 100)
    assert len(index_paths([five_recordings], store, mini).failed) == 1
    (five_recordings / "a.wav").write_bytes(good)
    assert index_paths([five_recordings], store, mini).failed == []
    assert metadata_by_name(store)["a.wav"] == {"speaker": "Anna", "year": 1999.0}


def test_a_corrected_table_is_followed(store, five_recordings, mini):
    index_paths(
        [five_recordings],
        store,
        mini,
        write_sheet(five_recordings, "a.wav,Anna,1999", "b.wav,Bert,ca. 1950", "c.wav,Carl,1970"),
    )
    assert store.schema()["metadata.year"] == "text"
    index_paths([five_recordings], store, mini, write_sheet(five_recordings, "a.wav,Ann,", "b.wav,,1950"))
    assert without_empty(metadata_by_name(store)) == {"a.wav": {"speaker": "Ann"}, "b.wav": {"year": 1950.0}}
    assert store.schema()["metadata.year"] == "number"
    [hit] = store.query(np.ones(mini.card.dimension, np.float32), 99, parse_filter("year<1960"))
    assert hit.payload["metadata"] == {"year": 1950.0}
    index_paths([five_recordings], store, mini, write_sheet(five_recordings, "a.wav,Ann,", "b.wav,Bert,"))
    assert "metadata.year" not in store.schema() and store.schema()["metadata.speaker"] == "text"


def test_kinds_of_columns_hold_for_the_recordings_of_all_tables(store, five_recordings, mini):
    for name in "ab":
        (five_recordings / name).mkdir()
        shutil.move(five_recordings / f"{name}.wav", five_recordings / name)
    index_paths([five_recordings / "a"], store, mini, write_sheet(five_recordings, "a.wav,Anna,1999"))
    index_paths([five_recordings / "b"], store, mini, write_sheet(five_recordings, "b.wav,Bert,unknown"))
    assert without_empty(metadata_by_name(store)) == {
        "a.wav": {"speaker": "Anna", "year": "1999"},
        "b.wav": {"speaker": "Bert", "year": "unknown"},
    }
    index_paths([five_recordings / "b"], store, mini, write_sheet(five_recordings, "b.wav,Bert,2001"))
    assert without_empty(metadata_by_name(store))["a.wav"] == {"speaker": "Anna", "year": 1999.0}
    [hit] = store.query(np.ones(mini.card.dimension, np.float32), 99, parse_filter("year>2000"))
    assert hit.payload["metadata"]["speaker"] == "Bert"


def test_metadata_is_updated_without_embedding(store, three_recordings, mini, tmp_path):
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text("path,speaker,age\naudio/a.wav,Anna,63\naudio/b.flac,Ben,\n")
    index_paths([three_recordings], store, mini, read_metadata(catalogue))
    found = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
    assert found == {"a.wav": {"speaker": "Anna", "age": 63.0}, "b.flac": {"speaker": "Ben"}, "long.wav": {}}
    catalogue.write_text("path,speaker\naudio/a.wav,Annegret\n")
    report = index_paths([three_recordings], store, mini, read_metadata(catalogue))
    assert (report.unchanged, report.stages.embed) == (3, 0.0)
    found = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
    assert found["a.wav"] == {"speaker": "Annegret"} and found["b.flac"] == {}
    assert report.unmatched_metadata == 0


def test_unusual_metadata_tables(store, three_recordings, mini, tmp_path):
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text(
        "path,tape number,rec.date,shelf,score,duration\naudio/a.wav,7,2001,0012,nan,long\nother.wav,1,2,3,4,5\n"
    )
    report = index_paths([three_recordings], store, mini, read_metadata(catalogue))
    assert report.unmatched_metadata == 1 and not report.failed

    def found(text):
        hits = store.query(np.ones(mini.card.dimension, np.float32), 99, parse_filter(text))
        return {Path(hit.payload["recording"]).name for hit in hits}

    for text in ("tape number=7", "tape number>5", "rec.date=2001", "shelf=0012", "score=nan", "duration=long"):
        assert found(text) == {"a.wav"}, text
    assert found("shelf!=0012") == {"b.flac", "long.wav"}


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1950", "-2.5"], "number", [1950.0, -2.5]),
        (["3,5", "1950"], "number", [3.5, 1950.0]),
        (["1,500", "2"], "text", ["1,500", "2"]),
        (["0012", "7"], "text", ["0012", "7"]),
        (["2019-05-31", "2019-06-01"], "date", ["2019-05-31", "2019-06-01"]),
        (["31.5.2019", "1.06.2019"], "date", ["2019-05-31", "2019-06-01"]),
        (["31/05/2019", "01/06/2019"], "date", ["2019-05-31", "2019-06-01"]),
        (["05/31/2019", "06/01/2019"], "date", ["2019-05-31", "2019-06-01"]),
        (["04/05/2019", "06/01/2019"], "text", ["04/05/2019", "06/01/2019"]),
        (["2019/5/31", "2019/06/01"], "date", ["2019-05-31", "2019-06-01"]),
        (["31 May 2019", "1 Jun 2019"], "date", ["2019-05-31", "2019-06-01"]),
        (["31.5.2019", "unknown"], "text", ["31.5.2019", "unknown"]),
    ],
)
def test_kinds_of_columns(tmp_path, cells, kind, values):
    (tmp_path / "sheet.csv").write_text("path;x\n" + "".join(f"{i}.wav;{cell}\n" for i, cell in enumerate(cells)))
    read = read_metadata(tmp_path / "sheet.csv")
    assert (read.kinds, [row["x"] for row in read.rows.values()]) == ({"x": kind}, values)


def test_dates_of_workbooks(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl comes with the excel extra")
    book = openpyxl.Workbook()
    for row in (("Path", "Recorded"), ("a.wav", datetime(2019, 5, 31)), ("b.wav", datetime(2019, 6, 1))):
        book.active.append(row)
    book.save(tmp_path / "sheet.xlsx")
    read = read_metadata(tmp_path / "sheet.xlsx")
    assert read.kinds == {"Recorded": "date"} and read.of("/audio/a.wav") == {"Recorded": "2019-05-31"}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_encodings(tmp_path, separator, encoding):
    lines = [["PATH ", "speaker", "a note"], [" Jürgen.wav", "Jürgen  Müller ", ' "x' + separator + 'y" '], ["b.wav", "", ""]]
    (tmp_path / "sheet.csv").write_bytes("\r\n".join(map(separator.join, lines)).encode(encoding))
    read = read_metadata(tmp_path / "sheet.csv")
    assert read.of("/archive/Jürgen.wav") == {"speaker": "Jürgen  Müller", "a note": f"x{separator}y"}
    assert read.of("/archive/Ju\u0308rgen.wav") == read.of("/archive/Jürgen.wav")  # as macOS writes it
    assert read.of("/archive/b.wav") == {}


def test_what_a_table_lacks_is_said(tmp_path):
    (tmp_path / "sheet.csv").write_bytes("path,speaker\na.wav,Müller\n".encode("cp1252"))
    with pytest.raises(TableError, match=r"line 2 is not in UTF-8 \(byte fc\)"):
        read_metadata(tmp_path / "sheet.csv")
    (tmp_path / "sheet.csv").write_text("filename;speaker\na.wav;Anna\n")
    with pytest.raises(TableError, match="has no column 'path' that names the recordings; it has: filename, speaker"):
        read_metadata(tmp_path / "sheet.csv")


def test_every_path_of_a_content_is_found(store, three_recordings, mini, tmp_path):
    (three_recordings / "tapes").mkdir()
    shutil.copy(three_recordings / "a.wav", three_recordings / "tapes" / "Ju\u0308rgen 1.wav")
    index_paths([three_recordings], store, mini)

    def found(text):
        hits = store.query(np.ones(mini.card.dimension, np.float32), 99, parse_filter(text))
        return {Path(hit.payload["recording"]).name for hit in hits}

    first, other = found("path~a.wav"), found("path~tapes/*")
    assert first == other and len(first) == 1
    assert found("path~jürgen") == found('path~"jürgen ?.wav"') == found("path~tapes*1.wav") == first
    full = three_recordings / "tapes" / "Ju\u0308rgen 1.wav"
    assert found(f'path="{full}"') == found(f"path={three_recordings / 'a.wav'}") == first
    assert found("path~a.wav*1.wav") == found("path~tapes*a.wav") == set()  # parts of different paths
    assert found("not path~tapes") == {"b.flac", "long.wav"}
    (three_recordings / "tapes" / "Ju\u0308rgen 1.wav").unlink()
    index_paths([three_recordings], store, mini, prune=True)
    assert found("path~tapes") == set() and found("path~a.wav") == {"a.wav"}


def test_only_common_tags_have_an_index(store, three_recordings, mini):
    fields = {f"tags.name{i}": "text" for i in range(100)}
    store.ensure_fields(fields)
    assert fields.keys() <= store.schema().keys()
    index_paths([three_recordings], store, mini)
    [deferred] = (json.loads(file.read_text()) for file in store.folder.glob("shard-*/fields.json"))
    assert len(fields.keys() - deferred.keys()) == MOST_TAGS
    assert store.query(np.ones(mini.card.dimension, np.float32), 9, parse_filter("name99=x")) == []


def test_copies_with_different_metadata(store, three_recordings, mini, tmp_path):
    shutil.copy(three_recordings / "a.wav", three_recordings / "copy.wav")
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text("path,speaker\naudio/a.wav,Anna\naudio/copy.wav,Copy\n")
    settled = []
    for _ in range(3):
        index_paths([three_recordings], store, mini, read_metadata(catalogue))
        found = {Path(p["recording"]).name: p["metadata"] for p in store.payloads("clip", ["recording", "metadata"])}
        settled.append((found.get("a.wav"), found.get("copy.wav")))  # one of them, whichever was read first
    assert settled in ([({"speaker": "Anna"}, None)] * 3, [(None, {"speaker": "Copy"})] * 3)


@pytest.mark.parametrize("most_indexed", [2, 1000])
def test_fields_of_a_stopped_run_can_be_filtered(tmp_path, store, three_recordings, mini, monkeypatch, most_indexed):
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", most_indexed)

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    def asked() -> tuple[int, dict[str, int]]:
        where = parse_filter("speaker=Anna and duration>1.5 and pitch_hz<150")
        return len(store.query(np.ones(mini.card.dimension, np.float32), 10, where)), store.facet("speaker")

    with pytest.raises(KeyboardInterrupt):
        index_paths([three_recordings], store, mini, write_speaker_sheet(three_recordings), on_progress=stop)
    schema = store.schema()
    assert {"start", "recording", "attributes.gender", "metadata.speaker"} < schema.keys()
    for _ in range(3):
        store.close()
        with EdgeStore.open(tmp_path / "index") as store:
            assert asked() == (1, {"Anna": 1}) and store.schema() == schema
            assert index_paths([three_recordings], store, mini).unchanged == 3


def test_metadata_added_later_can_be_filtered(store, three_recordings, mini):
    index_paths([three_recordings], store, mini)
    for _ in range(2):
        assert index_paths([three_recordings], store, mini, write_speaker_sheet(three_recordings)).unchanged == 3
        assert store.facet("speaker") == {"Anna": 1}


def test_tables_name_recordings_by_the_ends_of_their_paths(tmp_path):
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


def test_tables_may_contain_any_character(store, three_recordings, mini, tmp_path):
    first = next(path for path in sorted(three_recordings.iterdir()) if path.is_file())
    line = {"path": str(first), "note": "one\u2028two\u0085three", "half": "a\ud800b", "nul\x00": "c\x00d", "other": "e\u2029f"}
    (tmp_path / "sheet.jsonl").write_bytes(f"{json.dumps(line, ensure_ascii=False)}\r\n".encode("utf-8", "backslashreplace"))
    (tmp_path / "sheet.csv").write_text(f"path,half,nul\x00\n{first},a\x00b,c\x00d\n")
    known = read_metadata(tmp_path / "sheet.jsonl").of(str(first))
    assert known == {"note": "one\u2028two\u0085three", "half": "a�b", "nul�": "c�d", "other": "e\u2029f"}
    assert read_metadata(tmp_path / "sheet.csv").of(str(first)) == {"half": "a�b", "nul�": "c�d"}
    assert not index_paths([three_recordings], store, mini, read_metadata(tmp_path / "sheet.jsonl")).failed
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
def test_unreadable_tables_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=name):
        read_metadata(tmp_path / name)


@pytest.mark.parametrize("content", ["", "file,speaker\na.wav,Anna\n", "path,x\n\xff", "x,path\n1\n", 'path,"a""b"\nx,1\n'])
def test_invalid_tables_are_refused(tmp_path, content):
    (tmp_path / "bad.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(TableError, match=r"bad\.csv"):
        read_metadata(tmp_path / "bad.csv")
