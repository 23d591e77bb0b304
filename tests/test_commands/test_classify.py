"""The command classify."""

import csv

import numpy as np
import pytest

from tests.fakes.sounds import write_sound


def test_classify_folders_and_indexes(here, takes, tmp_path):
    saved = tmp_path / "answers.csv"
    done = here("classify", tmp_path, "--attribute", "gender", "--min-probability", "0.5", "--save", saved, "--json")
    assert done.status == 0 and len(done.json["results"]) == 3
    rows = list(csv.DictReader(saved.open()))
    assert {row["gender.label"] for row in rows} <= {"female", "male"}
    assert here("index", tmp_path).status == 0
    indexed = here("classify", "--indexed", "--attribute", "gender", "--json").json["results"]
    assert {clip["recording"]: clip["gender"]["label"] for clip in indexed} == {
        clip["recording"]: clip["gender"]["label"] for clip in done.json["results"]
    }
    sure = here("classify", takes[0], "--attribute", "gender", "--min-probability", "1", "--json")
    assert sure.json["results"][0]["gender"]["label"] == "unsure"


def test_confusion_with_true_labels(here, takes, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("path,pitch,mood\nlow.wav,low,x\nhigh.wav,high,y\nmiddle.wav,,\n")
    done = here("classify", *takes, "--attribute", "pitch", "--truth", truth)
    assert done.status == 0 and "pitch: true \\ predicted" in done.out and "2 clips: UAR 100.0 %" in done.out
    as_json = here("classify", *takes, "--attribute", "pitch", "--truth", truth, "--json").json
    assert as_json["truth"]["pitch"]["UAR"] == 100 and sum(map(sum, as_json["truth"]["pitch"]["confusion"])) == 2
    truth.write_text("path,gender\nother.wav,male\n")
    refused = here("classify", *takes, "--attribute", "gender", "--truth", truth)
    assert refused.status == 2 and "has no true label of these recordings" in refused.err


def test_classify(process, voxdex, two_recordings):
    ran = process(
        "classify",
        two_recordings / "low.wav",
        two_recordings / "gone.wav",
        "--attribute",
        "gender",
        "--attribute",
        "pitch",
        "--json",
    )
    assert ran.status == 1 and "gone.wav" in ran.err
    (result,) = ran.json["results"]
    assert result["recording"] == str(two_recordings / "low.wav") and (result["start"], result["end"]) == (
        0.0,
        pytest.approx(3, abs=0.05),
    )
    assert result["gender"]["label"] == max(result["gender"]["scores"], key=result["gender"]["scores"].get)
    assert set(result["pitch"]["scores"]) == {"low", "medium", "high"}
    own = voxdex(
        "classify", two_recordings / "low.wav", "--labels", "bored, excited", "--template", "someone {}", "--json"
    ).json
    assert set(own["results"][0]["label"]["scores"]) == {"bored", "excited"}
    table = voxdex("classify", two_recordings / "low.wav")
    assert table.status == 0 and "emotion" in table.out and "%" in table.out


def test_recordings_in_which_nobody_speaks(here, takes, tmp_path):
    write_sound(tmp_path / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(32000).astype(np.float32))
    for command in ("classify", "caption"):
        some = here(command, tmp_path, "--json")
        assert some.status == 0 and f"Nobody speaks in {tmp_path / 'noise.wav'} (--no-vad uses all sound)." in some.err
        assert len(some.json["results"]) == 3 and some.json["without_speech"] == [str(tmp_path / "noise.wav")]
        none = here(command, tmp_path / "noise.wav", "--json")
        assert none.status == 2 and none.json["results"] == none.json["failed"] == []
        assert here(command, tmp_path / "noise.wav", "--no-vad").status == 0
    assert here("embed", tmp_path / "noise.wav", "--out", tmp_path / "noise.npz").status == 2
    assert here("embed", tmp_path / "noise.wav", takes[0], "--out", tmp_path / "both.npz").status == 0
