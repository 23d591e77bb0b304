import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.conftest import ROOT
from tests.fakes.sounds import voice, write_sound
from voxdex import __version__
from voxdex.commands import main


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def make_audio(folder: Path) -> Path:
    folder.mkdir()
    write_sound(folder / "low.wav", voice(3.0, 100))
    write_sound(folder / "high.flac", voice(3.0, 220), codec="flac")
    return folder


@pytest.fixture
def audio(tmp_path):
    return make_audio(tmp_path / "audio")


@pytest.fixture(scope="module")
def indexed_home(tmp_path_factory) -> Path:
    """VOXDEX_HOME with an index, and beside it what it is of."""
    home = tmp_path_factory.mktemp("indexed") / "home"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("VOXDEX_HOME", str(home))
        done = CliRunner().invoke(main, ["index", str(make_audio(home.parent / "audio"))])
        assert done.exit_code == 0, done.output
    return home


@pytest.fixture
def indexed(indexed_home, monkeypatch) -> Path:
    """An archive that is indexed, both for reading alone."""
    monkeypatch.setenv("VOXDEX_HOME", str(indexed_home))
    return indexed_home.parent / "audio"


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_and_is_documented(process, command):
    ran = process(*command, "-h")
    assert ran.status == 0 and ran.out.startswith("Usage: cli.py")
    assert all(parameter.help for parameter in _command(command).params if isinstance(parameter, click.Option))


def test_a_fork_answers_as_a_new_process_does(process, voxdex, indexed, tmp_path):
    for arguments in (
        ("models", "--json"), ("search", "a man"), ("search", "..."), ("-h",), ("classify", tmp_path / "gone.wav"), ("frob",),
    ):  # fmt: skip
        assert voxdex(*arguments, cwd=tmp_path) == process(*arguments, cwd=tmp_path)


def _command(path):
    command = main
    for name in path:
        command = command.commands[name]
    return command


def test_index_and_search(process, audio):
    ran = process("index", audio, "--json")
    assert ran.status == 0
    report = ran.json
    assert report["recordings"] == report["indexed"] == report["clips"] == 2
    assert report["failed"] == [] and report["removed"] == report["unchanged"] == 0
    assert report["audio_seconds"] == pytest.approx(6, abs=0.1) and report["seconds"] > 0
    assert report["space"].startswith("mini@")
    assert process("index", audio, "--json").json["unchanged"] == 2

    ran = process("search", "a deep voice", "-n", 1, "--json")
    (hit,) = ran.json["hits"]
    assert {"rank", "score", "recording", "start", "end", "attributes", "metadata"} <= set(hit)
    assert ran.json["query"]["caption"] == "a deep voice"
    table = process("search", "a deep voice", "--like", audio / "low.wav")
    assert table.status == 0 and "low.wav" in "".join(table.out.split())
    found = process("search", "--like", audio / "low.wav", "--json").json["hits"]
    assert found[0]["recording"] == str(audio / "low.wav") and found[0]["score"] > 0.999


def test_the_licence_of_a_model_is_told_once(voxdex, audio, home, monkeypatch):
    first = voxdex("index", audio / "low.wav")
    assert "The model mini is licensed CC BY-NC-SA 4.0" in first.err
    again = voxdex("search", "x")
    assert again.status == 0 and "licensed" not in again.err
    monkeypatch.setenv("VOXDEX_MODEL", "nothing-such")
    assert voxdex("search", "x").status == 0, "an index keeps its own model"
    refused = voxdex("classify", audio / "low.wav", "--attribute", "gender")
    assert refused.status == 2 and "no model 'nothing-such'" in refused.err
    (home / "licences-told.txt").unlink()
    (home / "licences-told.txt").mkdir()
    assert voxdex("search", "x").status == 0


def test_named_indexes_and_index_folders_are_apart(voxdex, audio, tmp_path, home):
    assert voxdex("index", audio / "low.wav", "--index", "low").status == 0
    assert voxdex("index", audio / "high.flac", "--index", f"{tmp_path}/folder").status == 0
    assert (home / "indexes" / "low").is_dir() and (tmp_path / "folder").is_dir()
    (hit,) = voxdex("search", "x", "--index", "low", "--json").json["hits"]
    assert hit["recording"].endswith("low.wav")
    missing = voxdex("search", "x")
    assert missing.status == 2 and "There is no index" in missing.err and "voxdex index" in missing.err


def test_a_wrong_folder_leaves_no_index_behind(voxdex, tmp_path, home):
    (tmp_path / "empty").mkdir()
    assert voxdex("index", tmp_path / "empty").status == 2
    assert not (home / "indexes").exists()


def test_failures_are_named_and_set_the_exit_status(voxdex, audio):
    (audio / "broken.mp3").write_bytes(b"nonsense" * 99)
    ran = voxdex("index", audio, "--json")
    assert ran.status == 1
    (failure,) = ran.json["failed"]
    assert failure["path"] == str(audio / "broken.mp3") and failure["reason"]
    assert "Failed:" in ran.err and "broken.mp3" in ran.err
    assert voxdex("index", audio / "broken.mp3", "--index", "other").status == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search"], "empty"),
        (["search", "x", "--where", "nonsense"], "nor a condition"),
        (["search", "x", "--where", "shoe=1"], "no field 'shoe'"),
        (["search", "x", "--like", "/nowhere.wav"], "no such file"),
        (["search", "x", "-n", "0"], "Invalid value"),
        (["search", "..."], "The caption '...' has no words"),
        (["search", "x", "--not", "::"], "The caption '::' has no words"),
        (["search", "x", "--move", "calm -> ,"], "The caption ',' has no words"),
        (["search", "--says", "..."], "Nothing of '...' can be said"),
        (["search", "--says", "///"], "Nothing of '///' can be said"),
        (["search", "a w\udcf6man"], "'a w\\udcf6man' is not valid text"),
        (["search", "x", "--where", "speaker=\udcf6"], "is not valid text"),
        (["search", "x", "--where", "not " * 1000 + "calm"], "more than 40 deep"),
        (["search", "x", "--fold", "nan"], "is not from 0 to 1"),
        (["search", "x", "--min-score", "nan"], "least score is a number"),
        (["search", "--like", "x" * 300], "File name too long"),
        (["search", "--like", "{audio}/low.wav:" + "9" * 400 + "-"], "lies beyond"),
        (["search", "x", "--group-by", "..."], "no field '...'"),
        (["search", "x", "--facet", "..."], "no field '...'"),
        (["index", "/nowhere"], "no such file or folder"),
        (
            ["classify", "{audio}/low.wav", "--attribute", "gender", "--attribute", "pitch", "--labels", "a,b"],
            "one --attribute",
        ),
        (["classify", "{audio}/low.wav", "--labels", ","], "empty label"),
        (["classify", "{audio}/low.wav", "--labels", "a,a"], "different"),
        (["embed", "{audio}/low.wav", "--out", "/nowhere/x.npz"], "no folder"),
        (["index", "{empty}"], "no recordings"),
        (["index", "{audio}", "--model", "maxi"], "no model 'maxi'"),
        (["classify", "{audio}/low.wav", "--attribute", "mood"], "no attribute 'mood'"),
        (["classify", "{audio}/low.wav", "--attribute", "gender", "--template", "x"], "where the label goes"),
        (["classify", "/nowhere.wav"], "no such file"),
        (["embed", "--out", "x.npz"], "at least one"),
        (["evaluate", "classification", "{audio}/low.wav", "--attribute", "gender"], "cannot be read as CSV"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_use_is_explained_in_a_sentence(voxdex, indexed, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    ran = voxdex(*[argument.format(audio=indexed, empty=tmp_path / "empty") for argument in arguments])
    assert ran.status == 2 and message in ran.err and "Traceback" not in ran.err


def test_an_index_refuses_another_model(voxdex, audio, tmp_path, mini):
    other = tmp_path / "other-model"
    shutil.copytree(mini.folder, other)
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"name": "other"}))
    voxdex("index", audio)
    ran = voxdex("index", audio, "--model", other)
    assert ran.status == 2 and "holds embeddings of mini@" in ran.err and "--index" in ran.err
    assert voxdex("index", audio, "--model", other, "--index", "second").status == 0
    assert len(voxdex("search", "x", "--index", "second", "--json").json["hits"]) == 2


def test_classify(process, voxdex, audio):
    ran = process("classify", audio / "low.wav", audio / "gone.wav", "--attribute", "gender", "--attribute", "pitch", "--json")
    assert ran.status == 1 and "gone.wav" in ran.err
    (result,) = ran.json["results"]
    assert result["recording"] == str(audio / "low.wav") and (result["start"], result["end"]) == (
        0.0,
        pytest.approx(3, abs=0.05),
    )
    assert result["gender"]["label"] == max(result["gender"]["scores"], key=result["gender"]["scores"].get)
    assert set(result["pitch"]["scores"]) == {"low", "medium", "high"}
    own = voxdex("classify", audio / "low.wav", "--labels", "bored, excited", "--template", "someone {}", "--json").json
    assert set(own["results"][0]["label"]["scores"]) == {"bored", "excited"}
    table = voxdex("classify", audio / "low.wav")
    assert table.status == 0 and "emotion" in table.out and "%" in table.out


def test_embed(process, audio, tmp_path, mini):
    out = tmp_path / "vectors.npz"
    ran = process("embed", audio / "low.wav", audio / "high.flac", "--caption", "a woman", "--out", out)
    assert ran.status == 0
    vectors = np.load(out)
    assert vectors["speech"].shape == (2, mini.card.dimension) and vectors["speech"].dtype == np.float32
    assert vectors["captions"].shape == (1, mini.card.dimension)
    assert vectors["clips"][0].startswith(f"{audio / 'low.wav'}#0.0-3.")
    assert vectors["captions"][0] @ next(mini.embed_text(["a woman"])) > 0.99999


def test_models(process):
    (model, *_) = process("models", "--json").json["models"]
    assert model["name"] == "mini" and model["licence"] and model["space"].startswith("mini@")
    assert "mini" in process("models").out


def test_evaluate(process, voxdex, demo_archive, tmp_path):
    women = {"anna", "bella", "clara", "julia"}
    manifest = tmp_path / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "gender", "caption"])
        for path in sorted(demo_archive.glob("*-1.*")):
            gender = "female" if path.name.split("-")[0] in women else "male"
            writer.writerow([path.name, gender, f"a {gender} voice"])
        writer.writerow(["gone.wav", "male", "a male voice"])
    ran = process(
        "evaluate",
        "classification",
        manifest,
        "--attribute",
        "gender",
        "--root",
        demo_archive,
        "--json",
        "--plot",
        tmp_path / "c.png",
    )
    assert ran.status == 1 and ran.json["failed"][0]["path"].endswith("gone.wav")
    assert ran.json["clips"] == 10 and ran.json["labels"] == ["female", "male"]
    confusion = np.array(ran.json["confusion"])
    assert confusion.sum() == 10
    assert ran.json["UAR"] == pytest.approx(100 * np.mean(np.diag(confusion) / confusion.sum(1)), abs=0.01)
    low, high = ran.json["intervals"]["UAR"]
    assert 0 <= low <= ran.json["UAR"] <= high <= 100
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    assert ran.json["accuracy"] == pytest.approx(100 * np.trace(confusion) / 10)
    ran = voxdex("evaluate", "retrieval", manifest, "--root", demo_archive, "--json")
    assert ran.json["clips"] == 10 and ran.json["captions"] == 2
    assert ran.json["speech_to_caption"]["R@5"] == 100 and "mAP@10" in ran.json["caption_to_speech"]
    assert ran.json["intervals"]["caption_to_speech"]["R@5"] == [100, 100]


def test_names_are_shown_as_they_are(voxdex, tmp_path):
    path = write_sound(tmp_path / "talk [live] :smile: [b].wav", voice(1.0))
    voxdex("index", path)
    assert "talk [live] :smile: [b].wav" in voxdex("search", "a man", cwd=tmp_path).out
    assert voxdex("classify", path, "--labels", "x{y},z", "--template", "{} {w}", "--json").status == 0


def test_an_archive_that_has_vanished_can_be_pruned(voxdex, audio):
    voxdex("index", audio)
    for path in audio.iterdir():
        path.unlink()
    ran = voxdex("index", audio, "--json")
    assert (ran.status, ran.json["missing"]) == (0, 2)
    assert voxdex("index", audio, "--prune=all", "--json").json["removed"] == 2
    ran = voxdex("search", "a man")
    assert ran.status == 2 and "no clips yet" in ran.err


def test_the_console_script_is_the_same_program(home):
    script = Path(sys.executable).with_name("voxdex")
    if not script.exists():
        pytest.skip("voxdex is not installed in this environment")
    ran = subprocess.run([script, "models", "--json"], capture_output=True, text=True, cwd=home.parent)
    assert json.loads(ran.stdout)["models"][0]["name"] == "mini"


@pytest.mark.parametrize("program", [[ROOT / "cli.py"], ["-m", "voxdex"]])
def test_every_way_in_tells_the_version(program):
    ran = subprocess.run([sys.executable, *program, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stdout) == (0, f"voxdex, version {__version__}\n"), ran.stderr


@pytest.fixture
def searched(indexed, home):
    """Runs a command of the program in a shell."""
    home.mkdir()

    def run(arguments: str, **environment: str) -> subprocess.CompletedProcess:
        command = f"{shlex.quote(sys.executable)} {shlex.quote(str(ROOT / 'cli.py'))} {arguments}"
        there = os.environ | {"OMP_NUM_THREADS": "1"} | environment
        return subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, env=there, cwd=home, timeout=600
        )

    return run


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_output_is_as_good_as_its_encoding(searched, tmp_path, encoding):
    caption = "'a sad wöman ✓'"
    table = searched(f"search {caption} --save {tmp_path}/hits.csv", PYTHONIOENCODING=encoding)
    assert table.returncode == 0, table.stderr
    shown = table.stdout.decode(encoding)
    assert "low" in shown and re.search(r"sad\s+(yes|no)", shown)
    assert len((tmp_path / "hits.csv").read_text(encoding="utf-8").splitlines()) == 3
    document = json.loads(searched(f"search {caption} --json", PYTHONIOENCODING=encoding).stdout.decode(encoding))
    assert document["query"]["caption"] == "a sad wöman ✓"
    assert searched("-h", PYTHONIOENCODING=encoding).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="another operating system: /dev/full")
def test_output_that_cannot_be_written_ends_in_a_sentence(searched):
    for arguments in ("search 'a man'", "search 'a man' --json", "-h", "models"):
        full = searched(f"{arguments} > /dev/full")
        assert full.returncode == 2 and b"The output cannot be written (No space left on device)." in full.stderr
        assert b"Traceback" not in full.stderr and b"Exception ignored" not in full.stderr
        cut = searched(f"{arguments} | true")
        assert cut.returncode in (0, 1) and b"Traceback" not in cut.stderr and b"Exception ignored" not in cut.stderr
    assert searched("search '...' 2> /dev/full").returncode == 2


def test_a_folder_that_is_gone_is_a_sentence(searched, tmp_path):
    gone = f"{tmp_path}/gone"
    for arguments, status in (("search 'a man'", 0), ("index x", 2), ("classify x.wav", 2), ("embed x.wav --out x.npz", 2)):
        done = searched(f"-h > /dev/null; mkdir {gone}; cd {gone}; rmdir {gone}; {sys.executable} {ROOT}/cli.py {arguments}")
        assert done.returncode == status and b"Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="another operating system: names with control characters")
def test_names_with_control_characters_are_told_in_one_line(voxdex, library, tmp_path):
    name = "take\n\x1b[31m\u2028.wav"
    told = r"take\n\x1b[31m\u2028.wav"
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / name).write_bytes(b"RIFF of nothing")
    for arguments in (
        ("index", tmp_path / "archive", "--index", tmp_path / "index"),
        ("search", "--like", tmp_path / "archive" / name, "--index", library / "indexes" / "default"),
        ("embed", tmp_path / "archive" / name, "--out", tmp_path / "vectors.npz"),
        ("classify", tmp_path / "archive" / name),
    ):
        done = voxdex(*arguments)
        assert done.status in (1, 2) and told in done.err and "\x1b" not in done.err and "\u2028" not in done.err, arguments
    write_sound(tmp_path / "archive" / name, voice(1.5))
    assert voxdex("index", tmp_path / "archive", "--index", tmp_path / "index", "--everything").status == 0
    shown = voxdex("search", "a voice", "--index", tmp_path / "index").out
    assert told in shown and "\x1b" not in shown and "\u2028" not in shown
