"""The command search."""

import csv
import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, ROOT, Ran
from tests.fakes.library import find_recording
from voxdex.commands.console import _fitted


@pytest.fixture
def search(library):
    """Run a search in a new process."""

    def run(*arguments: object) -> Ran:
        environment = os.environ | {"VOXDEX_HOME": str(library), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "cli.py"), "search", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=library, timeout=PATIENCE, env=environment)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: no pseudo-terminals")
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_a_hit_takes_one_line_of_a_terminal(library, columns):
    main, terminal = os.openpty()
    environment = os.environ | {"VOXDEX_HOME": str(library), "COLUMNS": str(columns), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "cli.py"), "search", "a sad, whispering old woman", "-n", "3"]
    subprocess.run(command, stdout=terminal, check=True, cwd=library, timeout=PATIENCE, env=environment)
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the end of a pseudo-terminal's output is an error on Linux
        while part := os.read(main, 4096):
            shown += part
    os.close(main)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).split("\r\n")
    assert [line.split(" ")[0] for line in lines if line[:1].isdigit()] == ["1", "2", "3"]
    assert len(lines) == 6 and max(map(len, lines)) <= columns


def test_piped_hits_are_not_wrapped(search):
    lines = search("a sad, whispering, breathy old woman with a low-pitched voice", "-n", "3").out.splitlines()
    assert len(lines) == 5 and len(lines[2]) > 160 and "…" not in lines[2]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_hits_in_a_width(search, width):
    lines = search(
        "a sad, whispering, breathy old woman with a low-pitched voice", "-n", "3", "--width", width
    ).out.splitlines()
    assert len(lines) == 5 and max(map(len, lines)) <= width
    assert ("predicted" in lines[0]) == (width > 80)


def test_long_paths_lose_their_common_folder_and_then_their_middle():
    folder = "/mnt/archive/tapes/1987"
    cells = {
        "score": ["0.5", "0.4"],
        "clip": [f"{folder}/reel 17/interview with the mayor.wav:3.50-7.20", f"{folder}/a.wav:0-1"],
    }
    wide, narrow = (_fitted(cells, width, text=[], paths=["clip"], optional=[])["clip"] for width in (60, 47))
    assert wide == ["…/reel 17/interview with the mayor.wav:3.50-7.20", "…/a.wav:0-1"]
    assert narrow == ["…/interview with the mayor.wav:3.50-7.20", "…/a.wav:0-1"]


def test_pages_tell_how_many_clips_there_are(search):
    everything = search("a woman", "--where", "duration>0", "-n", "10000", "--fold", "1", "--json").json
    clips = everything["clips"]
    assert clips == len(everything["hits"]) > 6
    assert f"Hits 1 to 3 of {clips} clips; --page 2 shows more." in search("a woman", "-n", "3").err
    assert f"Hits 4 to 6 of {clips} clips; --page 3 shows more." in search("a woman", "-n", "3", "--page", "2").err
    longest = search("a woman", "--where", "duration>0", "-n", "10000", "--fold", "1")
    assert f"Hits 1 to {clips} of {clips} clips that meet the conditions." in longest.err


def test_hits_of_the_last_search(search):
    first = search("a woman", "--json", "-n", "5").json["hits"]
    like = search("--like", "@2", "--json", "-n", "1").json["hits"]
    assert like[0]["id"] == first[1]["id"] and like[0]["score"] > 0.999
    assert search("a man", "-n", "2").status == 0
    more = search("a man", "--page", "2", "-n", "2", "--json").json["hits"]
    assert [hit["rank"] for hit in more] == [3, 4]
    assert search("a man", "--more", "@1", "--less", "@4", "-n", "2").status == 0
    for place in ("@9", "9", "@x"):
        refused = search("a man", "--more", place)
        assert refused.status == 2 and "is no hit of the last search" in refused.err


def test_all_options_together(search, demo_archive):
    done = search(
        "a calm voice", "a woman::2", "--not", "whispering", "--like", f"{demo_archive / 'anna-1.wav'}:0.2-1.5",
        "--unlike", find_recording(demo_archive, "henry-*"), "--move", "calm -> happy::0.5", "--where", "duration<9",
        "--where", "not (speaker=julia or low-pitched)", "--facet", "gender", "--facet", "speaker",
        "--group-by", "recording", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert set(done.json["facets"]["gender"]["hits"]) <= {"female", "male"}
    assert "julia" not in done.json["facets"]["speaker"]["all"] and len(done.json["hits"]) == 10
    assert done.json["query"]["captions"] == ["a calm voice", "a woman::2"]
    shown = search("a calm voice", "--facet", "speaker").out
    assert "calm ✓" in shown and "percentile" in shown and "anna" in shown


def test_save_hits(search, tmp_path):
    hits = search(
        "a woman", "-n", "6", "--save", tmp_path / "x" / "hits.csv", "--labels-to", tmp_path / "labels", "--json"
    ).json["hits"]
    rows = list(csv.DictReader((tmp_path / "x" / "hits.csv").open()))
    assert [row["recording"] for row in rows] == [hit["recording"] for hit in hits]
    assert rows[0]["attributes.gender"] == hits[0]["attributes"]["gender"]
    labels = (tmp_path / "labels" / f"{Path(hits[0]['recording']).stem}.txt").read_text()
    assert labels.startswith(f"{hits[0]['start']:.3f}\t{hits[0]['end']:.3f}\t#1")
    assert search("a woman", "-n", "6", "--save", tmp_path / "hits.jsonl", "--copy-to", tmp_path / "cuts").status == 0
    assert [json.loads(line)["id"] for line in (tmp_path / "hits.jsonl").open()] == [hit["id"] for hit in hits]
    assert len(list((tmp_path / "cuts").iterdir())) == 6
    assert search("a woman", "-n", "2", "--save", tmp_path / "hits.m3u8").status == 0
    playlist = (tmp_path / "hits.m3u8").read_text().splitlines()
    assert playlist[0] == "#EXTM3U" and playlist[4] == hits[0]["recording"]
    wrong = search("a woman", "--save", tmp_path / "hits.doc")
    assert wrong.status == 2 and "must end with .csv or .jsonl or .m3u8" in wrong.err and not wrong.out


def test_play_hits(search, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = search("a woman", "--play")
    assert refused.status == 1 and "There is no player on this machine" in refused.err
    player = tmp_path / "mpv"
    player.write_text(f"#!/bin/sh\necho $3 >> {tmp_path / 'played'}\n")
    player.chmod(0o755)
    assert search("a woman", "--play", "-n", "2").status == 0
    assert len((tmp_path / "played").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "The query is empty"),
        (("",), "A caption is empty"),
        ((" \t",), "A caption is empty"),
        (("word " * 10_000,), "A caption has 50000 characters"),
        (("a man", "--where", "shoe=1"), "no field 'shoe'"),
        (("a man", "--where", "gender="), "is no label of an attribute, nor a condition"),
        (("a man", "--facet", "duration"), "is a number, and only values of text are counted"),
        (("a man", "--group-by", "shoe"), "no field 'shoe'"),
        (("--like", "gone.wav"), "gone.wav cannot be searched by: there is no such file"),
        (("--like", "{anna}:5-3"), "ends before it starts"),
        (("--like", "{anna}:60-70"), "nobody speaks in it from 60 s to 70 s"),
        (("😀",), "has no words"),
        (("a man::0",), "must be above 0"),
        (("--move", "angrier"), "needs two captions"),
        (("a man", "--fold", "2"), "2.0 is not in the range"),
    ],
)
def test_invalid_queries(here, library, monkeypatch, demo_archive, arguments, words):
    monkeypatch.setenv("VOXDEX_HOME", str(library))
    done = here("search", *(part.replace("{anna}", str(demo_archive / "anna-1.wav")) for part in arguments))
    assert done.status == 2 and words in " ".join(done.err.split()), done.err
