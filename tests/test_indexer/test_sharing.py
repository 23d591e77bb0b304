"""Readers of an embedded index: beside each other, beside runs, and where nothing can be written."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event, Thread

import pytest

from tests.fakes.edge_index import contents, copy_tree, points, remove_shard_descriptions, shard
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.progress import read_progress
from voxdex.indexer.store import edge, sharing
from voxdex.indexer.store.base import Point, StoreError, identity
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import LowSpaceError

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
def test_private_copy_of_an_index_without_index_json(edge_index, edge_index_points, old):
    if old:
        remove_shard_descriptions(edge_index)
    (edge_index / "index.json").unlink()
    before = contents(edge_index)
    with EdgeStore.read(edge_index, for_long=True) as copy:
        assert points(copy) == edge_index_points and copy.model == "mini"
    assert old or (contents(edge_index) == before and EdgeStore.revision(edge_index))


@pytest.mark.parametrize("place", ["typo", "recordings"])
def test_reading_creates_no_files(place, tmp_path, home, here):
    (tmp_path / "recordings").mkdir()
    write_sound(tmp_path / "recordings" / "a.wav", voice(1.0))
    folder = tmp_path / place
    before = sorted(tmp_path.rglob("*"))
    for command in (
        ["search", "a man"],
        ["status"],
        ["export-vectors", tmp_path / "out.npz"],
        ["reindex", "--model", "mini-open"],
        ["index", tmp_path / "recordings", "--dry-run"],
    ):
        told = here(*command, "--index", folder)
        assert told.status == (0 if "--dry-run" in command else 2) and "Traceback" not in told.err
        assert sorted(path for path in tmp_path.rglob("*") if home not in (path, *path.parents)) == before
    for open_ in (EdgeStore.open, EdgeStore.read, partial(EdgeStore.read, for_long=True)):
        with pytest.raises(StoreError, match="There is no index"):
            open_(folder)
    assert read_progress(folder) is None and EdgeStore.revision(folder) == () and not EdgeStore.exists(folder)
    assert sorted(path for path in tmp_path.rglob("*") if home not in (path, *path.parents)) == before
    assert not home.exists() or not list(home.rglob("snapshots/*"))


def test_leftovers_of_an_interrupted_optimise_are_not_copied(edge_index, edge_index_points, home):
    segment = next(shard(edge_index).glob("segments/*"))
    left = shard(edge_index) / "temp_segments" / "segment_builder_x"
    copy_tree(segment, left / segment.name)
    with EdgeStore.read(edge_index, for_long=True) as copy:
        assert points(copy) == edge_index_points
        assert list((home / "snapshots").glob("*/shard-*")) and not list((home / "snapshots").rglob("segment_builder_x"))
    assert left.exists() and not list((home / "snapshots").glob("*"))
    with EdgeStore.open(edge_index) as store:
        assert not left.exists() and points(store) == edge_index_points
        store.optimise()
        assert points(store) == edge_index_points


def test_readers_beside_a_writer_see_what_it_has_flushed(edge_index, edge_index_points, monkeypatch):
    monkeypatch.setattr(sharing, "STALE_SECONDS", 0.5)
    with EdgeStore.open(edge_index) as writer:
        clips = list(writer.points({"kind": "clip"}))
        with EdgeStore.read(edge_index) as reader:
            assert points(reader) == edge_index_points
            with EdgeStore.read(edge_index, for_long=True) as other:
                assert points(other) == edge_index_points
        writer.delete({"content": clips[0].payload["content"]})
        time.sleep(sharing.STALE_SECONDS)
        with EdgeStore.read(edge_index) as reader:
            assert points(reader) == points(writer) != edge_index_points
    assert not list(edge_index.glob("snapshot-*")) and not (edge_index / "wanted").exists()
    with EdgeStore.read(edge_index) as reader:
        assert 0 < reader.count() < len(clips)


def test_a_recording_is_seen_whole_or_not_at_all(edge_index):
    with EdgeStore.open(edge_index) as writer:
        [model] = list(writer.points({"kind": "clip"}))[:1]
        ended, seen = Event(), set()

        def write():
            for number in range(6):
                content = f"{number:064}"
                clips = [
                    Point(identity(f"{content}{i}"), model.vector, model.payload | {"content": content, "start": float(i)})
                    for i in range(600)
                ]
                writer.upsert([*clips, Point(identity(content), None, {"kind": "recording", "content": content, "space": "x"})])
            ended.set()

        thread = Thread(target=write)
        thread.start()
        while not ended.is_set() or not seen:
            with EdgeStore.read(edge_index) as reader:
                contents_ = [payload["content"] for payload in reader.payloads("clip", ["content"])]
                seen |= {contents_.count(content) for content in set(contents_) if set(content[:60]) == {"0"}}
        thread.join()
    assert seen <= {600}


def test_processes_search_at_the_same_time(edge_index):
    code = (
        "import sys, pathlib, numpy; from voxdex.indexer.store.edge import EdgeStore\n"
        "with EdgeStore.read(pathlib.Path(sys.argv[1])) as store: print(store.count())"
    )
    with ThreadPoolExecutor(12) as pool:
        ended = list(
            pool.map(
                lambda _: subprocess.run([sys.executable, "-c", code, str(edge_index)], capture_output=True, text=True),
                range(12),
            )
        )
    assert [done.returncode for done in ended] == [0] * 12, [done.stderr for done in ended]
    assert len({done.stdout for done in ended}) == 1


@pytest.mark.parametrize("reason", ["full", "read-only"])
def test_an_index_that_cannot_be_written_is_read(edge_index, edge_index_points, monkeypatch, reason):
    before = contents(edge_index)

    def refuse(folder):
        if reason == "read-only":
            raise OSError(30, "Read-only file system")
        raise LowSpaceError("full")

    if reason == "full":
        monkeypatch.setattr(edge, "check_free_space", refuse)
    else:
        monkeypatch.setattr(edge, "lock_for_reading", refuse)
        monkeypatch.setattr(sharing, "lock_for_reading", refuse)
    with EdgeStore.read(edge_index) as reader:
        assert points(reader) == edge_index_points
    assert contents(edge_index) == before


def test_snapshots_of_a_killed_run_are_removed(edge_index, edge_index_points):
    left = edge_index / "snapshot-3"
    sharing.copy_index_folder(edge_index, left)
    sharing.copy_index_folder(edge_index, edge_index / "snapshot-4.new")
    with EdgeStore.read(edge_index) as reader:
        assert points(reader) == edge_index_points
    with EdgeStore.open(edge_index) as store:
        assert not list(edge_index.glob("snapshot-*")) and points(store) == edge_index_points
