"""Removal of missing recordings from an index."""

from tests.fakes.archives import failed_names, index_paths
from tests.fakes.sounds import voice, write_sound


def test_prune_keeps_recordings_of_an_absent_drive(voxdex, five_recordings, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_sound(other / "x.wav", voice(2.0, 180))
    voxdex("index", five_recordings, other)
    five_recordings.rename(tmp_path / "away")
    plain = voxdex("index", five_recordings, other, "--json")
    assert plain.status == 1 and (plain.json["missing"], plain.json["removed"]) == (5, 0)
    assert "no such file or folder; what the index holds of it is kept" in plain.err
    for is_mounted in (False, True):
        if is_mounted:
            five_recordings.mkdir()
        refused = voxdex("index", five_recordings, other, "--prune", "--json")
        assert refused.status == 1 and refused.json["removed"] == 0 and refused.json["missing"] == 5
        assert f"{five_recordings}: 5 of its 5 indexed recordings are gone" in refused.err and "--prune=all" in refused.err
    alone = voxdex("index", five_recordings, "--prune")
    assert alone.status == 2 and "--prune=all" in alone.err
    assert voxdex("status", "--json").json["files"] == 6
    dropped = voxdex("index", five_recordings, other, "--prune=all", "--json")
    assert dropped.status == 0 and dropped.json["removed"] == 5
    assert voxdex("status", "--json").json["files"] == 1


def test_prune_refuses_to_drop_more_than_half(store, five_recordings, mini):
    index_paths([five_recordings], store, mini)
    for name in "ab":
        (five_recordings / f"{name}.wav").unlink()
    assert index_paths([five_recordings], store, mini, prune=True).removed == 2
    for name in "cd":
        (five_recordings / f"{name}.wav").unlink()
    kept = index_paths([five_recordings], store, mini, prune=True)
    assert (kept.removed, kept.missing, store.count()) == (0, 2, 3) and failed_names(kept.failed) == ["audio"]
    assert index_paths([five_recordings], store, mini, prune=True, prune_all=True).removed == 2


def test_moved_recordings_are_not_pruned(store, five_recordings, mini, tmp_path):
    index_paths([five_recordings], store, mini)
    five_recordings.rename(tmp_path / "moved")
    report = index_paths([tmp_path], store, mini, prune=True)
    assert (report.unchanged, report.removed, report.missing, report.failed) == (5, 0, 0, [])


def test_prune_option_before_a_path(voxdex, five_recordings):
    voxdex("index", five_recordings)
    (five_recordings / "a.wav").unlink()
    assert voxdex("index", "--prune", five_recordings, "--json").json["removed"] == 1
    assert voxdex("index", "--prune=some", five_recordings).status == 2
