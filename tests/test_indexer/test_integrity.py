"""Integrity: damage of an index is noticed, said and mended."""

import os

import numpy as np
import pytest

from tests.fakes.archives import index_paths
from voxdex.indexer.integrity import check_index
from voxdex.indexer.store.base import CLIP, RECORDING, Point, identity
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter


def state(store) -> dict[str, list]:
    """Clips of each recording by their times, rounded vectors and payloads."""
    found: dict[str, list] = {}
    for point in store.points({"kind": CLIP}):
        found.setdefault(point.payload["recording"], []).append((point.payload, np.round(point.vector, 4).tolist()))
    return {name: sorted(clips, key=lambda clip: clip[0]["start"]) for name, clips in found.items()}


def test_a_sound_index(store, five_recordings, mini):
    index_paths([five_recordings], store, mini)
    report = check_index(store, hashed=True)
    assert (report.recordings, report.clips) == (5, store.count()) and report.is_sound and not report.changed


@pytest.mark.parametrize("damage", ["clip", "recording", "vector", "ghost", "all"])
def test_what_is_lost_is_noticed_by_check_and_by_the_next_run(store, five_recordings, mini, damage):
    index_paths([five_recordings], store, mini)
    whole = state(store)
    clip = next(store.points({"kind": CLIP}))
    content = clip.payload["content"]
    if damage == "clip":
        store.delete({"content": content, "kind": CLIP})
    elif damage == "recording":
        store.delete({"content": content, "kind": RECORDING})
    elif damage == "vector":
        store.upsert([Point(clip.id, -clip.vector, clip.payload | {"start": 9.0, "end": 1.0})])
    elif damage == "ghost":
        store.upsert([Point(identity("ghost"), clip.vector, clip.payload | {"content": "0" * 64, "recording": "/gone.wav"})])
    else:
        store.delete({"kind": CLIP})
        store.delete({"kind": RECORDING})
    report = check_index(store)
    assert report.is_sound == (damage == "all") and len(report.broken) == (damage != "all")
    run = index_paths([five_recordings], store, mini)
    assert run.indexed == {"ghost": 0, "vector": 0, "all": 5}.get(damage, 1) and run.recordings == 5
    if damage != "vector":  # only a check looks at every clip
        assert state(store) == whole and check_index(store).is_sound
        assert index_paths([five_recordings], store, mini).unchanged == 5


def test_a_run_after_the_engine_has_lost_points(here, five_recordings, home):
    """The caches say that all is up to date, and the shard is that of before."""
    assert here("index", five_recordings).status == 0
    with EdgeStore.open(home / "indexes" / "default") as store:
        whole = state(store)
        caches = {file: file.read_bytes() for file in store.folder.glob("*.cache.json")}
        store.delete({"content": next(store.points({"kind": CLIP})).payload["content"]})
    for file, content in caches.items():
        file.write_bytes(content)
    again = here("index", five_recordings, "--json").json
    assert (again["indexed"], again["unchanged"]) == (1, 4)
    with EdgeStore.read(home / "indexes" / "default") as store:
        assert state(store) == whole


def test_fields_that_the_engine_has_lost(store, five_recordings, mini):
    index_paths([five_recordings], store, mini)
    caches = {file: file.read_bytes() for file in store.folder.glob("*.cache.json")}
    store.remove_fields(["duration", "attributes.gender"])
    assert set(check_index(store).fields) == {"duration", "attributes.gender"}
    for file, content in caches.items():
        file.write_bytes(content)
    index_paths([five_recordings], store, mini)
    assert check_index(store).is_sound
    assert store.query(np.ones(mini.card.dimension, np.float32), 9, parse_filter("duration>0.5"))


def test_check_and_repair(here, five_recordings, home, tmp_path):
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("path,speaker\na.wav,Anna\n")
    assert here("index", five_recordings, "--metadata", sheet).status == 0
    sound = here("check")
    assert sound.status == 0 and "5, 0 broken" in " ".join(sound.out.split())
    with EdgeStore.open(home / "indexes" / "default") as store:
        whole = state(store)
        clip = next(clip for clip in store.points({"kind": CLIP}) if clip.payload["recording"].endswith("a.wav"))
        store.upsert([Point(clip.id, clip.vector, clip.payload | {"start": 9.0, "end": 1.0})])
    broken = here("check")
    assert broken.status == 1 and "a.wav: a clip has the times 9.0 to 1.0" in broken.err and "--repair" in broken.out
    assert here("check", "--json").json["broken"][0]["path"].endswith("a.wav")
    repaired = here("check", "--repair")
    assert repaired.status == 0 and "1 recordings were broken, 1 of them are embedded again." in repaired.err
    with EdgeStore.read(home / "indexes" / "default") as store:
        assert state(store) == whole


def test_changed_files(here, five_recordings):
    assert here("index", five_recordings).status == 0
    before = (five_recordings / "b.wav").stat()
    for name in "bc":
        with (five_recordings / f"{name}.wav").open("r+b") as file:
            file.seek(2000)
            file.write(b"xyz")
    os.utime(five_recordings / "b.wav", ns=(before.st_atime_ns, before.st_mtime_ns))
    (five_recordings / "a.wav").unlink()
    told = here("check")
    assert told.status == 1 and "a.wav: it is gone" in told.err and "c.wav: it has changed" in told.err
    assert "b.wav" not in told.err and "b.wav: its content is not what was indexed" in here("check", "--hash").err
