"""Captions, labels and takes: what is answered about recordings, whether indexed or not."""

import csv
import json

import numpy as np
import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.zero_shot import Prediction
from voxdex.search.caption import BANK, CaptionBank, compose
from voxdex.search.query import QueryError
from voxdex.search.rerank import Reward, TakeSet, rank, read_take_sets


@pytest.fixture
def takes(tmp_path):
    """A low voice, a high one, and one in between."""
    return [write_sound(tmp_path / f"{name}.wav", voice(2.0, hz)) for name, hz in (("low", 90), ("high", 260), ("middle", 160))]


@pytest.fixture
def batch(tmp_path, takes):
    """Takes as a best-of-N run leaves them."""
    for iteration, order in ((1, (0, 1)), (2, (1, 0)), (10, (2, 2))):
        audios = tmp_path / "tts" / f"iter_{iteration}" / "audios"
        audios.mkdir(parents=True)
        for number, take in enumerate(order):
            (audios / f"{number}.wav").write_bytes(takes[take].read_bytes())
    captions = "a man with a deep voice\n\na woman with a high-pitched voice\n"
    (tmp_path / "tts" / "iter_1" / "input_descriptions.txt").write_text(captions)
    return tmp_path / "tts"


def test_captions_that_fit_are_found(here, takes, tmp_path, monkeypatch):
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


def test_a_bank_that_cannot_be_used_is_refused(here, takes, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in (
        ("empty.txt", "holds no captions"),
        ("bytes.txt", "cannot be read as text"),
        ("gone.txt", "does not exist"),
    ):
        done = here("caption", takes[0], "--captions", tmp_path / name)
        assert done.status == 2 and words in " ".join(done.err.split()), done.err


@pytest.mark.parametrize(
    ("heard", "caption"),
    [
        ({}, "A speaker."),
        ({"gender": Prediction("female", 0.9), "emotion": Prediction("angry", 0.8)}, "An angry woman."),
        (
            {"gender": Prediction("male", 0.9), "emotion": Prediction("sad", 0.4), "pitch": Prediction("low", 0.7)},
            "A man with a low-pitched voice.",
        ),
        (
            {
                "age": Prediction("old", 0.7),
                "gender": Prediction("female", 1),
                "speed": Prediction("slow", 0.7),
                "phonation": Prediction("whispered", 0.7),
            },
            "An old woman, slow and whispered.",
        ),
        ({"emotion": Prediction("neutral", 0.9), "phonation": Prediction("modal", 0.9)}, "A speaker."),
    ],
)
def test_captions_are_composed_of_what_is_certain(heard, caption):
    assert compose(heard) == caption


def test_folders_and_indexes_are_classified(here, takes, tmp_path):
    saved = tmp_path / "answers.csv"
    done = here("classify", tmp_path, "--attribute", "gender", "--min-probability", "0.5", "--save", saved, "--json")
    assert done.status == 0 and len(done.json["results"]) == 3
    rows = list(csv.DictReader(saved.open()))
    assert {row["gender.label"] for row in rows} <= {"female", "male"}
    assert here("index", tmp_path).status == 0
    indexed = here("classify", "--indexed", "--attribute", "gender", "--json").json["results"]
    assert {clip["recording"]: clip["gender"]["label"] for clip in indexed} == {
        clip["recording"]: clip["gender"]["label"] for clip in done.json["results"]
    }
    sure = here("classify", takes[0], "--attribute", "gender", "--min-probability", "1", "--json")
    assert sure.json["results"][0]["gender"]["label"] == "unsure"


def test_true_labels_show_what_is_taken_for_what(here, takes, tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("path,pitch,mood\nlow.wav,low,x\nhigh.wav,high,y\nmiddle.wav,,\n")
    done = here("classify", *takes, "--attribute", "pitch", "--truth", truth)
    assert done.status == 0 and "pitch: true \\ predicted" in done.out and "2 clips: UAR 100.0 %" in done.out
    as_json = here("classify", *takes, "--attribute", "pitch", "--truth", truth, "--json").json
    assert as_json["truth"]["pitch"]["UAR"] == 100 and sum(map(sum, as_json["truth"]["pitch"]["confusion"])) == 2
    truth.write_text("path,gender\nother.wav,male\n")
    refused = here("classify", *takes, "--attribute", "gender", "--truth", truth)
    assert refused.status == 1 and "has no true label of these recordings" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("classify",), "Give recordings or folders, or --indexed"),
        (("classify", "--indexed", "x.wav"), "Give recordings or folders, or --indexed"),
        (("classify", "{take}", "--labels", "angry"), "is a single label"),
        (("classify", "{take}", "--labels", "sad,sad"), "must all be different"),
        (("classify", "{take}", "--save", "x.doc"), "must end with .csv or .jsonl"),
        (("classify", "{take}", "--labels", "sad,..."), "The label '...' has no words"),
        (("classify", "{take}", "--labels", ",,"), "has an empty label"),
        (("classify", "{take}", "--labels", "a,w\udcf6"), "is not valid text"),
        (("classify", "{take}", "--min-probability", "nan"), "is not from 0 to 1"),
        (("rerank", "...", "{take}"), "The caption '...' has no words"),
        (("rerank", "w\udcf6man", "{take}"), "'w\\udcf6man' is not valid text"),
        (("rerank", "a man", "{take}", "--reference-weight", "nan"), "is not from 0 to 1"),
        (("rerank", "a man", "{take}", "--like", "{bytes}"), "cannot be read: it is not audio"),
        (("rerank", "a man", "{take}", "--text", "..."), "There is nothing to say in '...'"),
        (("embed", "--caption", "...", "--out", "{folder}/x.npz"), "The caption '...' has no words"),
        (("caption", "{take}", "--captions", "{dots}"), "holds no captions"),
        (("intelligibility", "{take}", "--text", "..."), "There is nothing to say in '...'"),
        (("intelligibility", "https://host.invalid/x.csv"), "x.csv is a URL, and tables are read from this machine only"),
        (("intelligibility", "{folder}"), "cannot be read as CSV"),
        (("intelligibility", "{take}", "--phonemes", "---"), "There is no phoneme in '---'"),
        (("intelligibility", "{take}", "--text", "w\udcf6"), "is not valid text"),
        (("evaluate", "classification", "{take}", "--attribute", "x", "--plot", "x.xyz"), "must end with one of"),
        (("evaluate", "retrieval", "{take}", "--plot", "/no/folder/x.png"), "There is no folder /no/folder"),
        (("annotate", "{folder}", "--out", "/no/folder/an.csv"), "There is no folder /no/folder"),
        (("status", "--url", "not a url"), "'not a url' is no address of a Qdrant server"),
        (("status", "--url", "grpc://127.0.0.1:6334"), "is no address of a Qdrant server"),
        (("status", "--url", "http://127.0.0.1:80x"), "is no address of a Qdrant server"),
        (("status", "--index", "x" * 300), "There is no index at"),
        (("serve", "--host", "bad..host"), "cannot listen at bad..host"),
        (("serve", "--token", "ü"), "write it in letters and digits"),
        (("classify", "x" * 300), "File name too long"),
        (("rerank", "a man"), "There are no takes to rank"),
        (("rerank", "", "{take}"), "There is nothing to rank takes by"),
        (("rerank", "", "{take}", "--like", "gone.wav"), "gone.wav cannot be read"),
        (("rerank", "{folder}"), "input_descriptions.txt cannot be read"),
        (("caption", "gone.wav"), "there is no such file"),
        (("evaluate", "index"), "There is no index"),
    ],
)
def test_what_cannot_be_answered_is_said(here, takes, tmp_path, arguments, words):
    files = {"take": takes[0], "folder": tmp_path, "bytes": tmp_path / "bytes.wav", "dots": tmp_path / "dots.txt"}
    files["bytes"].write_bytes(b"nonsense" * 99)
    files["dots"].write_text("...\n,\n👩\n")
    done = here(*(part.format(**files) for part in arguments))
    assert done.status == 2 and words in " ".join(done.err.split()), done.err


def test_takes_are_ranked_by_a_caption_and_a_reference(here, takes, tmp_path):
    done = here("rerank", "a woman with a high-pitched voice", *takes, tmp_path / "gone.wav", "--json")
    assert done.status == 1 and "gone.wav" in done.err
    [result] = done.json["results"]
    assert [take["rank"] for take in result["takes"]] == [1, 2, 3] and result["takes"][0]["recording"].endswith("high.wav")
    like = here("rerank", "", *takes, "--like", takes[0], "--json").json["results"][0]["takes"]
    assert like[0]["recording"].endswith("low.wav") and like[0]["score"] == pytest.approx(1, abs=1e-3)
    both = ["rerank", "a woman with a high-pitched voice", *takes, "--like", takes[0], "--json", "--reference-weight"]
    assert [here(*both, share).json["results"][0]["takes"][0]["recording"][-8:] for share in (0, 1)] == ["high.wav", "/low.wav"]


def test_a_batch_of_takes_is_ranked(here, batch, tmp_path):
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


def test_a_table_of_takes_is_ranked(here, takes, tmp_path):
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


def test_rewards_of_sound_and_of_files_are_the_same(mini, takes):
    from voxdex.encoders.audio.reader import read_audio

    reward, caption = Reward(mini), "a man with a deep voice"
    sounds = [read_audio(take) for take in takes]
    singly = [reward(take, caption) for take in takes]
    assert reward.many(sounds, [caption] * 3) == pytest.approx(singly, abs=1e-4)
    ranked = rank(TakeSet("x", caption, tuple(takes)), reward)
    assert [score for _, score in ranked.takes] == pytest.approx(sorted(singly, reverse=True), abs=1e-5)
    with pytest.raises(QueryError, match="nothing to rank takes by"):
        reward(sounds[0])
    with pytest.raises(Exception, match="it has 0 samples"):
        reward(np.zeros(0, np.float32), caption)


def test_an_index_is_measured_against_exact_search(here, demo_archive):
    assert here("index", demo_archive).status == 0
    done = here("evaluate", "index", "--queries", 20, "--json")
    assert done.status == 0 and done.json["recall@10"] == 100 and done.json["queries"] == 20
    assert f"captions over {done.json['clips']} clips: recall@5 100.00 %" in here("evaluate", "index", "-n", 5).out


def test_banks_are_kept_for_a_model_and_its_captions(mini, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("a woman\na man")
    other.write_text("a man\na woman")
    [woman] = mini.embed_text(["a woman"])
    for file in (one, other, one):
        assert CaptionBank(mini, file).find(woman, 1)[0].caption == "a woman"
    for kept in tmp_path.rglob("*.npy"):
        kept.write_bytes(b"")
    assert CaptionBank(mini, one).find(woman, 1)[0].caption == "a woman"
