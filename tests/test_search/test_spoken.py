"""Search for spoken text."""

from pathlib import Path

import numpy as np
import pytest

from tests.fakes.qdrant.double import qdrant_double
from tests.fakes.spoken import HARBOUR
from voxdex.encoders.phonetic.g2p import to_phonemes
from voxdex.search.spoken import _median_and_deviation


def test_search_by_spoken_text(voxdex, spoken_index):
    hits = voxdex("search", "--says", HARBOUR, "-n", 3, "--json").json["hits"]
    assert [Path(hit["recording"]).stem[-1] for hit in hits] == ["2"] * 3
    assert all(hit["spoken"]["match"] == hit["score"] for hit in hits)
    part = voxdex("search", "--says", "walked down to the harbour", "-n", 3, "--json").json["hits"]
    assert [Path(hit["recording"]).stem[-1] for hit in part] == ["2"] * 3
    assert all(hit["start"] < hit["spoken"]["start"] < hit["spoken"]["end"] < hit["end"] for hit in part)
    ipa = voxdex("search", "--says", f"/{to_phonemes([HARBOUR])[0]}/", "-n", 3, "--json").json["hits"]
    assert [hit["id"] for hit in ipa] == [hit["id"] for hit in hits]


def test_search_by_caption_and_spoken_text(voxdex, spoken_index):
    found = voxdex("search", "a woman", "--says", HARBOUR, "-n", 1, "--json").json["hits"][0]
    assert Path(found["recording"]).stem == "en-us-f2-2" and found["percentile"] > 0
    shown = voxdex("search", "a woman", "--says", HARBOUR)
    assert shown.status == 0 and "spoken at" in shown.out


def test_what_nobody_says(voxdex, spoken_index):
    said = voxdex("search", "--says", HARBOUR, "--json").json
    assert said["notes"] == [] and said["hits"][0]["spoken"]["deviations"] is None  # too few clips to tell
    told = voxdex("search", "--says", "quarterly inflation forecasts disappoint the treasury")
    assert told.status == 0 and "Probably nobody says this" in told.err
    assert "Probably" not in voxdex("search", "--says", "zoo").err  # too short to tell


def test_matches_are_compared_with_those_of_the_archive():
    rng = np.random.default_rng(1)
    usual = _median_and_deviation(np.log(rng.lognormal(-4, 0.5, 500)))
    assert usual == pytest.approx((-4, 0.5), abs=0.1)
    assert _median_and_deviation(np.log(np.full(500, 0.1))) is None and _median_and_deviation(np.zeros(5)) is None


def test_phonetic_embeddings_are_added_to_an_index(voxdex, spoken_archive):
    assert voxdex("index", spoken_archive).status == 0
    refused = voxdex("search", "--says", HARBOUR)
    assert refused.status == 2 and "index it again with --phonetic" in refused.err
    foreseen = voxdex("index", spoken_archive, "--phonetic", "--dry-run", "--json").json
    assert (len(foreseen["changed"]), len(foreseen["unchanged"])) == (12, 0)
    assert len(voxdex("index", spoken_archive, "--dry-run", "--json").json["unchanged"]) == 12
    again = voxdex("index", spoken_archive, "--phonetic", "--json").json
    assert (again["indexed"], again["unchanged"]) == (12, 0)
    assert voxdex("index", spoken_archive, "--phonetic", "--json").json["unchanged"] == 12
    assert voxdex("index", spoken_archive, "--json").json["unchanged"] == 12
    assert Path(voxdex("search", "--says", HARBOUR, "-n", 1, "--json").json["hits"][0]["recording"]).stem[-1] == "2"
    assert voxdex("status", "--json").json["clips"] == 12


def test_phonetic_embeddings_are_pushed_and_pulled(voxdex, spoken_index, tmp_path):
    with qdrant_double() as double:
        assert voxdex("push", "--url", double.url).status == 0
        remote = voxdex("search", "--says", HARBOUR, "-n", 3, "--url", double.url, "--json").json["hits"]
        fused = voxdex("search", "a woman", "--says", HARBOUR, "-n", 1, "--url", double.url, "--json").json["hits"]
        assert voxdex("pull", "--url", double.url, "--index", tmp_path / "back").status == 0
    local = voxdex("search", "--says", HARBOUR, "-n", 3, "--json").json["hits"]
    back = voxdex("search", "--says", HARBOUR, "-n", 3, "--index", tmp_path / "back", "--json").json["hits"]
    assert [hit["id"] for hit in local] == [hit["id"] for hit in remote] == [hit["id"] for hit in back]
    assert Path(fused[0]["recording"]).stem == "en-us-f2-2"


def test_refused_spoken_text(voxdex, here, spoken_index):
    assert "'...' has no words to pronounce" in here("search", "--says", "...").err
    assert "no language 'xx'" in here("search", "--says", "a", "--language", "xx").err
    assert (
        "is for spoken text"
        in here("index", "nowhere", "--model", "phonetic").err + here("classify", "a.wav", "--model", "phonetic").err
    )
    assert "is for captions" in here("intelligibility", "a.wav", "--text", "a", "--model", "mini").err
