"""Every way to search an index, from the command line and from Python, on both back ends."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import PATIENCE, ROOT, Ran
from tests.fakes.qdrant.double import qdrant_double
from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.audio.reader import read_audio
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.search.caption_parser import parse_caption
from voxdex.search.clip_audio import extract_clip
from voxdex.search.engine import count_facets, search_index
from voxdex.search.query import Direction, Query, QueryTerm, Ranking, Sound, ask
from voxdex.search.scoring import caption_vector, sound_vector

WOMEN = {"anna", "bella", "clara", "dora", "julia"}
WHISPERING = {"dora", "henry"}


@pytest.fixture
def store(library):
    with EdgeStore.open(library / "indexes" / "default") as store:
        yield store


@pytest.fixture
def search(library):
    """Runs a search as a user would: a process of its own."""

    def run(*arguments: object) -> Ran:
        environment = os.environ | {"VOXDEX_HOME": str(library), "COLUMNS": "160", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, str(ROOT / "cli.py"), "search", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=library, timeout=PATIENCE, env=environment)
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def named(archive, stem):
    return next(archive.glob(f"{stem}.*"))


def speakers(hits):
    return [hit.metadata["speaker"] for hit in hits]


def test_both_back_ends_give_the_same_answers(store, mini):
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import connect
    from voxdex.indexer.store.qdrant_server import ServerStore

    made = ("voices", store.space, "mini", 256)
    with qdrant_double() as double, ServerStore.create(connect(double.url), *made) as server:
        server.ensure_fields(store.schema())
        server.upsert([*store.points({"kind": "recording"}), *store.points({"kind": "clip"})])
        sample = search_index(Query(ask("a man")), store, mini)
        queries = [
            Query(ask("a calm woman", without=["whispering"], like=[sample[0]]), parse_filter("duration<8 and not whispered")),
            Query(ask("a man"), parse_filter("speaker~?n* or recorded>2019-05")),
            Query(ask("a man"), liked=[sample[1].id], disliked=[sample[0].id], limit=3),
            Query(ask("a woman"), ranking=Ranking(group_by="speaker", diversity=0.5), limit=5, skip=2),
        ]
        for query in queries:
            embedded, served = (search_index(query, one, mini) for one in (store, server))
            assert embedded and [hit.id for hit in embedded] == [hit.id for hit in served]
            assert [hit.score for hit in embedded] == pytest.approx([hit.score for hit in served], abs=1e-5)
        assert count_facets(["speaker"], sample, store) == count_facets(["speaker"], sample, server)


def test_scores_fall_and_are_read_against_the_archive(store, mini):
    hits = search_index(Query(ask("a high-pitched woman"), limit=40), store, mini)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].percentile > 90 > hits[-1].percentile and all(0 <= hit.percentile <= 100 for hit in hits)
    assert all(hit.score <= hit.cosine for hit in hits)
    assert set(hits[0].matched) == {"high-pitched", "woman"} and all(hits[0].matched.values())
    assert not any(hits[-1].matched.values())


def test_all_words_count(store, mini):
    first = search_index(Query(ask("a whispering woman"), limit=4), store, mini)
    assert speakers(first).count("dora") >= 3
    assert {hit.metadata["speaker"] for hit in search_index(Query(ask("a whispering man"), limit=4), store, mini)} & {"henry"}


def test_captions_have_terms():
    terms = parse_caption("A tired old man who shouts, not whispering, gravelly").terms
    assert [(term.words, dict(term.labels), term.affirmed) for term in terms] == [
        ("tired", {}, True),
        ("old", {"age": "old"}, True),
        ("man", {"gender": "male"}, True),
        ("shouts", {"emotion": "angry", "loudness": "loud"}, True),
        ("gravelly", {"texture": "rough"}, True),
        ("whispering", {"phonation": "whispered"}, False),
    ]
    assert parse_caption("please play me the voice of somebody").terms == ()


def test_what_is_unwanted_falls_behind(store, mini):
    assert not WHISPERING & set(speakers(search_index(Query(ask("a voice", without=["whispering"]), limit=20), store, mini)))
    [like] = search_index(Query(ask("whispering"), limit=1), store, mini)
    away = search_index(Query(ask("a woman", unlike=[like]), limit=8), store, mini)
    assert not WHISPERING & set(speakers(away))
    assert speakers(search_index(Query(ask(without="whispering"), limit=5), store, mini))


def test_a_voice_is_moved_by_two_captions(store, mini, demo_archive):
    edgar = QueryTerm(Sound(named(demo_archive, "edgar-1")))
    moved = search_index(Query([edgar, QueryTerm(Direction("a man", "a woman"), 2)], limit=40), store, mini)
    assert speakers(search_index(Query([edgar], limit=1), store, mini)) == ["edgar"]
    assert sum(speaker in WOMEN for speaker in speakers(moved)[:10]) >= 7


def test_weights_shift_the_balance(store, mini):
    def women(weight):
        wishes = [QueryTerm("a woman", weight), QueryTerm("a man", 1)]
        return sum(speaker in WOMEN for speaker in speakers(search_index(Query(wishes, limit=10), store, mini)))

    assert women(10) > women(0.1)


def test_liked_and_disliked_hits_refine(store, mini):
    hits = search_index(Query(ask("a woman"), limit=40), store, mini)
    liked, disliked = (next(hit for hit in hits if hit.metadata["speaker"] == name) for name in ("dora", "anna"))

    def mean_rank(speaker, **feedback):
        found = search_index(Query(ask("a woman"), limit=40, **feedback), store, mini)
        return np.mean([hit.rank for hit in found if hit.metadata["speaker"] == speaker])

    assert mean_rank("dora", liked=[liked.id], disliked=[disliked.id]) < mean_rank("dora")
    assert mean_rank("dora", liked=[liked.id]) < mean_rank("dora")
    assert mean_rank("anna", disliked=[disliked.id]) > mean_rank("anna")


def test_groups_copies_pages_and_variety(store, mini):
    grouped = search_index(Query(ask("a woman"), ranking=Ranking(group_by="speaker"), limit=6), store, mini)
    assert len(set(speakers(grouped))) == 6
    two = search_index(Query(ask("a woman"), ranking=Ranking(group_by="speaker", per_group=2), limit=10), store, mini)
    assert max(map(speakers(two).count, speakers(two))) == 2
    whole, second = (
        search_index(Query(ask("a woman"), limit=limit, skip=skip), store, mini) for limit, skip in ((10, 0), (5, 5))
    )
    assert [hit.id for hit in second] == [hit.id for hit in whole[5:]] and second[0].rank == 6
    folded = search_index(Query(ask("a woman"), ranking=Ranking(fold=0.6), limit=5), store, mini)
    assert sum(hit.duplicates for hit in folded) > 0 and all(hit.duplicates == 0 for hit in whole)
    varied = search_index(Query(ask("a woman"), ranking=Ranking(diversity=0.8), limit=10), store, mini)
    assert len(set(speakers(varied))) > len(set(speakers(whole)))
    lowest = (whole[3].score + whole[4].score) / 2
    assert len(search_index(Query(ask("a woman"), ranking=Ranking(min_score=lowest), limit=40), store, mini)) == 4


def test_the_last_search_can_be_pointed_at(search):
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


def test_everything_at_once(search, demo_archive):
    done = search(
        "a calm voice", "a woman::2", "--not", "whispering", "--like", f"{demo_archive / 'anna-1.wav'}:0.2-1.5",
        "--unlike", named(demo_archive, "henry-*"), "--move", "calm -> happy::0.5", "--where", "duration<9",
        "--where", "not (speaker=julia or low-pitched)", "--facet", "gender", "--facet", "speaker",
        "--group-by", "recording", "--json",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert set(done.json["facets"]["gender"]["hits"]) <= {"female", "male"}
    assert "julia" not in done.json["facets"]["speaker"]["all"] and len(done.json["hits"]) == 10
    assert done.json["query"]["captions"] == ["a calm voice", "a woman::2"]
    shown = search("a calm voice", "--facet", "speaker").out
    assert "calm ✓" in shown and "percentile" in shown and "anna" in shown


def test_hits_become_files(search, tmp_path):
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


def test_a_machine_without_a_player_says_so(search, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = search("a woman", "--play")
    assert refused.status == 1 and "There is no player on this machine" in refused.err
    player = tmp_path / "mpv"
    player.write_text(f"#!/bin/sh\necho $3 >> {tmp_path / 'played'}\n")
    player.chmod(0o755)
    assert search("a woman", "--play", "-n", "2").status == 0
    assert len((tmp_path / "played").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("ending", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp3", "mp3"), ("opus", "opus"), ("m4a", "aac")]
)
def test_clips_are_cut_without_loss(demo_archive, tmp_path, ending, codec):
    path = next(demo_archive.glob(f"*.{ending}"))
    clip = extract_clip(path, 0.5, 1.2, folder=tmp_path, name="clip")
    with av.open(str(clip)) as container:
        assert container.streams.audio[0].codec_context.name.removesuffix("float") == codec
    part, whole = read_audio(clip), read_audio(path)[8000 : int(1.2 * 16_000)]
    if codec in ("pcm_s16le", "flac"):
        assert abs(len(part) - len(whole)) <= 2 and np.abs(part[50:11000] - whole[50:11000]).max() < 0.01
    else:
        assert 0.6 <= len(part) / 16_000 <= 0.85


@pytest.mark.parametrize(
    ("name", "codec", "cut_as", "played_as"),
    [
        ("x.aiff", "pcm_s16be", "pcm_s16le", "pcm_s16le"),
        ("x.aiff", "pcm_s8", "pcm_u8", "pcm_u8"),
        ("x.wav", "pcm_f64le", "pcm_f64le", "flac"),
        ("x.wav", "pcm_alaw", "pcm_alaw", "flac"),
        ("x.wav", "adpcm_ima_wav", "flac", "flac"),
    ],
)
def test_clips_of_rarer_forms_are_cut_too(tmp_path, name, codec, cut_as, played_as):
    path = write_sound(tmp_path / name, voice(3.0), codec=codec)
    for playable, expected in ((False, cut_as), (True, played_as)):
        clip = extract_clip(path, 1.0, 2.0, folder=tmp_path, name=f"clip-{playable}", playable=playable)
        with av.open(str(clip)) as container:
            assert container.streams.audio[0].codec_context.name == expected
        part, whole = read_audio(clip), read_audio(path)[16_000:32_000]
        assert len(part) == len(whole) and np.abs(part[100:-100] - whole[100:-100]).max() < 0.02


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "The query is empty"),
        (("",), "A caption is empty"),
        ((" \t",), "A caption is empty"),
        (("word " * 10_000,), "A caption has 50000 characters"),
        (("a man", "--where", "shoe=1"), "no field 'shoe'"),
        (("a man", "--where", "gender="), "is no label of an attribute, nor a condition"),
        (("a man", "--facet", "duration"), "is a number, of which nothing is counted"),
        (("a man", "--group-by", "shoe"), "no field 'shoe'"),
        (("--like", "gone.wav"), "gone.wav cannot be searched by: there is no such file"),
        (("--like", "{anna}:5-3"), "ends before it starts"),
        (("--like", "{anna}:60-70"), "it has no sound from 60 s to 70 s"),
        (("😀",), "has no words"),
        (("a man::0",), "must be above 0"),
        (("--move", "angrier"), "needs two captions"),
        (("a man", "--fold", "2"), "2.0 is not in the range"),
    ],
)
def test_queries_that_make_no_sense_are_refused_in_a_sentence(here, library, monkeypatch, demo_archive, arguments, words):
    monkeypatch.setenv("VOXDEX_HOME", str(library))
    done = here("search", *(part.replace("{anna}", str(demo_archive / "anna-1.wav")) for part in arguments))
    assert done.status == 2 and words in " ".join(done.err.split()), done.err


@pytest.mark.parametrize("caption", ["женский голос", "女性の声", "x", "not", "'; DROP TABLE", "a\nwoman"])
def test_any_words_are_a_query(store, mini, caption):
    assert len(search_index(Query(ask(caption), limit=3), store, mini)) == 3


def test_parts_of_a_recording_are_parts_of_its_voice(mini, demo_archive):
    path = demo_archive / "anna-1.wav"
    whole, part = sound_vector(Sound(path), mini), sound_vector(Sound(path, 0.5, None), mini)
    assert 0.5 < whole @ part < 0.9999
    assert caption_vector("a woman", mini) @ caption_vector("a woman, not whispering", mini) < 0.99
