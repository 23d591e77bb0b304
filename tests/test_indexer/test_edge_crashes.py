"""Embedded indexes after a kill at any moment of their creation or replacement, and the order of writes to disk."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fakes.edge_index import MINI, OTHER, copy_tree, damage, point, points, recording, shard
from tests.fakes.sounds import voice, write_sound
from voxdex.indexer.progress import write_progress
from voxdex.indexer.report import Progress
from voxdex.indexer.store.base import PhoneticSpace
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.edge_engine import DEFERRED

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from voxdex.indexer.store.edge import EdgeStore
from tests.fakes.edge_index import MINI, OTHER, point, recording

what, *killings = sys.argv[1:]
passed = 0

def moment(*_):
    global passed
    passed += 1
    if passed == last:
        os.kill(os.getpid(), signal.SIGKILL)

def watch(event, arguments):
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir") and str(folder) in str(arguments[0]):
        moment()

sync = os.fsync
def synced(file):
    moment()
    sync(file)
    moment()

def begin():
    os.fsync = synced
    sys.addaudithook(watch)

def create():
    begin()
    EdgeStore.create(folder, MINI.space, "mini", 256)

def take_over():
    store = EdgeStore.create_staging(folder, OTHER, "other", 4)
    store.upsert([point(1, OTHER, 4), recording(1, space=OTHER)])
    store.flush()
    begin()
    store.promote()

for killing in killings:
    last, _, folder = killing.partition(":")
    last, folder = int(last), Path(folder)
    if not (child := os.fork()):
        {"create": create, "take over": take_over}[what]()
        os.write(1, b"%d" % passed)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert (os.WTERMSIG(status) == signal.SIGKILL) if last else (status == 0), status
"""


def kill(what: str, *killings: tuple[int, Path]) -> str:
    """Run an operation in each folder and kill it at its moment. Moment 0: let it finish; returns the number of moments."""
    command = [sys.executable, "-c", KILLED, what, *(f"{moment}:{folder}" for moment, folder in killings)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to end with")
def test_kill_at_any_moment_of_creation(tmp_path, here):
    write_sound(tmp_path / "a.wav", voice(1.0))
    moments = int(kill("create", (0, tmp_path / "whole")))
    assert moments > 50
    killings = [(moment, tmp_path / str(moment)) for moment in random.Random(0).sample(range(1, moments + 1), 20)]
    kill("create", *killings)
    for turn, (moment, folder) in enumerate(killings):
        if turn % 4 == 0:
            done = here("index", tmp_path / "a.wav", "--index", folder, "--json")
            assert done.status == 0 and done.json["indexed"] == 1, (moment, done.err)
        else:
            exists = EdgeStore.exists(folder)
            with EdgeStore.open(folder) if exists else EdgeStore.create(folder, MINI.space, "mini", 256) as store:
                store.upsert([point(1)])
                assert store.count() == 1, moment
        assert sorted(path.name for path in folder.iterdir() if "cache" not in path.name) == [
            "index.json",
            "lock",
            shard(folder).name,
        ]
        shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to end with")
def test_kill_at_any_moment_of_promotion(pristine_index, edge_index_points, tmp_path):
    copy_tree(pristine_index, tmp_path / "whole")
    moments = int(kill("take over", (0, tmp_path / "whole")))
    killings = [(moment, tmp_path / str(moment)) for moment in range(1, moments + 1, max(1, moments // 20))]
    for _, folder in killings:
        copy_tree(pristine_index, folder)
    kill("take over", *killings)
    seen = set()
    for moment, folder in killings:
        lost = tmp_path / f"{moment} lost"
        copy_tree(folder, lost)
        with EdgeStore.open(folder) as store:
            seen.add(store.space)
            if store.space == MINI.space:
                assert points(store) == edge_index_points
                store.upsert([point(3)])
            else:
                assert store.count() == 1 and not shard(folder).exists()
            space, model, count = store.space, store.model, store.count()
        damage(folder / "index.json", b"")
        with EdgeStore.open(folder) as store:
            assert (store.space, store.model, store.count()) == (space, model, count)
        if space == MINI.space:
            with EdgeStore.create_staging(folder, OTHER, "other", 4) as store:
                assert store.count() == 1  # it is resumed
                store.promote()
            assert not shard(folder).exists()
        damage(lost / "index.json", None)
        with EdgeStore.open(lost) as store:
            assert store.count() == (2 if store.space == MINI.space else 1)
        for done in (folder, lost):
            shutil.rmtree(done)
    assert seen == {MINI.space, OTHER}


def test_staging_shards_are_kept_and_former_shards_removed(edge_index, tmp_path):
    EdgeStore.create_staging(edge_index, OTHER, "other", 4).close()
    third = "third@1:111111111111"
    with EdgeStore.create(tmp_path / "former", third, "third", 4) as store:
        store.upsert([point(1, third, 4)])
    with EdgeStore.create_staging(edge_index, "fourth", "fourth", 4) as store:
        store.promote()  # so that the index has its second turn
    EdgeStore.create_staging(edge_index, OTHER, "other", 4).close()
    copy_tree(shard(tmp_path / "former", third), shard(edge_index, third))
    EdgeStore.open(edge_index).close()
    assert shard(edge_index, OTHER).exists() and shard(edge_index, "fourth").exists() and not shard(edge_index, third).exists()


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """Names of the files and folders that were synchronised, as they were then."""
    names, sync = [], os.fsync

    def record(file: int) -> None:
        names.append(Path(f"/proc/self/fd/{file}").readlink().name)
        sync(file)

    monkeypatch.setattr(os, "fsync", record)
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="another operating system: names of open files")
def test_side_files_are_synchronised_before_they_are_renamed(tmp_path, synced, monkeypatch):
    def was_synced(file: str, folder: str) -> bool:
        new = [place for place, name in enumerate(synced) if name.startswith(f"{file}.") and name.endswith(".new")]
        done = bool(new) and folder in synced[new[-1] :]
        synced.clear()
        return done

    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 1)
    with EdgeStore.create(tmp_path / "index", MINI.space, "mini", 256) as store:
        assert {"segment.json", "edge_config.json", shard(tmp_path).name + ".new"} <= set(synced)
        assert was_synced("index.json", "index")
        store.ensure_fields({"metadata.speaker": "text"})
        store.upsert([point(1), recording(1), point(2)])
        assert was_synced(DEFERRED, shard(tmp_path).name)
        store.cache_put("recordings", lambda: [])
        assert was_synced(f"{shard(tmp_path).name}-recordings.cache.json", "index")
        store.add_phonetic(PhoneticSpace("s", "m", 3))
        assert "index" in synced and was_synced("index.json", "index")
    with EdgeStore.create_staging(tmp_path / "index", OTHER, "other", 4) as store:
        assert was_synced("about.json", shard(tmp_path, OTHER).name + ".new")
        store.promote()
        assert was_synced("index.json", "index")
    write_progress(Progress(1, 2, 3, 4.0), tmp_path / "index")
    assert synced == [] and (tmp_path / "index" / "running.json").exists()
