"""Adapters: fine-tuning with few clips."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("onnxscript", reason="the exporter comes with the train extra")

from tests.fakes.sounds import voice, write_sound
from voxdex.commands.train import print_summary
from voxdex.encoders.model import open_model
from voxdex.encoders.training.data.dataset import load_clips
from voxdex.encoders.training.initial import load_trained
from voxdex.encoders.training.recipe import load_recipe
from voxdex.encoders.training.train import train


@pytest.fixture(scope="module")
def moods(tmp_path_factory):
    """Forty clips of ten speakers, whose "emotion" is their pitch; and the same with labels at random."""
    folder = tmp_path_factory.mktemp("moods")
    rows, rng = [], np.random.default_rng(1)
    for i in range(40):
        emotion, f0 = (("angry", 110), ("sad", 220))[i % 2]
        write_sound(folder / f"{i}.wav", voice(1.0, f0 * (1 + 0.01 * (i % 7)), seed=i))
        rows.append((f"{i}.wav", f"s{i // 4}", emotion))
    for name, labels in (("moods", [row[2] for row in rows]), ("random", rng.permutation([row[2] for row in rows]))):
        lines = [f"{path},{speaker},{label}" for (path, speaker, _), label in zip(rows, labels, strict=True)]
        (folder / f"{name}.csv").write_text("path,speaker,emotion\n" + "\n".join(lines))
    return folder


def fine_tune(folder, out, manifest="moods.csv", *changes):
    return train(load_recipe("fine-tune", changes), [folder / manifest], out, folder / "cache")


def fine_tune_by_command(here, manifest, source, out):
    return here("train", "fine-tune", manifest, "--out", out, "--init-from", source, "--cache", manifest.parent / "cache")


@torch.inference_mode()
def embedding(run) -> np.ndarray:
    """Embed a voice by the network of a run."""
    sound = torch.from_numpy(voice(1.0, 150, seed=1))[None]
    return load_trained(str(run)).network.eval().embed_speech(sound, torch.tensor([sound.shape[1]])).numpy()[0]


def test_labels_are_learned_and_judged_on_other_speakers(moods, small_run, tmp_path):
    result = fine_tune(moods, tmp_path / "run", "moods.csv", f"init_from={small_run[1]}")
    before, after = result.before[0], result.after[0]
    assert (after.name, after.set, after.clips, after.chance) == ("emotion", "cross-validated", 40, 50.0)
    assert result.has_gain and after.value > before.value + 20 and after.value >= 90
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["metrics"] == [after.as_dict()] and about["scales"]["emotion"] and about["scales"]["gender"]
    assert set(about["hears"]["emotion"]) == {"angry", "sad"} and about["hears"]["gender"] == ["female", "male"]


def test_nothing_is_learned_from_labels_at_random(moods, small_run, tmp_path, capsys):
    result = fine_tune(moods, tmp_path / "run", "random.csv", f"init_from={small_run[1]}")
    assert result.has_gain is False
    print_summary(result)
    printed = capsys.readouterr()
    assert "No measurable gain" in printed.err and "cross-validated" in printed.out
    assert embedding(small_run[1]) @ embedding(tmp_path / "run") == pytest.approx(1, abs=1e-5)


def test_fine_tune_a_shipped_model_on_captions(material, voxdex, tmp_path):
    manifest = tmp_path / "captions.csv"
    manifest.write_text((material / "captions.csv").read_text() + "gone.wav,s99,a low man,male|low\n")
    done = voxdex(
        "train", "fine-tune", manifest, "--root", material, "--out", tmp_path / "mine", "--cache", material / "cache", "--json"
    )
    assert done.status == 1 and "gone.wav" in done.err
    assert [failure["path"] for failure in done.json["failed"]] == [str(material / "gone.wav")]
    assert done.json["parity"]["speech_worst"] >= 0.99999 and done.json["after"][0]["name"] == "speech to caption R@10"
    about = json.loads((tmp_path / "mine" / "run.json").read_text())
    assert about["trained_on"][0]["licence"] == "not stated" and about["recipe"]["init_from"] == "mini"
    card, mini = open_model(tmp_path / "mine" / "model").card, open_model("mini").card
    assert card.scales == mini.scales and card.architecture["projection"]["adapter"]
    assert voxdex("index", material / "0.wav", "--model", tmp_path / "mine" / "model").status == 0
    again = voxdex("train", "fine-tune", manifest, "--root", material, "--out", tmp_path / "mine")
    assert again.status == 2 and "is finished" in again.err


def test_an_adapter_is_adapted_again(moods, small_run, tmp_path):
    fine_tune(moods, tmp_path / "once", "moods.csv", f"init_from={small_run[1]}")
    result = fine_tune(moods, tmp_path / "twice", "moods.csv", f"init_from={tmp_path / 'once'}")
    assert result.before[0].value >= 90
    waveform, lengths = torch.from_numpy(voice(1.0, 150, seed=1))[None], torch.tensor([16000])
    with torch.inference_mode():
        once, twice = (
            load_trained(str(tmp_path / name)).network.eval().embed_speech(waveform, lengths) for name in ("once", "twice")
        )
    assert (once * twice).sum() > 0.9


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0.wav,s0,sadd\n1.wav,s1,angry", "'sadd', in the column emotion of 0.wav, is no label and no word for one"),
        ("0.wav,s0,sad\n1.wav,s1,angry", "0 clips have a caption, or a label"),
        ("0.wav,s0,\n1.wav,s1,", "0 clips have a caption, or a label"),
    ],
)
def test_manifests_that_teach_nothing(moods, small_run, here, tmp_path, rows, words):
    (moods / "odd.csv").write_text(f"path,speaker,emotion\n{rows}\n")
    done = fine_tune_by_command(here, moods / "odd.csv", small_run[1], tmp_path / "run")
    assert done.status == 2 and words in " ".join(done.err.split()) and "Traceback" not in done.err


def test_labels_by_other_words_and_cases(moods):
    (moods / "words.csv").write_text("path,emotion\n0.wav, Furious\n1.wav,SAD \n2.wav,joyful|calm\n")
    clips, _ = load_clips([moods / "words.csv"], moods / "cache")
    assert [row["emotion"] for row in clips.rows] == ["angry", "sad", "happy|calm"]


def test_adapters_refuse_odd_recipes(moods, tmp_path, here):
    for changes, words in (
        (("--set", "adapter.folds=1"), "adapter.folds must be 2 or more"),
        (("--init-from", "phonetic"), "is a phonetic model"),
    ):
        done = here("train", "fine-tune", moods / "moods.csv", "--out", tmp_path / "run", "--cache", moods / "cache", *changes)
        assert done.status == 2 and words in " ".join(done.err.split()), done.err
