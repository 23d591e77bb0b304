"""The command rerank."""

import json

import pytest

from tests.fakes.spoken import HARBOUR
from voxdex.search.query import QueryError
from voxdex.search.rerank import read_take_sets


def test_rank_takes_by_intelligibility(process, voxdex, spoken_archive):
    takes = [spoken_archive / f"en-us-f2-{i}.wav" for i in range(4)]
    found = process("rerank", "", *takes, "--text", HARBOUR, "--json").json["results"][0]["takes"]
    assert found[0]["recording"] == str(takes[2]) and found[0]["score"] == found[0]["intelligibility"]
    both = voxdex("rerank", "a woman", *takes, "--text", HARBOUR, "--intelligibility-weight", 0.9)
    assert both.status == 0 and "intelligibility" in both.out


@pytest.fixture
def batch(tmp_path, takes):
    """Takes in the folder layout of a best-of-N run."""
    for iteration, order in ((1, (0, 1)), (2, (1, 0)), (10, (2, 2))):
        audios = tmp_path / "tts" / f"iter_{iteration}" / "audios"
        audios.mkdir(parents=True)
        for number, take in enumerate(order):
            (audios / f"{number}.wav").write_bytes(takes[take].read_bytes())
    captions = "a man with a deep voice\n\na woman with a high-pitched voice\n"
    (tmp_path / "tts" / "iter_1" / "input_descriptions.txt").write_text(captions)
    return tmp_path / "tts"


def test_rank_takes_by_caption_and_reference(here, takes, tmp_path):
    done = here("rerank", "a woman with a high-pitched voice", *takes, tmp_path / "gone.wav", "--json")
    assert done.status == 1 and "gone.wav" in done.err
    [result] = done.json["results"]
    assert [take["rank"] for take in result["takes"]] == [1, 2, 3] and result["takes"][0]["recording"].endswith("high.wav")
    like = here("rerank", "", *takes, "--like", takes[0], "--json").json["results"][0]["takes"]
    assert like[0]["recording"].endswith("low.wav") and like[0]["score"] == pytest.approx(1, abs=1e-3)
    both = ["rerank", "a woman with a high-pitched voice", *takes, "--like", takes[0], "--json", "--reference-weight"]
    assert [here(*both, share).json["results"][0]["takes"][0]["recording"][-8:] for share in (0, 1)] == ["high.wav", "/low.wav"]


def test_rank_a_batch_of_takes(here, batch, tmp_path):
    for how, link in (("copies", ()), ("links", ("--link",))):
        done = here("rerank", batch, "--out", tmp_path / how, *link)
        assert done.status == 0 and "a man with a deep voice" in done.out, done.err
        summary = json.loads((tmp_path / how / "summary.json").read_text())
        assert [result["takes"][0]["recording"].split("tts/")[1] for result in summary] == [
            "iter_1/audios/0.wav",
            "iter_1/audios/1.wav",
        ]
        for number in "01":
            best = tmp_path / how / f"{number}.wav"
            assert best.is_symlink() == bool(link)
            assert best.read_bytes() == (batch / "iter_1" / "audios" / f"{number}.wav").read_bytes()


def test_rank_a_table_of_takes(here, takes, tmp_path):
    table = tmp_path / "takes.csv"
    table.write_text(
        "name,caption,takes,reference\n"
        "first,a man with a deep voice,low.wav | high.wav,\n"
        "second,,low.wav|high.wav|middle.wav,high.wav\n"
        "third,a man,,\n"
    )
    assert [prompt.name for prompt in read_take_sets(table)] == ["first", "second", "third"]
    done = here("rerank", table, "--json")
    assert done.status == 1 and "there are no takes of it" in done.err
    best = [result["takes"][0]["recording"].rpartition("/")[2] for result in done.json["results"] if result["takes"]]
    assert best == ["low.wav", "high.wav"]
    table.write_text("path\nlow.wav\n")
    with pytest.raises(QueryError, match="needs the columns 'caption' and 'takes'"):
        read_take_sets(table)
