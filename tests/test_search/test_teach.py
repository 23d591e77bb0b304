"""Labels of one's own: taught with clips, predicted for all, kept up to date, used in filters and captions."""

import json

import numpy as np
import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.search.teach import area_under_curve

LOW = range(6)
"""Numbers of the recordings with low voices; the other six are high."""


@pytest.fixture
def archive(voxdex, tmp_path):
    """An index of six low and six high voices."""
    folder = tmp_path / "voices"
    folder.mkdir()
    for i in range(12):
        write_sound(folder / f"{i}.wav", voice(1.5, (90 if i in LOW else 230) + 5 * (i % 6), seed=i))
    done = voxdex("index", folder, "--no-vad", "--json")
    assert done.json["clips"] == 12, done.err
    return folder


def examples(folder, numbers, option="--like"):
    return [part for i in numbers for part in (option, folder / f"{i}.wav")]


def found(voxdex, *arguments):
    hits = voxdex("search", "a voice", "-n", 50, "--fold", 1, "--json", *arguments).json["hits"]
    return {int(hit["recording"].rsplit("/", 1)[1].split(".")[0]) for hit in hits}


def test_a_taught_word_is_predicted_for_all_clips(voxdex, archive):
    taught = voxdex("teach", "Boomy", *examples(archive, (0, 1, 2)), *examples(archive, (6, 7), "--unlike"), "--json")
    assert taught.status == 0, taught.err
    assert taught.json["name"] == "boomy" and taught.json["quality"]["auc"] == 1 and taught.json["quality"]["liked"] == 3
    assert found(voxdex, "--where", "boomy=yes") == set(LOW)
    assert found(voxdex, "--where", "not boomy=yes and probabilities.boomy>0.5") == set(range(6, 12))
    facet = voxdex("search", "a voice", "--facet", "boomy", "--json").json["facets"]["boomy"]["all"]
    assert facet == {"yes": 6, "no": 6}

    write_sound(archive / "12.wav", voice(1.5, 100, seed=20))
    assert voxdex("index", archive, "--no-vad", "--json").json["indexed"] == 1
    assert 12 in found(voxdex, "--where", "boomy=yes")

    assert voxdex("taught", "list", "--json").json["taught"][0]["name"] == "boomy"
    assert "boomy" in voxdex("taught", "list").out
    assert voxdex("taught", "forget", "boomy").status == 0 and voxdex("taught", "list", "--json").json == {"taught": []}
    assert "no field 'boomy'" in voxdex("search", "a voice", "--where", "boomy=yes").err


def test_a_taught_word_counts_in_captions(voxdex, archive):
    before = voxdex("search", "a boomy voice", "--json").json
    assert before["hits"][0]["matched"] == {"boomy": None} and "does not hear 'boomy'" in before["notes"][0]
    assert voxdex("teach", "boomy", *examples(archive, (0, 1, 2)), *examples(archive, (6, 7), "--unlike")).status == 0
    after = voxdex("search", "a boomy voice", "-n", 12, "--fold", 1, "--json").json
    assert after["notes"] == [] and [hit["matched"]["boomy"] for hit in after["hits"]] == [True] * 6 + [False] * 6
    without = voxdex("search", "a voice, not boomy", "-n", 6, "--fold", 1, "--json").json["hits"]
    assert [hit["matched"]["not boomy"] for hit in without] == [True] * 6


def test_examples_without_unliked_clips_and_by_hits(voxdex, archive):
    voxdex("search", "a low voice", "--where", "path~0.wav,1.wav,2.wav")
    taught = voxdex("teach", "boomy", "--like", "@1", "--like", "@2", "--like", "@3")
    assert taught.status == 0 and "scores higher in" in taught.err and "Clips whose judgement helps most" in taught.err
    assert set(LOW) >= found(voxdex, "--where", "probabilities.boomy>0.5 and boomy=yes")
    again = voxdex("teach", "boomy", "--like", "@1", "--like", "@2", "--dry-run", "--json")
    assert again.status in (0, 2) and not (again.status == 0 and again.json["kept"])


def test_examples_of_a_table(voxdex, archive):
    rows = [f"{i}.wav,{'yes' if i in LOW else 'no'},0,1.5" for i in (0, 1, 2, 6, 7, 8)]
    (archive / "boomy.csv").write_text("\n".join(["path,label,start,end", *rows]) + "\n")
    assert voxdex("teach", "boomy", "--examples", archive / "boomy.csv").status == 0
    assert found(voxdex, "--where", "boomy=yes") == set(LOW)
    (archive / "boomy.csv").write_text("path,label\n0.wav,maybe\n")
    refused = voxdex("teach", "boomy", "--examples", archive / "boomy.csv")
    assert refused.status == 2 and "row 1 needs the label yes or no" in refused.err


def test_taught_words_go_to_other_indexes(voxdex, archive, tmp_path):
    voxdex("teach", "boomy", *examples(archive, (0, 1, 2)), *examples(archive, (6, 7), "--unlike"))
    assert voxdex("taught", "export", "boomy", tmp_path / "boomy.json").status == 0
    assert voxdex("index", archive, "--no-vad", "--index", "other").status == 0
    assert voxdex("taught", "import", tmp_path / "boomy.json", "--index", "other").status == 0
    assert found(voxdex, "--where", "boomy=yes", "--index", "other") == set(LOW)
    document = json.loads((tmp_path / "boomy.json").read_text()) | {"space": "mini@1:000"}
    (tmp_path / "foreign.json").write_text(json.dumps(document))
    refused = voxdex("taught", "import", tmp_path / "foreign.json")
    assert refused.status == 2 and "was taught in the space mini@1:000" in refused.err
    (tmp_path / "odd.json").write_text("[]")
    assert "This is no taught label" in voxdex("taught", "import", tmp_path / "odd.json").err


def test_push_and_pull_take_taught_words_along(here, double, tmp_path):
    folder = tmp_path / "voices"
    folder.mkdir()
    for i in range(6):
        write_sound(folder / f"{i}.wav", voice(1.5, 90 if i < 3 else 230, seed=i))
    here("index", folder, "--no-vad")
    taught = here("teach", "boomy", *examples(folder, (0, 1)), *examples(folder, (3, 4), "--unlike"))
    assert taught.status == 0, taught.err
    server = ("--url", double.url)
    assert here("push", *server).status == 0
    hits = here("search", "a voice", "--where", "boomy=yes", "--fold", 1, *server, "--json").json["hits"]
    assert {hit["recording"].rsplit("/", 1)[1] for hit in hits} == {"0.wav", "1.wav", "2.wav"}
    assert here("teach", "shrill", *examples(folder, (3, 4)), *examples(folder, (0, 1), "--unlike"), *server).status == 0
    assert here("pull", *server, "--index", "back").status == 0
    assert [each["name"] for each in here("taught", "list", "--index", "back", "--json").json["taught"]] == ["boomy", "shrill"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("two words", "--like", "{0}", "--like", "{1}"), "is no name of a label"),
        (("gender", "--like", "{0}", "--like", "{1}"), "is an attribute with labels of its own"),
        (("boomy",), "Give at least 2 clips that sound boomy"),
        (("boomy", "--like", "{0}"), "Give at least 2 clips"),
        (("boomy", "--like", "{0}", "--like", "{0}:0-1"), "Give at least 2 clips"),
        (("boomy", "--like", "{0}", "--like", "{1}", "--unlike", "{1}"), "is both liked and unliked"),
        (("boomy", "--like", "{0}", "--like", "/nowhere.wav"), "The index holds no clip of /nowhere.wav"),
        (("boomy", "--like", "{0}", "--like", "{1}:900-999"), "The index holds no clip of"),
        (("boomy", "--like", "{0}", "--like", "{6}", "--unlike", "{1}", "--unlike", "{7}"), "cannot be told from the others"),
        (("boomy", "--like", "@99", "--like", "{1}"), "is no hit of the last search"),
    ],
)
def test_lessons_that_are_refused(voxdex, archive, arguments, words):
    files = [str(archive / f"{i}.wav") for i in range(12)]
    refused = voxdex("teach", *(part.format(*files) for part in arguments))
    assert refused.status == 2 and words in " ".join(refused.err.split()), refused.err


def test_area_under_the_curve():
    assert area_under_curve(np.array([3.0, 1.0, 2.0]), np.array([True, False, False])) == 1
    assert area_under_curve(np.array([1.0, 1.0]), np.array([True, False])) == 0.5
    assert area_under_curve(np.array([1.0, 2.0, 3.0]), np.array([True, False, True])) == 0.5
