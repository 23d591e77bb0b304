"""What is said: phonemes, the model that ships for them, and the commands that use it."""

import itertools
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("phonemizer", reason="phonemizer comes with the phonetic extra")

from demo.make_archive import SENTENCES, write
from tests.fakes.qdrant.double import qdrant_double
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.errors import TextError
from voxdex.encoders.phonetic.ctc import (
    PMI_FLOOR,
    PhoneticEmbedding,
    locate,
    log_likelihoods,
    match,
    pack_posteriorgram,
    pmi,
    unpack_posteriorgram,
)
from voxdex.encoders.phonetic.evaluation import (
    PhoneticScorer,
    add_babble,
    add_noise,
    add_room,
    corrupt,
    evaluate_scraps,
    fit_intelligibility,
    replace_phonemes,
)
from voxdex.encoders.phonetic.g2p import Espeak, EspeakError, Voice, to_phonemes
from voxdex.encoders.phonetic.model import open_phonetic_model
from voxdex.indexer.store.files import copy_file

HARBOUR = SENTENCES[2]


@pytest.fixture(scope="session")
def listener():
    return open_phonetic_model(device="cpu")


@pytest.fixture(scope="session")
def spoken_archive(once) -> Path:
    """Four sentences by three of espeak-ng's voices, with a table of what is said in each file."""

    def make(folder: Path) -> None:
        espeak, rows = Espeak(), ["path,transcript"]
        for voice in ("en-us+f2", "en-us+m3", "en+m1"):
            for number, sentence in enumerate(SENTENCES):
                name = f"{voice.replace('+', '-')}-{number}.wav"
                write(folder / name, espeak.say(sentence, Voice(voice, voice, 150)), espeak.sample_rate)
                rows.append(f'{name},"{sentence}"')
        (folder / "said.csv").write_text("\n".join(rows) + "\n")

    return once("spoken", make)


@pytest.fixture(scope="session")
def spoken_home(spoken_archive, once, tmp_path_factory):
    """VOXDEX_HOME with that archive indexed with what is said: a copy, as only one process at a time may open an index."""
    from click.testing import CliRunner

    from voxdex.commands import main

    def make(folder: Path) -> None:
        done = CliRunner().invoke(main, ["index", str(spoken_archive), "--phonetic"], env={"VOXDEX_HOME": str(folder)})
        assert done.exit_code == 0, done.output

    return shutil.copytree(once("spoken-home", make), tmp_path_factory.mktemp("spoken") / "home", copy_function=copy_file)


@pytest.fixture
def indexed(spoken_home, monkeypatch):
    monkeypatch.setenv("VOXDEX_HOME", str(spoken_home))


# phonemes


@pytest.mark.parametrize(
    ("language", "text", "phonemes"),
    [
        ("en-us", "kids", "kɪdz"),
        ("en, German accent", "kids", "kɪdz"),
        ("de", "Kinder", "kɪndɜ"),
        ("nl", "kinderen", "kɪndərən"),
        ("pl", "dzieci", "dʑɛtɕi"),
    ],
)
def test_text_becomes_phonemes(language, text, phonemes):
    assert to_phonemes([text, ""], language) == [phonemes, ""]


def test_an_unknown_language_is_named():
    with pytest.raises(EspeakError, match=r"no language 'xx'. Known: .*de.*pl"):
        to_phonemes(["a"], "xx")


def test_as_many_phonemes_are_replaced_as_was_asked():
    phonemes, inventory = list("abcdefghij" * 4), list("abcdefghijklm")
    for share in (0.05, 0.2, 1.0):
        changed = replace_phonemes(phonemes, share, inventory, random.Random(1))
        assert sum(one != other for one, other in zip(phonemes, changed, strict=True)) == round(40 * share)
    assert replace_phonemes(["a"], 0.01, inventory, random.Random(1)) != ["a"]


def test_corruption_changes_little_or_much():
    rng, phonemes = random.Random(2), list(range(30))
    assert all(corrupt(phonemes, 0.1, [*range(40)], rng) != phonemes for _ in range(20))
    assert all(corrupt([1], 0.4, [1, 2], rng) for _ in range(20))


def test_disturbances_have_the_power_that_was_asked():
    rng = np.random.default_rng(0)
    clip = np.sin(np.arange(16_000) / 5).astype(np.float32)
    noise = add_noise(clip, 0.75, rng) - 0.25 * clip
    assert np.mean(noise**2) == pytest.approx(0.75**2 * np.mean(clip**2), rel=1e-3)
    babble = add_babble(clip, [clip, np.roll(clip, 50)[:9000]], 0.5, rng) - 0.5 * clip
    assert np.mean(babble**2) == pytest.approx(0.25 * np.mean(clip**2), rel=1e-3)
    hiss = rng.standard_normal(16_000).astype(np.float32)
    room = add_room(hiss, 0.0, rng) - hiss
    assert np.mean(room**2) == pytest.approx(np.mean(hiss**2), rel=0.1) and len(room) == len(hiss)


# the tests of SCRAPS


def perfect(sequences):
    """A vector in which each phoneme of each place counts alike."""
    table = np.random.default_rng(5).standard_normal((200, 40, 64))
    vectors = np.stack([sum(table[ord(phoneme) - 97, place] for place, phoneme in enumerate(each)) for each in sequences])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_a_model_that_hears_everything_passes_and_one_that_hears_nothing_does_not():
    rng = np.random.default_rng(3)
    spoken = [["abcdefghijklmnopqrstuvwxyz"[i] for i in rng.integers(0, 26, 20)] for _ in range(30)]
    clips = [rng.standard_normal(800).astype(np.float32) for _ in spoken]

    def listener(heard):
        return PhoneticScorer(
            listen=lambda sounds: [PhoneticEmbedding(vector, np.zeros((1, 1))) for vector in perfect(heard)],
            pmi=lambda spoken, sequences: 20 * perfect(sequences) @ spoken.vector,
            embed=perfect,
        )

    hearing, deaf = listener(spoken), listener([spoken[0]] * len(spoken))
    assert {metric.value for metric in evaluate_scraps(hearing, clips, hearing.listen(clips), spoken)} == {100.0}
    metrics = {metric.name: metric for metric in evaluate_scraps(deaf, clips, deaf.listen(clips), spoken)}
    for by in ("", ", by vectors"):
        assert metrics[f"falls with 20% of phonemes replaced{by}"].value < 75
        assert metrics[f"speech to phonemes R@1 of 30 under 75% white noise{by}"].value == pytest.approx(100 / 30, abs=0.1)
    curve = np.array(fit_intelligibility(hearing, hearing.listen(clips), spoken))
    assert (np.diff(curve, axis=0) > 0).all() and curve[-1].tolist() == [1.0, 1.0]


def test_evidence_sums_over_all_ways_of_laying_phonemes_along_frames():
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(4), size=5)

    def spelled(path):
        return [symbol for symbol, before in zip(path, (None, *path), strict=False) if symbol and symbol != before]

    sequences = [[1], [1, 2], [2, 2], [3, 1, 2], [1, 1, 1, 1]]
    paths = list(itertools.product(range(4), repeat=5))
    expected = [sum(np.prod(shares[range(5), path]) for path in paths if spelled(path) == said) for said in sequences]
    with np.errstate(divide="ignore"):
        assert np.allclose(log_likelihoods(np.log(shares), sequences), np.log(expected), atol=1e-4)
    usual = np.array([0.1, 0.2, 0.3, 0.4])
    found = pmi(PhoneticEmbedding(np.zeros(2), np.log(shares)), sequences, usual)
    assert found[1] == pytest.approx(np.log(expected[1]) - np.log(0.2 * 0.3), abs=1e-4) and found[4] == 4 * PMI_FLOOR


# the model


def test_embeddings_do_not_depend_on_company(listener, spoken_archive):
    clips = [read_audio(path, 10)[: 16_000 * (1 + i)] for i, path in enumerate(sorted(spoken_archive.glob("*.wav"))[:4])]
    together = list(listener.listen(clips))
    for clip, spoken, plain in zip(clips, together, listener.embed_speech(clips), strict=True):
        alone = next(listener.listen([clip]))
        assert alone.vector @ spoken.vector > 0.99999 and plain @ spoken.vector > 0.99999
        assert np.linalg.norm(spoken.vector) == pytest.approx(1, abs=1e-5)
        assert alone.log_probs.shape == spoken.log_probs.shape
        one, other = listener.match("ðə", [pack_posteriorgram(alone.log_probs), pack_posteriorgram(spoken.log_probs)])
        assert one == pytest.approx(other, abs=0.01)


def test_phonemes_are_spotted_where_they_are():
    rng = np.random.default_rng(0)
    said = [3, 4, 4, 5, 6]
    log_probs = np.log(np.full((40, 10), 0.01) + 0.005 * rng.random((40, 10)))
    log_probs[:, 0] = np.log(0.9)
    for place, phoneme in enumerate(said):
        log_probs[12 + 3 * place, [0, phoneme]] = np.log([0.05, 0.9])
    packed = pack_posteriorgram(log_probs)
    assert np.abs(unpack_posteriorgram(packed, 10) - log_probs)[:, :1].max() <= 0.06
    other = pack_posteriorgram(np.log(np.tile([0.9] + [0.01] * 9, (25, 1))))
    matches = match([other, packed], said, 10)
    assert matches[1] > 0.95 > matches[0] and locate(packed, said, 10) == (12, 25)
    assert locate(packed, [4, 4, 5], 10) == (15, 22)
    assert match([packed], [6, 5, 4, 4, 3], 10)[0] < 0.5
    assert match([], said, 10).shape == (0,)


def test_phonemes_have_a_vector_and_states(listener):
    short, long = listener.embed_phonemes(["kˈɪdz", "ðə kɪdz ɑːɹ tɔːkɪŋ"])
    assert short.phonemes == ("k", "ɪ", "d", "z") and len(short.states) == 4
    assert len(long.states) == len(long.phonemes)
    assert next(listener.embed_phonemes(["kɪdz"])).vector @ short.vector == pytest.approx(1, abs=1e-5)
    with pytest.raises(TextError, match="no phoneme"):
        next(listener.embed_phonemes(["..."]))


def test_what_is_said_is_told_from_what_is_not(listener, spoken_archive):
    paths = sorted(spoken_archive.glob("*.wav"))
    speech = np.stack(list(listener.embed_speech(read_audio(path, 10) for path in paths)))
    text = np.stack([spoken.vector for spoken in listener.embed_phonemes(to_phonemes(SENTENCES))])
    right = (speech @ text.T).argmax(axis=1) == [int(path.stem[-1]) for path in paths]
    assert right.sum() >= 10
    said = to_phonemes(SENTENCES)
    sure = [listener.pmi(spoken, said).argmax() for spoken in listener.listen(read_audio(path, 10) for path in paths)]
    assert sure == [int(path.stem[-1]) for path in paths]
    with pytest.raises(TextError, match="no phoneme"):
        listener.pmi(next(listener.listen([read_audio(paths[0], 10)])), ["..."])


# commands


def test_clips_are_found_by_what_is_said(voxdex, indexed):
    hits = voxdex("search", "--says", HARBOUR, "-n", 3, "--json").json["hits"]
    assert [Path(hit["recording"]).stem[-1] for hit in hits] == ["2"] * 3
    assert all(hit["spoken"]["match"] == hit["score"] for hit in hits)
    part = voxdex("search", "--says", "walked down to the harbour", "-n", 3, "--json").json["hits"]
    assert [Path(hit["recording"]).stem[-1] for hit in part] == ["2"] * 3
    assert all(hit["start"] < hit["spoken"]["start"] < hit["spoken"]["end"] < hit["end"] for hit in part)
    ipa = voxdex("search", "--says", f"/{to_phonemes([HARBOUR])[0]}/", "-n", 3, "--json").json["hits"]
    assert [hit["id"] for hit in ipa] == [hit["id"] for hit in hits]


def test_what_is_said_and_who_says_it_are_fused(voxdex, indexed):
    found = voxdex("search", "a woman", "--says", HARBOUR, "-n", 1, "--json").json["hits"][0]
    assert Path(found["recording"]).stem == "en-us-f2-2" and found["percentile"] > 0
    shown = voxdex("search", "a woman", "--says", HARBOUR)
    assert shown.status == 0 and "spoken at" in shown.out


def test_an_index_of_voices_learns_what_is_said_later(voxdex, spoken_archive):
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


def test_what_is_said_moves_with_an_index(voxdex, indexed, tmp_path):
    with qdrant_double() as double:
        assert voxdex("push", "--url", double.url).status == 0
        remote = voxdex("search", "--says", HARBOUR, "-n", 3, "--url", double.url, "--json").json["hits"]
        fused = voxdex("search", "a woman", "--says", HARBOUR, "-n", 1, "--url", double.url, "--json").json["hits"]
        assert voxdex("pull", "--url", double.url, "--index", tmp_path / "back").status == 0
    local = voxdex("search", "--says", HARBOUR, "-n", 3, "--json").json["hits"]
    back = voxdex("search", "--says", HARBOUR, "-n", 3, "--index", tmp_path / "back", "--json").json["hits"]
    assert [hit["id"] for hit in local] == [hit["id"] for hit in remote] == [hit["id"] for hit in back]
    assert Path(fused[0]["recording"]).stem == "en-us-f2-2"


def test_what_cannot_be_said_is_refused(voxdex, here, indexed):
    assert "Nothing of '...' can be said" in here("search", "--says", "...").err
    assert "no language 'xx'" in here("search", "--says", "a", "--language", "xx").err
    assert (
        "is for spoken text"
        in here("index", "nowhere", "--model", "phonetic").err + here("classify", "a.wav", "--model", "phonetic").err
    )
    assert "is for captions" in here("intelligibility", "a.wav", "--text", "a", "--model", "mini").err


def test_clear_speech_is_intelligible_and_noise_is_not(process, voxdex, spoken_archive, tmp_path):
    clear = spoken_archive / "en-us-m3-2.wav"
    samples = read_audio(clear, 10)
    noisy = tmp_path / "noisy.wav"
    write(noisy, (32000 * np.clip(add_noise(samples, 0.95, np.random.default_rng(0)), -1, 1)).astype(np.int16), 16_000)
    found = process("intelligibility", clear, noisy, tmp_path / "none.wav", "--text", HARBOUR, "--json")
    assert found.status == 1 and "none.wav" in found.json["failed"][0]["path"]
    right, disturbed = (each["intelligibility"] for each in found.json["results"])
    wrong = voxdex("intelligibility", clear, "--text", SENTENCES[0], "--json").json["results"][0]["intelligibility"]
    assert right > 0.7 and right > disturbed + 0.2 and wrong < 0.4


def test_a_table_of_utterances_is_judged(voxdex, here, spoken_archive, tmp_path):
    table = tmp_path / "outputs.csv"
    rows = [f'{spoken_archive}/en-us-f2-{i}.wav,"{sentence}"' for i, sentence in enumerate(SENTENCES)]
    table.write_text("\n".join(["path,text", *rows]))
    shown = voxdex("intelligibility", table, "--save", tmp_path / "scores.csv")
    assert shown.status == 0 and "counted the boats" in shown.out
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5
    table.write_text("path,other\na.wav,b\n")
    assert "needs the columns" in here("intelligibility", table).err
    assert "cannot be read as CSV" in here("intelligibility", tmp_path / "gone.csv").err


def test_takes_are_ranked_by_how_clearly_they_say_a_text(process, voxdex, spoken_archive):
    takes = [spoken_archive / f"en-us-f2-{i}.wav" for i in range(4)]
    found = process("rerank", "", *takes, "--text", HARBOUR, "--json").json["results"][0]["takes"]
    assert found[0]["recording"] == str(takes[2]) and found[0]["score"] == found[0]["intelligibility"]
    both = voxdex("rerank", "a woman", *takes, "--text", HARBOUR, "--intelligibility-weight", 0.9)
    assert both.status == 0 and "intelligibility" in both.out


def test_the_tests_of_scraps_run_on_a_manifest(voxdex, here, spoken_archive, tmp_path):
    found = voxdex("evaluate", "phonetics", spoken_archive / "said.csv", "--json").json
    metrics = {each["name"]: each for each in found["metrics"]}
    assert found["clips"] == 12 and metrics["speech to phonemes R@1 of 4"]["value"] == 100
    assert metrics["falls with 20% of phonemes replaced"]["value"] > 95
    assert metrics["speech to phonemes R@1 of 4, by vectors"]["value"] > 90
    empty = tmp_path / "empty.csv"
    empty.write_text("path,transcript\na.wav,\n")
    assert "two recordings with a transcript" in here("evaluate", "phonetics", empty).err


def test_the_page_and_the_api_search_by_what_is_said(spoken_home, home):
    from fastapi.testclient import TestClient

    from voxdex.indexer.location import LocalIndex
    from voxdex.web.app import create_app
    from voxdex.web.settings import Settings
    from voxdex.web.state import AppState

    services = AppState.of(LocalIndex(spoken_home / "indexes" / "default"), Settings(), "cpu")
    with TestClient(create_app(services), base_url="http://127.0.0.1:8765") as server:
        found = server.post("/api/search", json={"says": HARBOUR, "limit": 3})
        assert [Path(hit["recording"]).stem[-1] for hit in found.json()["hits"]] == ["2"] * 3, found.text
        page = server.get("/", params={"says": HARBOUR, "captions": "a woman"})
        assert page.status_code == 200 and "spoken at" in page.text and 'name="says"' in page.text
        refused = server.post("/api/search", json={"says": "a", "language": "xx"})
        assert refused.status_code == 400 and "no language" in refused.text
