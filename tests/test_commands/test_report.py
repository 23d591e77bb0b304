"""The command report: a row for each recording, and sidecars."""

import csv
import json

import openpyxl
import pytest

from tests.fakes.sounds import voice, write_sound


@pytest.fixture
def archive(voxdex, four_recordings):
    """An index of two men, two women, a copy, a broken file, and silence, with metadata."""
    (four_recordings / "copy.wav").write_bytes((four_recordings / "0.wav").read_bytes())
    (four_recordings / "broken.wav").write_bytes(b"nonsense" * 99)
    write_sound(four_recordings / "silence.wav", 0 * voice(3.0, 100))
    (four_recordings / "people.csv").write_text("path,speaker\n0.wav,=2+3\n1.wav,Ben\n")
    voxdex("index", four_recordings, "--metadata", four_recordings / "people.csv")
    return four_recordings


def test_a_row_for_each_recording(voxdex, archive, tmp_path):
    done = voxdex("report", tmp_path / "all.csv", "--share", "pitch")
    assert done.status == 0 and "6 recordings: 4 ok, 1" in done.err, done.err
    rows = {row["path"].rsplit("/", 1)[1]: row for row in csv.DictReader((tmp_path / "all.csv").open())}
    assert set(rows) >= {"1.wav", "2.wav", "3.wav", "broken.wav", "silence.wav"} and len(rows) == 6
    original = rows.get("0.wav") or rows["copy.wav"]
    assert original["copies"] == "1" and rows["1.wav"]["metadata.speaker"] == "Ben"
    assert rows["broken.wav"]["status"] == "failed" and "not audio" in rows["broken.wav"]["reason"]
    assert rows["silence.wav"]["status"] == "no speech" and rows["silence.wav"]["pitch"] == ""
    assert rows["1.wav"]["pitch"] == "low" and float(rows["1.wav"]["pitch: low"]) == 1
    assert float(rows["3.wav"]["pitch: low"]) == 0 and float(rows["3.wav"][f"pitch: {rows['3.wav']['pitch']}"]) == 1
    assert float(rows["1.wav"]["pitch_hz"]) == pytest.approx(110, rel=0.1) and float(rows["1.wav"]["seconds"]) == 1.5


def test_workbooks_hold_no_formulas(voxdex, archive, tmp_path):
    assert voxdex("report", tmp_path / "all.xlsx").status == 0
    sheet = openpyxl.load_workbook(tmp_path / "all.xlsx").active
    header, *rows = sheet.iter_rows()
    column = [cell.value for cell in header].index("metadata.speaker")
    [cell] = [row[column] for row in rows if row[column].value == "=2+3"]
    assert cell.data_type == "s" and len(rows) == 6


def test_sidecars(voxdex, archive, tmp_path):
    before = {path: path.read_bytes() for path in archive.iterdir()}
    assert voxdex("report", "--sidecars").status == 0
    assert {path: path.read_bytes() for path in before} == before
    sidecar = json.loads((archive / "3.wav.voxdex.json").read_text())
    assert sidecar["recording"]["pitch"] == "high" and len(sidecar["clips"]) == 1
    assert sidecar["clips"][0]["attributes"]["pitch"] == "high"
    assert voxdex("index", archive, "--json").json["indexed"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give a file to write, or --sidecars or --json"),
        (("out.doc",), "must end with .csv or .jsonl or .xlsx"),
        (("/no/folder/out.csv",), "There is no folder /no/folder"),
        (("out.csv", "--share", "mood"), "The index has no predicted attribute 'mood'; it has: "),
    ],
)
def test_wrong_use(voxdex, archive, arguments, words):
    refused = voxdex("report", *arguments)
    assert refused.status == 2 and words in " ".join(refused.err.split())
