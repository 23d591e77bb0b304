"""Snapshots and other readers of an embedded index leave it unchanged."""

import pytest

from tests.fakes.edge_index import contents, copy_tree, points, remove_shard_descriptions, shard
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.snapshot import delete_snapshot, open_snapshot, read_progress
from voxdex.indexer.store.base import StoreError
from voxdex.indexer.store.edge import EdgeStore

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
def test_snapshot_of_an_index_without_index_json(edge_index, edge_index_points, old):
    if old:
        remove_shard_descriptions(edge_index)
    (edge_index / "index.json").unlink()
    before = contents(edge_index)
    copy = open_snapshot(edge_index)
    assert points(copy) == edge_index_points and copy.model == "mini"
    delete_snapshot(copy)
    assert contents(edge_index) == before and (old or EdgeStore.revision(edge_index))


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
    for read in (EdgeStore.open, open_snapshot, lambda folder: EdgeStore.open_copy(folder, tmp_path)):
        with pytest.raises(StoreError, match="There is no index"):
            read(folder)
    assert read_progress(folder) is None and EdgeStore.revision(folder) == () and not EdgeStore.exists(folder)
    assert sorted(path for path in tmp_path.rglob("*") if home not in (path, *path.parents)) == before
    assert not home.exists() or not list(home.rglob("snapshots/*"))


def test_leftovers_of_an_interrupted_optimise_are_not_copied(edge_index, edge_index_points):
    segment = next(shard(edge_index).glob("segments/*"))
    left = shard(edge_index) / "temp_segments" / "segment_builder_x"
    copy_tree(segment, left / segment.name)
    copy = open_snapshot(edge_index)
    assert points(copy) == edge_index_points and not list(copy.folder.rglob("segment_builder_x"))
    delete_snapshot(copy)
    assert left.exists()
    with EdgeStore.open(edge_index) as store:
        assert not left.exists() and points(store) == edge_index_points
        store.optimise()
        assert points(store) == edge_index_points
