"""The command index."""

import json
import shutil

import pytest


def test_index_and_search(process, two_recordings):
    ran = process("index", two_recordings, "--json")
    assert ran.status == 0
    report = ran.json
    assert report["recordings"] == report["indexed"] == report["clips"] == 2
    assert report["failed"] == [] and report["removed"] == report["unchanged"] == 0
    assert report["audio_seconds"] == pytest.approx(6, abs=0.1) and report["seconds"] > 0
    assert report["space"].startswith("mini@")
    assert process("index", two_recordings, "--json").json["unchanged"] == 2

    ran = process("search", "a deep voice", "-n", 1, "--json")
    (hit,) = ran.json["hits"]
    assert {"rank", "score", "recording", "start", "end", "attributes", "metadata"} <= set(hit)
    assert ran.json["query"]["caption"] == "a deep voice"
    table = process("search", "a deep voice", "--like", two_recordings / "low.wav")
    assert table.status == 0 and "low.wav" in "".join(table.out.split())
    found = process("search", "--like", two_recordings / "low.wav", "--json").json["hits"]
    assert found[0]["recording"] == str(two_recordings / "low.wav") and found[0]["score"] > 0.999


def test_licence_is_shown_once(voxdex, two_recordings, home, monkeypatch):
    first = voxdex("index", two_recordings / "low.wav")
    assert "The model mini is licensed CC BY-NC-SA 4.0" in first.err
    again = voxdex("search", "x")
    assert again.status == 0 and "licensed" not in again.err
    monkeypatch.setenv("VOXDEX_MODEL", "nothing-such")
    assert voxdex("search", "x").status == 0, "an index keeps its own model"
    refused = voxdex("classify", two_recordings / "low.wav", "--attribute", "gender")
    assert refused.status == 2 and "no model 'nothing-such'" in refused.err
    (home / "licences-shown.txt").unlink()
    (home / "licences-shown.txt").mkdir()
    assert voxdex("search", "x").status == 0


def test_named_indexes_and_index_folders(voxdex, two_recordings, tmp_path, home):
    assert voxdex("index", two_recordings / "low.wav", "--index", "low").status == 0
    assert voxdex("index", two_recordings / "high.flac", "--index", f"{tmp_path}/folder").status == 0
    assert (home / "indexes" / "low").is_dir() and (tmp_path / "folder").is_dir()
    (hit,) = voxdex("search", "x", "--index", "low", "--json").json["hits"]
    assert hit["recording"].endswith("low.wav")
    missing = voxdex("search", "x")
    assert missing.status == 2 and "There is no index" in missing.err and "voxdex index" in missing.err


def test_folder_without_recordings_creates_no_index(voxdex, tmp_path, home):
    (tmp_path / "empty").mkdir()
    assert voxdex("index", tmp_path / "empty").status == 2
    assert not (home / "indexes").exists()


def test_failures_are_named_and_set_the_exit_status(voxdex, two_recordings):
    (two_recordings / "broken.mp3").write_bytes(b"nonsense" * 99)
    ran = voxdex("index", two_recordings, "--json")
    assert ran.status == 1
    (failure,) = ran.json["failed"]
    assert failure["path"] == str(two_recordings / "broken.mp3") and failure["reason"]
    assert "Failed:" in ran.err and "broken.mp3" in ran.err
    assert voxdex("index", two_recordings / "broken.mp3", "--index", "other").status == 2


def test_another_model_is_refused(voxdex, two_recordings, tmp_path, mini):
    other = tmp_path / "other-model"
    shutil.copytree(mini.folder, other)
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"name": "other"}))
    voxdex("index", two_recordings)
    ran = voxdex("index", two_recordings, "--model", other)
    assert ran.status == 2 and "holds embeddings of mini@" in ran.err and "--index" in ran.err
    assert voxdex("index", two_recordings, "--model", other, "--index", "second").status == 0
    assert len(voxdex("search", "x", "--index", "second", "--json").json["hits"]) == 2


def test_prune_a_removed_archive(voxdex, two_recordings):
    voxdex("index", two_recordings)
    for path in two_recordings.iterdir():
        path.unlink()
    ran = voxdex("index", two_recordings, "--json")
    assert (ran.status, ran.json["missing"]) == (0, 2)
    assert voxdex("index", two_recordings, "--prune=all", "--json").json["removed"] == 2
    ran = voxdex("search", "a man")
    assert ran.status == 2 and "no clips yet" in ran.err
