"""The command caption."""

from voxdex.search.caption import BANK


def test_caption_recordings(here, takes, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bank = tmp_path / "bank.txt"
    bank.write_text("A man with a deep voice.\n\nA woman with a high-pitched voice.\nA man with a deep voice.\n")
    for _ in ("embedded", "remembered"):
        done = here("caption", takes[0], takes[1], "--captions", bank, "-n", 5, "--json")
        assert done.status == 0, done.err
        best = [[each["caption"] for each in clip["captions"]] for clip in done.json["results"]]
        assert best == [
            ["A man with a deep voice.", "A woman with a high-pitched voice."],
            ["A woman with a high-pitched voice.", "A man with a deep voice."],
        ]
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1
    shown = here("caption", tmp_path, "--compose", "-n", 1)
    assert shown.status == 0 and "low-pitched" in shown.out and "high-pitched" in shown.out
    assert len(set(BANK.read_text().splitlines())) > 1000


def test_invalid_caption_banks(here, takes, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in (
        ("empty.txt", "holds no captions"),
        ("bytes.txt", "cannot be read as text"),
        ("gone.txt", "does not exist"),
    ):
        done = here("caption", takes[0], "--captions", tmp_path / name)
        assert done.status == 2 and words in " ".join(done.err.split()), done.err
