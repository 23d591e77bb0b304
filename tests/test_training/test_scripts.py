"""Scripts that prepare corpora: CREMA-D, prepare, vocoder edits and WordNet texts."""

import csv
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.scripts.corpora import read_corpus
from voxdex.encoders.training.scripts.distil import caption_texts, wordnet_texts
from voxdex.encoders.training.scripts.transcripts import is_open, split_rows


def test_vocoder_edits():
    pytest.importorskip(
        "voxdex.encoders.training.scripts.vocoder_edits",
        reason="pyworld comes with the train and test extras, and needs a C++ compiler to install",
    )
    from voxdex.encoders.training.scripts.vocoder_edits import EDITS, analyse, synthesise

    original = voice(2.0, 130)
    analysis = analyse(original)
    rng = np.random.default_rng(0)

    def edited(name):
        return synthesise(EDITS[name].apply(analysis, rng))

    def median_f0(sound):
        f0 = analyse(sound).f0
        return np.median(f0[f0 > 0]) if (f0 > 0).mean() > 0.3 else 0

    before = median_f0(original)
    assert before == pytest.approx(130, rel=0.1)
    assert median_f0(edited("deeper")) < 0.85 * before
    assert median_f0(edited("higher")) > 1.2 * before
    assert median_f0(edited("whispered")) == 0
    assert len(edited("slow")) > 1.3 * len(original) > 1.3 * 1.3 * len(edited("fast"))
    assert all(np.abs(edited(name)).max() <= 0.71 for name in EDITS)


def crema_d(folder: Path, demo_archive: Path) -> Path:
    """A folder in the layout of CREMA-D, with two clips."""
    (folder / "AudioWAV").mkdir(parents=True)
    for name in ("1002_DFA_SAD_HI.wav", "1003_IEO_NEU_XX.wav"):
        shutil.copy(demo_archive / "anna-1.wav", folder / "AudioWAV" / name)
    actors = "ActorID,Age,Sex,Race,Ethnicity\n1002,51,Female,,\n1003,21,Male,,\n"
    (folder / "VideoDemographics.csv").write_text(actors)
    return folder


def test_read_crema_d(demo_archive, tmp_path):
    sad, neutral = read_corpus(crema_d(tmp_path, demo_archive))
    assert (sad["speaker"], sad["gender"], sad["age"]) == ("crema-d-1002", "female", "middle-aged")
    assert (sad["emotion"], sad["intensity"], sad["licence"]) == ("sad", "strong", "ODbL 1.0")
    assert (neutral["emotion"], neutral["intensity"], neutral["age"]) == ("neutral", "", "young")
    (tmp_path / "AudioWAV" / "1002_XXX.wav").touch()
    with pytest.raises(ManifestError, match=r"1002_XXX\.wav is not named as CREMA-D's clips are"):
        read_corpus(tmp_path)


def test_prepare_refuses_a_folder_without_labels(tmp_path):
    from voxdex.encoders.training.scripts.prepare import main as prepare

    done = CliRunner().invoke(prepare, [str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1 and "has neither a clips.csv" in done.output


def test_prepare_measures_edits_and_splits_by_speaker(demo_archive, tmp_path, monkeypatch):
    pytest.importorskip(
        "voxdex.encoders.training.scripts.vocoder_edits",
        reason="pyworld comes with the train and test extras, and needs a C++ compiler to install",
    )
    from voxdex.encoders.training.annotate.acoustics import measure
    from voxdex.encoders.training.scripts.prepare import main as prepare

    votes = "ann1: clear, very raspy || ann2: slightly clear, raspy || ann3: calm"
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("path dataset licence speaker gender age emotion intensity style duration".split())
        for name in ("edgar-1.opus", "anna-1.wav", "bella-1.flac"):
            writer.writerow([demo_archive / name, "librispeech-libritts-p", "CC BY 4.0", name, "", "", "", "", votes, 2.0])
        writer.writerow([demo_archive / "julia-monotone-1.mp3", "vctk", "CC BY 4.0", "p1", "female", "22", "", "", "", 2.0])
        for licence in ("demo page: evaluation only", "licence unknown: evaluation only"):
            writer.writerow(["demo.wav", "demo", licence, "d", "", "", "", "", "", 2.0])
        write_sound(tmp_path / "long.wav", np.concatenate([voice(9.0, 100, 1), voice(9.0, 190, 2)]))
        writer.writerow([tmp_path / "long.wav", "reader", "none", "l", "", "", "", "", "", 18.0])
    arguments = [tmp_path, "--add", crema_d(tmp_path / "crema-d", demo_archive), "--out", tmp_path / "out", "--edits", 2]
    done = CliRunner().invoke(prepare, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    real, stretches, acted, edits = rows[:4], rows[4:7], rows[7], rows[9:]
    assert [row["duration"] for row in stretches] == ["6.00"] * 3 and {row["speaker"] for row in stretches} == {"l"}
    assert [stretches[i]["pitch"] for i in (0, 2)] == ["low", "medium"]
    assert all(float(row["pitch_hz"]) > 0 and float(row["syllables_per_second"]) > 0 for row in real + stretches)
    assert (acted["dataset"], acted["gender"], acted["split"]) == ("crema-d", "female", "train")
    assert (acted["emotion"], acted["intensity"]) == ("sad", "strong")
    assert {row["age"] for row in real} == {""}
    assert [row["pitch"] for row in real] == ["low", "medium", "high", "medium"]
    assert [row["split"] for row in real] == ["train", "train", "train", "valid"]
    assert (real[0]["clarity"], real[0]["texture"], real[0]["style"]) == ("clear", "rough", "")
    assert "calm" not in real[0]["style_not"] and "wild" in real[0]["style_not"]
    assert real[0]["emotion"] == "neutral|calm" and real[3]["phonation"] == "modal"
    assert len(edits) == 18 and {row["split"] for row in edits if row["speaker"] == "p1"} <= {"valid"}
    whispered = next(row for row in edits if row["dataset"] == "edit-whispered")
    assert (whispered["phonation"], whispered["pitch"], whispered["emotion"]) == ("whispered", "", "")
    assert all(Path(row["path"]).exists() for row in rows)

    manifest, journal = tmp_path / "out" / "manifest.csv", tmp_path / "out" / "measured.jsonl"
    whole, lines = manifest.read_bytes(), journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:30])  # of an interrupted run: three recordings, and half of one
    measured = []
    monkeypatch.setattr(
        "voxdex.encoders.training.scripts.prepare.measure", lambda samples: measured.append(samples) or measure(samples)
    )
    assert CliRunner().invoke(prepare, [str(argument) for argument in arguments], catch_exceptions=False).exit_code == 0
    assert manifest.read_bytes() == whole and journal.read_bytes() == b"".join(lines)
    assert len(measured) == len(rows) - len(edits) - 3


def test_wordnet_texts_and_captions(tmp_path):
    entry = '00001740 00 a 02 sad 0 sorrowful(p) 0 000 | feeling grief; "a sad smile"'
    for part in ("adj", "adv", "noun", "verb"):
        (tmp_path / f"data.{part}").write_text("  1 a licence line\n")
    (tmp_path / "data.adj").write_text(f"  1 a licence line\n{entry}\n{entry.replace(' 00 a', ' 44 a')}\n")
    texts, adjectives = wordnet_texts(tmp_path)
    assert texts == ["sad", "sorrowful", "sad: feeling grief", "a sad smile"] and adjectives == ["sad", "sorrowful"]
    captions = caption_texts(1500, adjectives, random.Random(0))
    assert len(captions) == 1500 and any("sorrowful" in caption for caption in captions)


def test_transcripts_hold_out_speakers_and_sentences():
    rows = [
        {"path": f"{speaker}{i}", "speaker": speaker, "transcript": f"Sentence number {i}!"}
        for speaker in "ab"
        for i in range(200)
    ]
    rows += [{"path": "b-own", "speaker": "b", "transcript": "only she says this"}]
    found = split_rows(rows, {"b"})
    tested = {row["transcript"] for row in found if row["split"] == "test"}
    trained = {row["transcript"] for row in found if row["split"] == "train"}
    assert "only she says this" in tested and 10 < len(tested) < 50 and not tested & trained
    assert {row["speaker"] for row in found if row["split"] == "train"} == {"a"}
    assert is_open("CC0 1.0") and not is_open("CC BY-NC-SA 4.0") and not is_open("not stated")
