"""Atomic replacement of files."""

import os
from pathlib import Path

import pytest

from tests.fakes.edge_index import MINI, contents
from voxdex.encoders.paths import replace_file, replaced
from voxdex.indexer.store.edge import EdgeStore


def test_folders_that_cannot_be_synchronised(tmp_path, monkeypatch):
    sync = os.fsync

    def fussy(file: int) -> None:
        if Path(f"/proc/self/fd/{file}").is_dir():
            raise OSError(22, "Invalid argument")
        sync(file)

    monkeypatch.setattr(os, "fsync", fussy)
    EdgeStore.create(tmp_path / "index", MINI.space, "mini", 256).close()
    replace_file(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "new"


def test_file_is_replaced_whole_or_not_at_all(tmp_path):
    replace_file(tmp_path / "file", "former")
    with pytest.raises(ZeroDivisionError), replaced(tmp_path / "file") as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"file": b"former"}
