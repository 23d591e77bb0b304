"""Embedded indexes with lost or damaged files."""

import json
import os
import shutil

import pytest
import qdrant_edge as edge

from tests.fakes.edge_index import (
    MINI,
    OTHER,
    PHONETIC,
    WHOLE,
    contents,
    copy_tree,
    damage,
    point,
    points,
    recording,
    remove_shard_descriptions,
    shard,
)
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.store.base import FORMAT, PhoneticSpace, StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.edge_engine import CONFIG, DEFERRED
from voxdex.indexer.store.shards import SHARD_DESCRIPTION

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


ODD = {
    "absent": None,
    "empty": b"",
    "zeros": bytes(100),
    "list": b"[]",
    "null": b"null",
    "number": b"3",
    "other keys": b'{"name": "a website"}',
    "no text": b"\xff\xfe",
    "phonetic of other keys": json.dumps(
        {"format": FORMAT, "space": MINI.space, "model": "mini", "phonetic": {"words": 3}}
    ).encode(),
    "phonetic that is no object": json.dumps(
        {"format": FORMAT, "space": MINI.space, "model": "mini", "phonetic": "yes"}
    ).encode(),
    "no name": json.dumps({"format": FORMAT, "space": None, "model": 3}).encode(),
    "a format that is no number": json.dumps({"format": "3", "space": MINI.space, "model": "mini"}).encode(),
    "deep": b"[" * 100_000,
    "of a shard that is not there": json.dumps({"format": FORMAT, "space": OTHER, "model": "mini"}).encode(),
} | {f"cut at {length}": WHOLE[:length] for length in (1, 2, 13, 14, 30, len(WHOLE) // 2, len(WHOLE) - 2)}


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_lost_index_json_is_restored(edge_index, edge_index_points, content, old):
    if old:
        remove_shard_descriptions(edge_index)
    damage(edge_index / "index.json", content)
    assert EdgeStore.exists(edge_index)
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(edge_index, MINI.space, "mini", 256)
    with EdgeStore.open(edge_index) as store:
        assert (store.space, store.model, store.phonetic) == (MINI.space, "mini", None)
        assert points(store) == edge_index_points and store.schema() == {"metadata.speaker": "text"}
        assert store.cache_get("recordings") == [["1", []], ["2", []]]
    written = json.loads((edge_index / "index.json").read_bytes())
    assert (written["space"], written["model"], written["format"]) == (MINI.space, "mini", FORMAT)
    assert json.loads((shard(edge_index) / SHARD_DESCRIPTION).read_bytes()) == written
    assert not [file for file in edge_index.rglob("*") if file.suffix in (".new", ".old")]


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
def test_phonetic_space_is_restored(edge_index, old):
    phonetic = PhoneticSpace(PHONETIC.space, "phonetic", PHONETIC.dimension)
    with EdgeStore.open(edge_index) as store:
        store.add_phonetic(phonetic)
        store.upsert([recording(3, phonetic=PHONETIC.space)])
    if old:
        remove_shard_descriptions(edge_index)
    damage(edge_index / "index.json", b"")
    with EdgeStore.open(edge_index) as store:
        assert store.phonetic == phonetic and store.count("recording") == 3


def test_lost_index_json_of_an_unknown_model(tmp_path):
    with EdgeStore.create(tmp_path / "index", OTHER, "/gone/other", 4) as store:
        store.upsert([point(1, OTHER, 4), recording(1, space=OTHER)])
    remove_shard_descriptions(tmp_path / "index")
    (tmp_path / "index" / "index.json").unlink()
    before = contents(tmp_path / "index")
    for refused in (EdgeStore.open, lambda folder: EdgeStore.create_staging(folder, MINI.space, "mini", 256)):
        with pytest.raises(StoreError, match=rf"{tmp_path / 'index'} has lost its index.json.* {OTHER}.*models and run"):
            refused(tmp_path / "index")
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(tmp_path / "index", OTHER, "other", 4)
    assert contents(tmp_path / "index") == before


def test_two_shards_without_descriptions_are_ambiguous(edge_index, tmp_path):
    with EdgeStore.create(tmp_path / "other", OTHER, "other", 4) as store:
        store.upsert([point(1, OTHER, 4)])
    copy_tree(shard(tmp_path / "other", OTHER), shard(edge_index, OTHER))
    remove_shard_descriptions(edge_index)
    (edge_index / "index.json").unlink()
    before = contents(edge_index)
    with pytest.raises(StoreError, match=r"is unknown\. Move all but one"):
        EdgeStore.open(edge_index)
    assert contents(edge_index) == before


@pytest.mark.parametrize(
    "part", ["segments/*/segment.json", "segments/*/payload_storage/config.json", "segments/*/version.info"]
)
@pytest.mark.parametrize("old", [False, True], ids=["described", "undescribed"])
def test_broken_shard_is_refused_and_unchanged(edge_index, part, old, here, tmp_path):
    if old:
        remove_shard_descriptions(edge_index)
    (edge_index / "index.json").unlink()
    for file in shard(edge_index).glob(part):
        file.write_bytes(file.read_bytes()[:1])
    before = contents(edge_index)
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"]):
        refused = here(*command, "--index", edge_index)
        assert refused.status == 2 and str(edge_index) in refused.err and "Traceback" not in refused.err
    assert contents(edge_index) == before


def test_shard_with_unreadable_points_is_not_an_interrupted_creation(edge_index):
    remove_shard_descriptions(edge_index)
    (edge_index / "index.json").unlink()
    shutil.rmtree(shard(edge_index) / "wal")
    for file in shard(edge_index).glob("segments/*/version.info"):
        file.unlink()
    before = contents(edge_index)
    with pytest.raises(StoreError, match=r"its points do not tell what it was\. Nothing was changed"):
        EdgeStore.open(edge_index)
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(edge_index, MINI.space, "mini", 256)
    assert contents(edge_index) == before


def test_empty_shard_of_an_interrupted_creation_is_replaced(tmp_path, here):
    """An earlier version created shards under their final name and described them last."""
    EdgeStore.create(tmp_path / "index", MINI.space, "mini", 256).close()
    remove_shard_descriptions(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_bytes(b"")
    assert not EdgeStore.exists(tmp_path / "index")
    with pytest.raises(StoreError, match="no index"):
        EdgeStore.open(tmp_path / "index")
    shutil.rmtree(shard(tmp_path / "index") / "segments")
    write_sound(tmp_path / "a.wav", voice(1.0))
    assert here("index", tmp_path / "a.wav", "--index", tmp_path / "index").status == 0


def test_foreign_index_json_is_refused_and_unchanged(tmp_path, here):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.json").write_text('{"pages": []}')
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"]):
        refused = here(*command, "--index", tmp_path / "site")
        assert refused.status == 2 and "Choose another folder" in refused.err
    assert contents(tmp_path / "site") == {"index.json": b'{"pages": []}'}


def test_lost_engine_configuration_is_restored(edge_index, edge_index_points):
    before = json.loads((shard(edge_index) / CONFIG).read_text())
    for content in (None, b"", b'{"on_disk'):
        damage(shard(edge_index) / CONFIG, content)
        with EdgeStore.open(edge_index) as store:
            assert points(store) == edge_index_points
        assert json.loads((shard(edge_index) / CONFIG).read_text()) == before


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"metadata.age": "colour", "a": []}', b"\xff"])
def test_lost_declared_fields(edge_index, content):
    if content is not None:
        (shard(edge_index) / DEFERRED).write_bytes(content)
    with EdgeStore.open(edge_index) as store:
        assert store.schema() == {"metadata.speaker": "text"}
        store.optimise()


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"[1, 2]", b'[["1"]]', b'{"1": []}', b"\xff", b"[" * 100_000])
def test_damaged_cache_is_ignored(edge_index, content):
    with EdgeStore.open(edge_index) as store:
        [cached] = edge_index.glob("*recordings*")
        for odd in (content, cached.read_bytes()[:70] + content, cached.read_bytes()[:-1]):
            cached.write_bytes(odd)
            assert store.cache_get("recordings") is None
            store.cache_put("recordings", lambda: [["1", []]])
            assert store.cache_get("recordings") == [["1", []]]


def test_engine_panics_become_store_errors_and_interrupts_do_not(edge_index, monkeypatch):
    for file in shard(edge_index).glob("segments/*/vector_storage/vectors/status.dat"):
        os.truncate(file, 4)
    with EdgeStore.open(edge_index) as store, pytest.raises(StoreError, match="engine failed"):
        store.count()
    for stopped in (KeyboardInterrupt, SystemExit, GeneratorExit):

        def stop(*_, stopped=stopped):
            raise stopped

        monkeypatch.setattr(edge.EdgeShard, "load", stop)
        with EdgeStore.open(edge_index) as store, pytest.raises(stopped):
            store.count()


def test_archive_with_lost_index_json_is_not_embedded_again(voxdex, tmp_path):
    (tmp_path / "audio").mkdir()
    for number in range(2):
        write_sound(tmp_path / "audio" / f"{number}.wav", voice(1.5, 110 + 40 * number, seed=number))
    (tmp_path / "known.csv").write_text("path,speaker\n0.wav,Anna\n1.wav,Ben\n")
    at = ("--index", tmp_path / "index")
    voxdex("index", tmp_path / "audio", "--metadata", tmp_path / "known.csv", *at)
    with EdgeStore.open(tmp_path / "index") as store:
        edge_index_points = points(store)
    for old, content in ((False, None), (False, b""), (True, WHOLE[:20])):
        if old:
            remove_shard_descriptions(tmp_path / "index")
        damage(tmp_path / "index" / "index.json", content)
        hits = voxdex("search", "a man", "--where", "speaker=Ben", "--json", *at).json["hits"]
        assert [hit["metadata"] for hit in hits] == [{"speaker": "Ben"}]
        damage(tmp_path / "index" / "index.json", content)
        assert voxdex("status", "--json", *at).json["clips"] == 2
        damage(tmp_path / "index" / "index.json", content)
        done = voxdex("index", tmp_path / "audio", "--json", *at)
        assert done.status == 0 and (done.json["unchanged"], done.json["indexed"]) == (2, 0)
        with EdgeStore.open(tmp_path / "index") as store:
            assert points(store) == edge_index_points
