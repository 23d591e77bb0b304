"""The command evaluate."""

import csv

import numpy as np
import pytest


def test_evaluate_phonetics(voxdex, here, spoken_archive, tmp_path):
    found = voxdex("evaluate", "phonetics", spoken_archive / "said.csv", "--json").json
    metrics = {each["name"]: each for each in found["metrics"]}
    assert found["clips"] == 12 and metrics["speech to phonemes R@1 of 4"]["value"] == 100
    assert metrics["falls with 20% of phonemes replaced"]["value"] > 95
    assert metrics["speech to phonemes R@1 of 4, by vectors"]["value"] > 90
    empty = tmp_path / "empty.csv"
    empty.write_text("path,transcript\na.wav,\n")
    assert "two recordings with a transcript" in here("evaluate", "phonetics", empty).err


def test_evaluate_index(here, demo_archive):
    assert here("index", demo_archive).status == 0
    done = here("evaluate", "index", "--queries", 20, "--json")
    assert done.status == 0 and done.json["recall@10"] == 100 and done.json["queries"] == 20
    assert f"captions over {done.json['clips']} clips: recall@5 100.00 %" in here("evaluate", "index", "-n", 5).out


def test_evaluate(process, voxdex, demo_archive, tmp_path):
    women = {"anna", "bella", "clara", "julia"}
    manifest = tmp_path / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "gender", "caption"])
        for path in sorted(demo_archive.glob("*-1.*")):
            gender = "female" if path.name.split("-")[0] in women else "male"
            writer.writerow([path.name, gender, f"a {gender} voice"])
        writer.writerow(["gone.wav", "male", "a male voice"])
    ran = process(
        "evaluate",
        "classification",
        manifest,
        "--attribute",
        "gender",
        "--root",
        demo_archive,
        "--json",
        "--plot",
        tmp_path / "c.png",
    )
    assert ran.status == 1 and ran.json["failed"][0]["path"].endswith("gone.wav")
    assert ran.json["clips"] == 10 and ran.json["labels"] == ["female", "male"]
    confusion = np.array(ran.json["confusion"])
    assert confusion.sum() == 10
    assert ran.json["UAR"] == pytest.approx(100 * np.mean(np.diag(confusion) / confusion.sum(1)), abs=0.01)
    assert ran.json["archive_UAR"] == ran.json["UAR"], "scores of gender are not calibrated on the archive"
    low, high = ran.json["intervals"]["UAR"]
    assert 0 <= low <= ran.json["UAR"] <= high <= 100
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert ran.json["accuracy"] == pytest.approx(100 * np.trace(confusion) / 10)
    ran = voxdex("evaluate", "retrieval", manifest, "--root", demo_archive, "--json")
    assert ran.json["clips"] == 10 and ran.json["captions"] == 2
    assert ran.json["speech_to_caption"]["R@5"] == 100 and "mAP@10" in ran.json["caption_to_speech"]
    assert ran.json["intervals"]["caption_to_speech"]["R@5"] == [100, 100]
