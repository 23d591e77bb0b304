"""Names and texts of recordings in tables, playlists and names of files."""

import csv

from voxdex.search.formats import as_csv, as_playlist, clip_name
from voxdex.search.query import ClipRecord


def clip(recording, **metadata):
    return ClipRecord(
        id="x",
        recording=recording,
        start=1.0,
        end=2.5,
        attributes={},
        probabilities={},
        measured={},
        metadata=metadata,
        tags={},
    )


def test_names_make_no_lines_and_no_paths():
    odd = clip('/tapes/a\n#EXTVLCOPT:x=1\\..\\"b?<|>*:c.wav')
    lines = as_playlist([odd]).splitlines()
    assert len(lines) == 5 and sum(line.startswith("#EXTVLCOPT") for line in lines) == 2 and lines[4].startswith("/tapes/a\\n")
    assert clip_name(3, odd) == "03 a_#EXTVLCOPT_x=1_..__b______c 1-2.5"


def test_tables_hold_no_formulas():
    rows = [{"note": "=1+1", "other": "@x", "number": -1.5, "minus": "-2", "dash": "-x", "text": "a=b"}]
    [row] = csv.DictReader(as_csv(rows).splitlines())
    assert row == {"note": "'=1+1", "other": "'@x", "number": "-1.5", "minus": "-2", "dash": "'-x", "text": "a=b"}
