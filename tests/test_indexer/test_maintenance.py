"""Maintenance of an index: status, dry runs, reindex and export of vectors."""

import json
import shutil

import numpy as np
import pytest

from tests.fakes.archives import failed_names_of_command, index_paths, metadata_by_name, without_empty, write_sheet
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.location import LocalIndex
from voxdex.indexer.maintenance import rebuild_index
from voxdex.indexer.store.base import StoreError


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    write_sound(folder / "a.wav", voice(2.0, 110))
    write_sound(folder / "b.flac", voice(3.0, 200), codec="flac")
    shutil.copy(folder / "a.wav", folder / "copy.wav")
    (folder / "broken.wav").write_bytes(b"no sound" * 100)
    return folder


def test_status(process, voxdex, audio):
    assert voxdex("index", audio).status == 1
    said = process("status", "--json").json
    assert (said["recordings"], said["files"], said["duplicates"], said["clips"], said["missing"]) == (2, 3, 1, 2, 0)
    assert said["audio_seconds"] == pytest.approx(5.0, abs=0.1) and said["bytes"] > 1000
    assert said["formats"] == {"wav pcm_s16le": 1, "flac flac": 1}
    assert [failure["path"] for failure in said["failed"]] == [str(audio / "broken.wav")]
    (audio / "b.flac").unlink()
    shown = voxdex("status")
    assert "2 in 3 files" in shown.out and "1 files no longer exist" in shown.out and "broken.wav" in shown.err
    nothing = voxdex("status", "--index", "nothing")
    assert nothing.status == 2 and "There is no index" in nothing.err


def test_dry_run_changes_nothing(voxdex, audio, home):
    said = voxdex("index", audio, "--dry-run", "--json").json
    assert [len(said[name]) for name in ("new", "changed", "moved", "unchanged", "missing")] == [3, 0, 1, 0, 0]
    assert voxdex("status").status == 2
    voxdex("index", audio)
    write_sound(audio / "b.flac", voice(1.0, 150), codec="flac")
    (audio / "a.wav").rename(audio / "moved.wav")
    write_sound(audio / "new.wav", voice(1.5, 180))
    before = voxdex("status", "--json").json | {"bytes": 0}  # a file system in memory counts what was read of holes too
    done = voxdex("index", audio, "--dry-run", "--json")
    assert done.status == 1 and [failure["path"] for failure in done.json["failed"]] == [str(audio / "broken.wav")]
    named = {name: [path.rsplit("/", 1)[-1] for path in done.json[name]] for name in ("new", "changed", "moved", "missing")}
    assert named == {"new": ["new.wav"], "changed": ["b.flac"], "moved": ["moved.wav"], "missing": ["a.wav"]}
    assert "1 new, 1 changed" in voxdex("index", audio, "--dry-run").out
    assert voxdex("status", "--json").json | {"bytes": 0} == before


def test_reindex_with_another_model(process, voxdex, audio, other_model, tmp_path):
    (tmp_path / "known.csv").write_text("path,speaker,age\na.wav,Anna,31\ncopy.wav,Anna,31\n")
    voxdex("index", audio, "--metadata", tmp_path / "known.csv")
    refused = voxdex("index", audio, "--model", other_model)
    assert refused.status == 2 and "voxdex reindex --model" in refused.err
    same = voxdex("reindex", "--model", "mini")
    assert same.status == 2 and "holds embeddings of mini@" in same.err
    done = process("reindex", "--model", other_model, "--json")
    assert done.status == 1 and done.json["space"].startswith("other@7") and done.json["indexed"] == 2
    said = voxdex("status", "--json").json
    assert (said["space"], said["files"], said["clips"]) == (done.json["space"], 3, 2)
    hit = voxdex("search", "a man", "--where", "speaker=Anna and age>30", "--json").json["hits"][0]
    assert hit["metadata"] == {"speaker": "Anna", "age": 31.0}
    assert voxdex("index", audio, "--json").json["unchanged"] == 3


def test_reindex_refuses_missing_recordings(voxdex, audio, other_model):
    voxdex("index", audio)
    (audio / "b.flac").unlink()
    refused = voxdex("reindex", "--model", other_model)
    assert refused.status == 2 and "b.flac" in refused.err and "--prune" in refused.err
    assert voxdex("status", "--json").json["space"].startswith("mini@")
    assert voxdex("reindex", "--model", other_model, "--prune", "--json").json["indexed"] == 1


def test_export_vectors(process, voxdex, audio, tmp_path):
    voxdex("index", audio)
    assert process("export-vectors", tmp_path / "clips.npz").status == 0
    found = np.load(tmp_path / "clips.npz")
    assert found["vectors"].shape == (2, 256) and np.allclose(np.linalg.norm(found["vectors"], axis=1), 1, atol=1e-5)
    assert sorted(name.rsplit("/", 1)[-1].split("#")[0] for name in found["clips"]) == ["a.wav", "b.flac"]
    assert json.loads(str(found["payloads"][0]))["attributes"]["gender"] in ("female", "male")
    refused = voxdex("export-vectors", tmp_path / "clips.txt")
    assert refused.status == 2 and "neither .npz nor .parquet" in refused.err


def test_tags_can_be_filtered(voxdex, tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    write_sound(folder / "tagged.wav", voice(1.0), tags={"title": "Tape 3", "artist": "Anna"})
    write_sound(folder / "plain.wav", voice(1.5))
    voxdex("index", folder)
    hits = voxdex("search", "a voice", "--where", "title=Tape 3", "--json").json["hits"]
    assert [hit["recording"].rsplit("/", 1)[-1] for hit in hits] == ["tagged.wav"]


def test_reindex_refuses_unreadable_recordings(voxdex, five_recordings, other_model):
    (five_recordings / "broken.wav").write_bytes(b"no sound" * 100)
    voxdex("index", five_recordings)
    contents = {path: path.read_bytes() for path in sorted(five_recordings.iterdir())}
    for path in (five_recordings / "a.wav", five_recordings / "b.wav", five_recordings / "c.wav"):
        path.write_bytes(b"unreadable" * 10)
    refused = voxdex("reindex", "--model", other_model)
    assert refused.status == 2 and "3 of the 5 recordings" in refused.err and "--drop-failed" in refused.err
    before = voxdex("status", "--json").json
    assert before["space"].startswith("mini@") and before["clips"] == 5
    for path, content in contents.items():
        path.write_bytes(content)
    done = voxdex("reindex", "--model", other_model, "--json")
    assert done.status == 1 and failed_names_of_command(done) == ["broken.wav"]
    assert voxdex("status", "--json").json["clips"] == 5


def test_reindex_refuses_an_unreadable_archive(voxdex, five_recordings, other_model):
    voxdex("index", five_recordings)
    for path in five_recordings.iterdir():
        path.write_bytes(b"unreadable" * 10)
    assert voxdex("reindex", "--model", other_model).status == 2
    assert voxdex("status", "--json").json["clips"] == 5
    dropped = voxdex("reindex", "--model", other_model, "--drop-failed", "--json")
    assert dropped.status == 2 and len(dropped.json["failed"]) == 5
    assert voxdex("status", "--json").json["clips"] == 0


def test_recordings_pruned_between_two_rebuilds_stay_removed(five_recordings, tmp_path, mini, other_model):
    from voxdex.encoders.model import open_model

    place, other = LocalIndex(tmp_path / "index"), open_model(str(other_model))
    with place.create(mini.card.space, "mini", mini.card.dimension) as store:
        index_paths([five_recordings], store, mini)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild_index(place, other, on_progress=stop)
    for name in "ab":
        (five_recordings / f"{name}.wav").unlink()
    with place.open() as store:
        assert index_paths([five_recordings], store, mini, prune=True).removed == 2
    assert rebuild_index(place, other).recordings == 3
    with place.open() as store:
        assert store.space == other.card.space and store.count() == 3


def test_rebuild_keeps_recordings_of_an_absent_drive(five_recordings, tmp_path, mini, other_model):
    from voxdex.encoders.model import open_model

    place, other = LocalIndex(tmp_path / "index"), open_model(str(other_model))
    with place.create(mini.card.space, "mini", mini.card.dimension) as store:
        index_paths([five_recordings], store, mini)
    for name in "abc":
        (five_recordings / f"{name}.wav").unlink()
    with pytest.raises(StoreError, match=r"3 of the 5 files .* --prune=all"):
        rebuild_index(place, other, prune=True)
    assert rebuild_index(place, other, prune=True, prune_all=True).indexed == 2


def test_rebuild_keeps_the_metadata_of_copies(five_recordings, tmp_path, mini, other_model):
    from voxdex.encoders.model import open_model

    shutil.copy(five_recordings / "a.wav", five_recordings / "copy.wav")
    place, other = LocalIndex(tmp_path / "index"), open_model(str(other_model))
    with place.create(mini.card.space, "mini", mini.card.dimension) as store:
        index_paths([five_recordings], store, mini, write_sheet(five_recordings, "a.wav,Anna,1999", "copy.wav,Bert,2001"))
    rebuild_index(place, other)
    (five_recordings / "a.wav").unlink()
    with place.open() as store:
        index_paths([five_recordings], store, other, prune=True)
        assert without_empty(metadata_by_name(store)) == {"copy.wav": {"speaker": "Bert", "year": 2001.0}}
