"""The files beside an embedded index's points: lost, cut, of another shape or version, and processes killed among them."""

import json
import os
import random
import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge as edge

from tests.conftest import ROOT
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.model_card import find_models, read_card
from voxdex.encoders.paths import replace_file, replaced
from voxdex.indexer.report import Progress
from voxdex.indexer.snapshot import delete_snapshot, open_snapshot, read_progress, write_progress
from voxdex.indexer.store.base import FORMAT, PhoneticSpace, Point, StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.edge_engine import CONFIG, DEFERRED
from voxdex.indexer.store.files import copy_file
from voxdex.indexer.store.shards import SHARD_DESCRIPTION, Description

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect")

MINI = read_card(find_models()["mini"])
PHONETIC = read_card(find_models()["phonetic"])
OTHER = "other@1:000000000000"
IDENTITY = {"format": FORMAT, "space": MINI.space, "model": "mini"}
WHOLE = (json.dumps(IDENTITY | {"phonetic": None}) + "\n").encode()
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


def point(number: int, space: str = MINI.space, dimension: int = 256, **payload) -> Point:
    payload = {"kind": "clip", "recording": f"/tapes/{number}.wav", "content": str(number), "space": space} | payload
    vector = np.eye(dimension, dtype=np.float32)[number] if payload["kind"] == "clip" else None
    return Point(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{number} {space} {payload['kind']}")), vector, payload)


def recording(number: int, **payload) -> Point:
    return point(number, **{"kind": "recording", "phonetic": "", "metadata": {"speaker": "Anna"}} | payload)


def points(store: EdgeStore) -> dict:
    return {point.id: point.payload for kind in ("clip", "recording") for point in store.points({"kind": kind})}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def damage(file: Path, content: bytes | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An index of two recordings."""
    folder = tmp_path_factory.mktemp("made") / "index"
    with EdgeStore.create(folder, MINI.space, "mini", 256) as store:
        store.ensure_fields({"metadata.speaker": "text"})
        store.upsert([point(1), recording(1), point(2), recording(2)])
        store.cache_put("recordings", lambda: [["1", []], ["2", []]])
    return folder


def copied(folder: Path, target: Path) -> Path:
    """A copy of an index, or of a part of it, with the holes that are in its files."""
    return shutil.copytree(folder, target, copy_function=copy_file)


@pytest.fixture
def index(made, tmp_path) -> Path:
    copied(made, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def expected(made, tmp_path) -> dict:
    copied(made, tmp_path / "expected")
    with EdgeStore.open(tmp_path / "expected") as store:
        return points(store)


def shard(folder: Path, space: str = MINI.space) -> Path:
    return folder / Description(space, "", 0).shard


def forget_about(folder: Path) -> None:
    """What an earlier version wrote: nothing inside of shards."""
    for about in folder.glob(f"shard-*/{SHARD_DESCRIPTION}"):
        about.unlink()


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_an_index_that_lost_its_description_is_the_same(index, expected, content, old):
    if old:
        forget_about(index)
    damage(index / "index.json", content)
    assert EdgeStore.exists(index)
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(index, MINI.space, "mini", 256)
    with EdgeStore.open(index) as store:
        assert (store.space, store.model, store.phonetic) == (MINI.space, "mini", None)
        assert points(store) == expected and store.schema() == {"metadata.speaker": "text"}
        assert store.cache_get("recordings") == [["1", []], ["2", []]]
    written = json.loads((index / "index.json").read_bytes())
    assert (written["space"], written["model"], written["format"]) == (MINI.space, "mini", FORMAT)
    assert json.loads((shard(index) / SHARD_DESCRIPTION).read_bytes()) == written
    assert not [file for file in index.rglob("*") if file.suffix in (".new", ".old")]


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
def test_a_copy_is_read_without_a_word_to_the_index_that_lost_its_description(index, expected, old):
    if old:
        forget_about(index)
    (index / "index.json").unlink()
    before = contents(index)
    copy = open_snapshot(index)
    assert points(copy) == expected and copy.model == "mini"
    delete_snapshot(copy)
    assert contents(index) == before and (old or EdgeStore.revision(index))


@pytest.mark.parametrize("old", [False, True], ids=["described", "by its points"])
def test_what_is_said_is_recovered_too(index, old):
    phonetic = PhoneticSpace(PHONETIC.space, "phonetic", PHONETIC.dimension)
    with EdgeStore.open(index) as store:
        store.add_phonetic(phonetic)
        store.upsert([recording(3, phonetic=PHONETIC.space)])
    if old:
        forget_about(index)
    damage(index / "index.json", b"")
    with EdgeStore.open(index) as store:
        assert store.phonetic == phonetic and store.count("recording") == 3


def test_of_an_index_of_an_unknown_model_its_points_cannot_tell(tmp_path):
    with EdgeStore.create(tmp_path / "index", OTHER, "/gone/other", 4) as store:
        store.upsert([point(1, OTHER, 4), recording(1, space=OTHER)])
    forget_about(tmp_path / "index")
    (tmp_path / "index" / "index.json").unlink()
    before = contents(tmp_path / "index")
    for refused in (EdgeStore.open, lambda folder: EdgeStore.create_staging(folder, MINI.space, "mini", 256)):
        with pytest.raises(StoreError, match=rf"{tmp_path / 'index'} has lost its index.json.* {OTHER}.*models and run"):
            refused(tmp_path / "index")
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(tmp_path / "index", OTHER, "other", 4)
    assert contents(tmp_path / "index") == before


def test_of_two_shards_without_a_description_none_is_chosen(index, tmp_path):
    with EdgeStore.create(tmp_path / "other", OTHER, "other", 4) as store:
        store.upsert([point(1, OTHER, 4)])
    copied(shard(tmp_path / "other", OTHER), shard(index, OTHER))
    forget_about(index)
    (index / "index.json").unlink()
    before = contents(index)
    with pytest.raises(StoreError, match=r"is unknown\. Move all but one"):
        EdgeStore.open(index)
    assert contents(index) == before


@pytest.mark.parametrize("where", ["index.json", "about.json"])
def test_an_index_of_a_newer_version_is_not_to_be_deleted(index, where, here, tmp_path):
    newer = json.dumps({"format": FORMAT + 1, "spaces": {"voice": "x"}})
    if where == "index.json":
        (index / where).write_text(newer)
    else:
        (index / "index.json").unlink()
        (shard(index) / where).write_text(newer)
    before = contents(index)
    for ask in (EdgeStore.open, EdgeStore.exists, lambda folder: EdgeStore.create(folder, MINI.space, "mini", 256)):
        with pytest.raises(
            StoreError, match=rf"newer Voxdex, in format {FORMAT + 1}; this one knows format {FORMAT}\. Update Voxdex"
        ) as error:
            ask(index)
        assert "elete" not in str(error.value)
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"]):
        refused = here(*command, "--index", index)
        assert refused.status == 2 and "Update Voxdex" in refused.err
    assert contents(index) == before and EdgeStore.revision(index) == ()


@pytest.mark.parametrize("where", ["index.json", "about.json", "points"])
def test_an_index_of_an_older_version_is_refused_with_the_way_out(index, where, here, tmp_path):
    older = json.dumps({"format": 2, "space": MINI.space, "model": "mini", "says": None})
    if where == "index.json":
        (index / where).write_text(older)
    elif where == "about.json":
        (index / "index.json").unlink()
        (shard(index) / where).write_text(older)
    else:
        with EdgeStore.open(index) as store:
            store.set_payload({"kind": "recording"}, {"says": ""})
        forget_about(index)
        (index / "index.json").unlink()
    before = contents(index)
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"], ["reindex", "--model", "mini-open"]):
        refused = here(*command, "--index", index)
        assert refused.status == 2 and "Traceback" not in refused.err
        assert (
            f"has format 2, which this Voxdex no longer reads (it reads format {FORMAT}): index its recordings" in refused.err
        )
    assert contents(index) == before


@pytest.mark.parametrize(
    "part", ["segments/*/segment.json", "segments/*/payload_storage/config.json", "segments/*/version.info"]
)
@pytest.mark.parametrize("old", [False, True], ids=["described", "undescribed"])
def test_a_broken_shard_is_refused_and_left_as_it_was(index, part, old, here, tmp_path):
    if old:
        forget_about(index)
    (index / "index.json").unlink()
    for file in shard(index).glob(part):
        file.write_bytes(file.read_bytes()[:1])
    before = contents(index)
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"]):
        refused = here(*command, "--index", index)
        assert refused.status == 2 and str(index) in refused.err and "Traceback" not in refused.err
    assert contents(index) == before


def test_points_that_the_engine_no_longer_finds_are_not_taken_for_an_interrupted_creation(index):
    forget_about(index)
    (index / "index.json").unlink()
    shutil.rmtree(shard(index) / "wal")
    for file in shard(index).glob("segments/*/version.info"):
        file.unlink()
    before = contents(index)
    with pytest.raises(StoreError, match=r"its points do not tell what it was\. Nothing was changed"):
        EdgeStore.open(index)
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(index, MINI.space, "mini", 256)
    assert contents(index) == before


def test_an_empty_shard_of_an_interrupted_creation_is_begun_anew(tmp_path, here):
    """Of an earlier version, which made shards under their own name and described them last."""
    EdgeStore.create(tmp_path / "index", MINI.space, "mini", 256).close()
    forget_about(tmp_path / "index")
    (tmp_path / "index" / "index.json").write_bytes(b"")
    assert not EdgeStore.exists(tmp_path / "index")
    with pytest.raises(StoreError, match="no index"):
        EdgeStore.open(tmp_path / "index")
    shutil.rmtree(shard(tmp_path / "index") / "segments")
    write_sound(tmp_path / "a.wav", voice(1.0))
    assert here("index", tmp_path / "a.wav", "--index", tmp_path / "index").status == 0


def test_a_file_of_that_name_that_is_not_ours_is_left_alone(tmp_path, here):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.json").write_text('{"pages": []}')
    write_sound(tmp_path / "a.wav", voice(1.0))
    for command in (["search", "a man"], ["status"], ["index", tmp_path / "a.wav"]):
        refused = here(*command, "--index", tmp_path / "site")
        assert refused.status == 2 and "Choose another folder" in refused.err
    assert contents(tmp_path / "site") == {"index.json": b'{"pages": []}'}


def test_settings_of_the_engine_that_are_lost_are_those_of_the_index(index, expected):
    before = json.loads((shard(index) / CONFIG).read_text())
    for content in (None, b"", b'{"on_disk'):
        damage(shard(index) / CONFIG, content)
        with EdgeStore.open(index) as store:
            assert points(store) == expected
        assert json.loads((shard(index) / CONFIG).read_text()) == before


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"metadata.age": "colour", "a": []}', b"\xff"])
def test_declared_fields_that_are_lost_do_not_stand_in_the_way(index, content):
    if content is not None:
        (shard(index) / DEFERRED).write_bytes(content)
    with EdgeStore.open(index) as store:
        assert store.schema() == {"metadata.speaker": "text"}
        store.optimise()


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"[1, 2]", b'[["1"]]', b'{"1": []}', b"\xff", b"[" * 100_000])
def test_cached_data_that_are_not_as_they_were_written_are_ignored(index, content):
    with EdgeStore.open(index) as store:
        [cached] = index.glob("*recordings*")
        for odd in (content, cached.read_bytes()[:70] + content, cached.read_bytes()[:-1]):
            cached.write_bytes(odd)
            assert store.cache_get("recordings") is None
            store.cache_put("recordings", lambda: [["1", []]])
            assert store.cache_get("recordings") == [["1", []]]


def test_panics_of_the_engine_are_explained_and_interrupts_are_not(index, monkeypatch):
    for file in shard(index).glob("segments/*/vector_storage/vectors/status.dat"):
        os.truncate(file, 4)
    with EdgeStore.open(index) as store, pytest.raises(StoreError, match="engine failed"):
        store.count()
    for stopped in (KeyboardInterrupt, SystemExit, GeneratorExit):

        def stop(*_, stopped=stopped):
            raise stopped

        monkeypatch.setattr(edge.EdgeShard, "load", stop)
        with EdgeStore.open(index) as store, pytest.raises(stopped):
            store.count()


@pytest.mark.parametrize("place", ["typo", "recordings"])
def test_reading_makes_nothing(place, tmp_path, home, here):
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


def test_an_archive_whose_index_lost_its_description_is_not_embedded_again(voxdex, tmp_path):
    (tmp_path / "audio").mkdir()
    for number in range(2):
        write_sound(tmp_path / "audio" / f"{number}.wav", voice(1.5, 110 + 40 * number, seed=number))
    (tmp_path / "known.csv").write_text("path,speaker\n0.wav,Anna\n1.wav,Ben\n")
    at = ("--index", tmp_path / "index")
    voxdex("index", tmp_path / "audio", "--metadata", tmp_path / "known.csv", *at)
    with EdgeStore.open(tmp_path / "index") as store:
        expected = points(store)
    for old, content in ((False, None), (False, b""), (True, WHOLE[:20])):
        if old:
            forget_about(tmp_path / "index")
        damage(tmp_path / "index" / "index.json", content)
        hits = voxdex("search", "a man", "--where", "speaker=Ben", "--json", *at).json["hits"]
        assert [hit["metadata"] for hit in hits] == [{"speaker": "Ben"}]
        damage(tmp_path / "index" / "index.json", content)
        assert voxdex("status", "--json", *at).json["clips"] == 2
        damage(tmp_path / "index" / "index.json", content)
        done = voxdex("index", tmp_path / "audio", "--json", *at)
        assert done.status == 0 and (done.json["unchanged"], done.json["indexed"]) == (2, 0)
        with EdgeStore.open(tmp_path / "index") as store:
            assert points(store) == expected


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from voxdex.indexer.store.edge import EdgeStore
from tests.test_indexer.test_edge import MINI, OTHER, point, recording

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
    """Does something in each of these folders, and kills it at the given moment; without one, tells how many it has."""
    command = [sys.executable, "-c", KILLED, what, *(f"{moment}:{folder}" for moment, folder in killings)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: signals to end with")
def test_killed_at_any_moment_of_its_creation_an_index_can_be_made(tmp_path, here):
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
def test_killed_at_any_moment_of_taking_over_either_index_answers(made, expected, tmp_path):
    copied(made, tmp_path / "whole")
    moments = int(kill("take over", (0, tmp_path / "whole")))
    killings = [(moment, tmp_path / str(moment)) for moment in range(1, moments + 1, max(1, moments // 20))]
    for _, folder in killings:
        copied(made, folder)
    kill("take over", *killings)
    seen = set()
    for moment, folder in killings:
        lost = tmp_path / f"{moment} lost"
        copied(folder, lost)
        with EdgeStore.open(folder) as store:
            seen.add(store.space)
            if store.space == MINI.space:
                assert points(store) == expected
                store.upsert([point(3)])
            else:
                assert store.count() == 1 and not shard(folder).exists()
            space, model, count = store.space, store.model, store.count()
        damage(folder / "index.json", b"")
        with EdgeStore.open(folder) as store:
            assert (store.space, store.model, store.count()) == (space, model, count)
        if space == MINI.space:
            with EdgeStore.create_staging(folder, OTHER, "other", 4) as store:
                assert store.count() == 1  # it goes on
                store.promote()
            assert not shard(folder).exists()
        damage(lost / "index.json", None)
        with EdgeStore.open(lost) as store:
            assert store.count() == (2 if store.space == MINI.space else 1)
        for done in (folder, lost):
            shutil.rmtree(done)
    assert seen == {MINI.space, OTHER}


def test_what_a_stopped_reindex_made_is_kept_and_what_was_once_the_index_is_not(index, tmp_path):
    EdgeStore.create_staging(index, OTHER, "other", 4).close()
    third = "third@1:111111111111"
    with EdgeStore.create(tmp_path / "former", third, "third", 4) as store:
        store.upsert([point(1, third, 4)])
    with EdgeStore.create_staging(index, "fourth", "fourth", 4) as store:
        store.promote()  # so that the index has its second turn
    EdgeStore.create_staging(index, OTHER, "other", 4).close()
    copied(shard(tmp_path / "former", third), shard(index, third))
    EdgeStore.open(index).close()
    assert shard(index, OTHER).exists() and shard(index, "fourth").exists() and not shard(index, third).exists()


def test_what_a_kill_in_optimise_leaves_is_removed_and_not_copied(index, expected):
    segment = next(shard(index).glob("segments/*"))
    left = shard(index) / "temp_segments" / "segment_builder_x"
    copied(segment, left / segment.name)
    copy = open_snapshot(index)
    assert points(copy) == expected and not list(copy.folder.rglob("segment_builder_x"))
    delete_snapshot(copy)
    assert left.exists()
    with EdgeStore.open(index) as store:
        assert not left.exists() and points(store) == expected
        store.optimise()
        assert points(store) == expected


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """The names of the files and folders that were brought to disk; of a file before it got its own name."""
    names, sync = [], os.fsync

    def record(file: int) -> None:
        names.append(Path(f"/proc/self/fd/{file}").readlink().name)
        sync(file)

    monkeypatch.setattr(os, "fsync", record)
    return names


@pytest.mark.skipif(sys.platform != "linux", reason="another operating system: names of open files")
def test_side_files_are_on_disk_before_they_have_their_names(tmp_path, synced, monkeypatch):
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


def test_a_folder_that_cannot_be_synchronised_is_no_reason_to_stop(tmp_path, monkeypatch):
    sync = os.fsync

    def fussy(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").is_dir():
            raise OSError(22, "Invalid argument")
        sync(file)

    monkeypatch.setattr(os, "fsync", fussy)
    EdgeStore.create(tmp_path / "index", MINI.space, "mini", 256).close()
    replace_file(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    replace_file(tmp_path / "file", "former")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "file") as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"file": b"former"}


def test_a_collection_of_a_newer_version_is_not_to_be_deleted():
    qdrant_client = pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import QdrantConnection
    from voxdex.indexer.store.qdrant_server import ServerStore

    client = qdrant_client.QdrantClient(":memory:")
    ServerStore.create(QdrantConnection([client]), "voices", MINI.space, "mini", 256)
    [collection] = [found.name for found in client.get_collections().collections]
    about = next(point for point in client.scroll(collection)[0] if "format" in point.payload)
    client.set_payload(collection, {"format": FORMAT + 1}, [about.id])
    with pytest.raises(StoreError, match=rf"newer Voxdex, in format {FORMAT + 1}.* Update Voxdex") as error:
        ServerStore.open(QdrantConnection([client]), "voices")
    assert "elete" not in str(error.value)
