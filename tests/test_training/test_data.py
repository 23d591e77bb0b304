"""What training is made of: captions, truth, sampling, losses, augmentation, edits, recipes. Needs the train extra's torch."""

import csv
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch", reason="torch comes with the train extra")
pytest.importorskip("safetensors", reason="safetensors comes with the train extra")

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.tables import ManifestError
from voxdex.encoders.training.annotate.label_rules import load_measured, played
from voxdex.encoders.training.data.augment import augment, draw_conditions
from voxdex.encoders.training.data.caption_sampling import caption_matches, draw_captions, hard_negative_captions
from voxdex.encoders.training.data.caption_templates import Claim, write_caption
from voxdex.encoders.training.data.dataset import CLAIMS, Clips, split, truth_of
from voxdex.encoders.training.data.sampling import balanced_order, epoch_batches, sampling_weights
from voxdex.encoders.training.losses import (
    attribute_classification,
    contrastive,
    match,
    multi_positive,
    self_distillation,
    tag_classification,
)
from voxdex.encoders.training.recipe import RecipeError, Sampling, known_recipes, load_recipe
from voxdex.encoders.training.scripts.corpora import read_corpus
from voxdex.encoders.training.scripts.distil import caption_texts, wordnet_texts
from voxdex.encoders.training.validation import calibration_error, fit_scale


def labelled(
    rows: list[dict[str, str]], captions: list[tuple[str, ...]] | None = None, source: list[int] | None = None
) -> Clips:
    """Clips without sound."""
    none = np.zeros(len(rows), dtype=int)
    truth = np.stack([truth_of(row) for row in rows])
    return Clips((), none, none, np.array(source or none), truth, captions or [()] * len(rows), rows)


def test_matching_knows_what_is_unknown():
    truth = torch.tensor([[1, -1, 0], [1, 1, 1]])
    claims = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 1]])
    assert match(truth, claims).tolist() == [[1, -1, 0], [1, 1, 1]]


def test_multi_positive_by_hand():
    logits = torch.tensor([[2.0, 1.0, 5.0, 0.0]])
    matches = torch.tensor([[1.0, 1.0, 0.0, -1.0]])
    shares = torch.softmax(torch.tensor([2.0, 1.0, 0.0]), 0)
    assert multi_positive(logits, matches).item() == pytest.approx(-(shares[0].log() + shares[1].log()).item() / 2, abs=1e-5)
    assert multi_positive(logits, torch.tensor([[0.0, 0, 0, -1]])).item() == 0


def test_contrastive_is_infonce_where_each_caption_has_one_clip():
    logits = torch.randn(5, 5)
    expected = torch.nn.functional.cross_entropy(logits, torch.arange(5)) + torch.nn.functional.cross_entropy(
        logits.T, torch.arange(5)
    )
    assert contrastive(logits, 2 * torch.eye(5) - 1).item() == pytest.approx(expected.item() / 2, abs=1e-5)


def test_classification_sums_over_labels_that_could_hold():
    logits = torch.tensor([[1.0, 2.0, 3.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
    shares = torch.softmax(logits[0, :3], 0)
    truth = torch.tensor([[0, 0, -1, 0], [0, 0, 0, 0]])
    found = attribute_classification(logits, truth, [[0, 1, 2], [3]])
    assert found.item() == pytest.approx(-(shares[0] + shares[1]).log().item(), abs=1e-5)


def test_truth_of_a_manifest_row():
    truth = dict(
        zip(
            [claim[:2] for claim in CLAIMS],
            truth_of({"gender": "male", "emotion": "neutral|calm", "style": "soft|kind", "style_not": "wild"}),
            strict=False,
        )
    )
    assert (truth["gender", "male"], truth["gender", "female"]) == (1, -1)
    assert (truth["emotion", "neutral"], truth["emotion", "sad"]) == (0, -1)
    assert (truth["style", "soft"], truth["style", "wild"], truth["style", "cool"]) == (1, -1, 0)
    assert truth["pitch", "low"] == 0


def test_sampling_is_even_over_data_sets_and_speakers():
    speakers = [("a", "x")] * 90 + [("a", "y")] * 10 + [("b", "z")] * 100
    rows = [{"dataset": dataset, "speaker": speaker} for dataset, speaker in speakers]
    weights = sampling_weights(rows, {"b": 3.0})
    assert weights[:90].sum() == pytest.approx(0.125)
    assert weights[90:100].sum() == pytest.approx(0.125)
    assert weights[100:].sum() == pytest.approx(0.75)


def test_captions_say_what_is_claimed_in_many_ways():
    rng = random.Random(0)
    captions = {write_caption([("gender", "female"), ("emotion", "sad")], rng).lower() for _ in range(300)}
    assert len(captions) > 200
    sad = {label.name: label for label in load_attributes()["emotion"].labels}["sad"]
    for caption in captions:
        assert re.search(r"\b(fem\w+|wom\w+|she|her|lady|girl|actress|mother)\b", caption), caption
        assert any(word in caption for word in (*sad.words, "sobb", "weep", "mourn", "lament")), caption


def test_captions_deny_what_does_not_hold():
    rng = random.Random(0)
    claims = [Claim("gender", "male"), Claim("phonation", "whispered", holds=False)]
    captions = {write_caption(claims, rng).lower() for _ in range(200)}
    assert len(captions) > 100
    whispered = {label.name: label for label in load_attributes()["phonation"].labels}["whispered"]
    for caption in captions:
        denied = re.split(r"\b(?:not|no means|without)\b ", caption, maxsplit=1)
        assert len(denied) == 2 and denied[1].startswith(("whisper", *whispered.words)), caption


def test_augmentation_keeps_shape_and_silence_after_the_end():
    waveform = torch.stack([torch.from_numpy(voice(1.0, 120)), torch.zeros(16_000)])
    waveform[0, 9_000:] = 0
    lengths = torch.tensor([9_000, 16_000])
    generator = torch.Generator().manual_seed(1)
    changed = augment(waveform, lengths, draw_conditions(2, generator, chance=1.0), generator)
    assert changed.shape == waveform.shape and torch.isfinite(changed).all()
    assert changed[0, 9_000:].abs().max() == 0
    assert not torch.allclose(changed[0], waveform[0])


def test_vocoder_edits_do_what_they_are_called():
    pytest.importorskip(
        "voxdex.encoders.training.scripts.vocoder_edits",
        reason="pyworld comes with the train and test extras, and needs a C++ compiler to install",
    )
    from voxdex.encoders.training.scripts.vocoder_edits import EDITS, analyse, synthesise

    original = voice(2.0, 130)
    analysis = analyse(original)
    rng = np.random.default_rng(0)

    def edited(name):
        return synthesise(EDITS[name].apply(analysis, rng))

    def median_f0(sound):
        f0 = analyse(sound).f0
        return np.median(f0[f0 > 0]) if (f0 > 0).mean() > 0.3 else 0

    before = median_f0(original)
    assert before == pytest.approx(130, rel=0.1)
    assert median_f0(edited("deeper")) < 0.85 * before
    assert median_f0(edited("higher")) > 1.2 * before
    assert median_f0(edited("whispered")) == 0
    assert len(edited("slow")) > 1.3 * len(original) > 1.3 * 1.3 * len(edited("fast"))
    assert all(np.abs(edited(name)).max() <= 0.71 for name in EDITS)


def test_clips_are_played_faster_and_higher():
    tone = (20_000 * np.sin(2 * np.pi * 400 * np.arange(32_000) / 16_000)).astype(np.int16)
    clips = Clips((tone,), np.array([0]), np.array([32_000]), np.array([0]), np.zeros((1, len(CLAIMS))), [()], [{}])
    waveform, lengths = clips.crops([0, 0, 0], 5.0, [0.0] * 3, [1.0, 1.25, 0.8])
    assert lengths.tolist() == [32_000, 25_600, 40_000] and waveform.shape == (3, 40_000)
    found = [int(torch.fft.rfft(row[:16_000]).abs().argmax()) for row in waveform]
    assert found == [400, 500, 320]
    waveform, lengths = clips.crops([0], 1.0, [0.5], [1.25])
    assert lengths.tolist() == [16_000]


def test_attributes_count_by_their_weights():
    logits, truth = torch.tensor([[2.0, 0.0, 0.0, 5.0]]), torch.tensor([[1, -1, 1, -1]])
    columns = [[0, 1], [2, 3]]
    first, second = (attribute_classification(logits, truth, [part]).item() for part in columns)
    weighted = attribute_classification(logits, truth, columns, [3.0, 1.0]).item()
    assert weighted == pytest.approx((3 * first + second) / 4) != attribute_classification(logits, truth, columns).item()


def crema_d(folder: Path, demo_archive: Path) -> Path:
    """A folder as CREMA-D is distributed, of two clips."""
    (folder / "AudioWAV").mkdir(parents=True)
    for name in ("1002_DFA_SAD_HI.wav", "1003_IEO_NEU_XX.wav"):
        shutil.copy(demo_archive / "anna-1.wav", folder / "AudioWAV" / name)
    actors = "ActorID,Age,Sex,Race,Ethnicity\n1002,51,Female,,\n1003,21,Male,,\n"
    (folder / "VideoDemographics.csv").write_text(actors)
    return folder


def test_crema_d_is_read_as_it_is_distributed(demo_archive, tmp_path):
    sad, neutral = read_corpus(crema_d(tmp_path, demo_archive))
    assert (sad["speaker"], sad["gender"], sad["age"]) == ("crema-d-1002", "female", "middle-aged")
    assert (sad["emotion"], sad["intensity"], sad["licence"]) == ("sad", "strong", "ODbL 1.0")
    assert (neutral["emotion"], neutral["intensity"], neutral["age"]) == ("neutral", "", "young")
    (tmp_path / "AudioWAV" / "1002_XXX.wav").touch()
    with pytest.raises(ManifestError, match=r"1002_XXX\.wav is not named as CREMA-D's clips are"):
        read_corpus(tmp_path)


def test_a_folder_without_labels_is_refused_by_preparing(tmp_path):
    from voxdex.encoders.training.scripts.prepare import main as prepare

    done = CliRunner().invoke(prepare, [str(tmp_path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 1 and "has neither a clips.csv" in done.output


def test_preparing_measures_edits_and_splits_by_speaker(demo_archive, tmp_path, monkeypatch):
    pytest.importorskip(
        "voxdex.encoders.training.scripts.vocoder_edits",
        reason="pyworld comes with the train and test extras, and needs a C++ compiler to install",
    )
    from voxdex.encoders.training.annotate.acoustics import measure
    from voxdex.encoders.training.scripts.prepare import main as prepare

    votes = "ann1: clear, very raspy || ann2: slightly clear, raspy || ann3: calm"
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow("path dataset licence speaker gender age emotion intensity style duration".split())
        for name in ("edgar-1.opus", "anna-1.wav", "bella-1.flac"):
            writer.writerow([demo_archive / name, "librispeech-libritts-p", "CC BY 4.0", name, "", "", "", "", votes, 2.0])
        writer.writerow([demo_archive / "julia-monotone-1.mp3", "vctk", "CC BY 4.0", "p1", "female", "22", "", "", "", 2.0])
        for licence in ("demo page: evaluation only", "licence unknown: evaluation only"):
            writer.writerow(["demo.wav", "demo", licence, "d", "", "", "", "", "", 2.0])
        write_sound(tmp_path / "long.wav", np.concatenate([voice(9.0, 100, 1), voice(9.0, 190, 2)]))
        writer.writerow([tmp_path / "long.wav", "reader", "none", "l", "", "", "", "", "", 18.0])
    arguments = [tmp_path, "--add", crema_d(tmp_path / "crema-d", demo_archive), "--out", tmp_path / "out", "--edits", 2]
    done = CliRunner().invoke(prepare, [str(argument) for argument in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    real, stretches, acted, edits = rows[:4], rows[4:7], rows[7], rows[9:]
    assert [row["duration"] for row in stretches] == ["6.00"] * 3 and {row["speaker"] for row in stretches} == {"l"}
    assert [stretches[i]["pitch"] for i in (0, 2)] == ["low", "medium"]
    assert all(float(row["pitch_hz"]) > 0 and float(row["syllables_per_second"]) > 0 for row in real + stretches)
    assert (acted["dataset"], acted["gender"], acted["split"]) == ("crema-d", "female", "train")
    assert (acted["emotion"], acted["intensity"]) == ("sad", "strong")
    assert {row["age"] for row in real} == {""}
    assert [row["pitch"] for row in real] == ["low", "medium", "high", "medium"]
    assert [row["split"] for row in real] == ["train", "train", "train", "valid"]
    assert (real[0]["clarity"], real[0]["texture"], real[0]["style"]) == ("clear", "rough", "")
    assert "calm" not in real[0]["style_not"] and "wild" in real[0]["style_not"]
    assert real[0]["emotion"] == "neutral|calm" and real[3]["phonation"] == "modal"
    assert len(edits) == 18 and {row["split"] for row in edits if row["speaker"] == "p1"} <= {"valid"}
    whispered = next(row for row in edits if row["dataset"] == "edit-whispered")
    assert (whispered["phonation"], whispered["pitch"], whispered["emotion"]) == ("whispered", "", "")
    assert all(Path(row["path"]).exists() for row in rows)

    manifest, journal = tmp_path / "out" / "manifest.csv", tmp_path / "out" / "measured.jsonl"
    whole, lines = manifest.read_bytes(), journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:30])  # of an interrupted run: three recordings, and half of one
    measured = []
    monkeypatch.setattr(
        "voxdex.encoders.training.scripts.prepare.measure", lambda samples: measured.append(samples) or measure(samples)
    )
    assert CliRunner().invoke(prepare, [str(argument) for argument in arguments], catch_exceptions=False).exit_code == 0
    assert manifest.read_bytes() == whole and journal.read_bytes() == b"".join(lines)
    assert len(measured) == len(rows) - len(edits) - 3


def test_the_dictionary_is_read_for_people_and_voices(tmp_path):
    entry = '00001740 00 a 02 sad 0 sorrowful(p) 0 000 | feeling grief; "a sad smile"'
    for part in ("adj", "adv", "noun", "verb"):
        (tmp_path / f"data.{part}").write_text("  1 a licence line\n")
    (tmp_path / "data.adj").write_text(f"  1 a licence line\n{entry}\n{entry.replace(' 00 a', ' 44 a')}\n")
    texts, adjectives = wordnet_texts(tmp_path)
    assert texts == ["sad", "sorrowful", "sad: feeling grief", "a sad smile"] and adjectives == ["sad", "sorrowful"]
    captions = caption_texts(1500, adjectives, random.Random(0))
    assert len(captions) == 1500 and any("sorrowful" in caption for caption in captions)


def test_tags_are_multi_label_classification_over_clips_that_have_some():
    logits, tags = torch.tensor([[2.0, -1.0], [0.5, 0.5], [3.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    sure = torch.sigmoid(torch.tensor([2.0, 1.0, -0.5, 0.5])).log()
    assert tag_classification(logits, tags).item() == pytest.approx(-sure.mean().item(), abs=1e-6)
    assert tag_classification(logits, torch.zeros(3, 2)).item() == 0


@pytest.mark.parametrize("form", ["cross-entropy", "squared"])
def test_soft_matches_are_least_where_student_and_teacher_agree(form):
    teacher = torch.tanh(torch.randn(6, 6, generator=torch.Generator().manual_seed(0)))
    student = teacher.clone().requires_grad_()
    here = self_distillation(student, teacher, form, 0.05)
    here.backward()
    assert student.grad.abs().max() < 1e-5
    assert self_distillation(teacher + 0.1 * torch.randn(6, 6), teacher, form, 0.05) > here
    if form == "cross-entropy":
        rows = -((teacher / 0.05).softmax(1) * (teacher / 0.05).log_softmax(1)).sum(1).mean()
        columns = -((teacher / 0.05).softmax(0) * (teacher / 0.05).log_softmax(0)).sum(0).mean()
        assert here.item() == pytest.approx((rows + columns).item() / 2, rel=1e-5)


def test_balanced_sampling_evens_tags_out_and_has_rare_ones_in_each_batch():
    tags = [{"deep"}] * 900 + [{"deep", "soft"}] * 95 + [{"lisp"}] * 3 + [set()] * 2
    drawn = np.array(balanced_order(tags, 50, Sampling("balanced"), np.random.default_rng(0)))
    share = {name: np.mean([name in tags[i] for i in drawn]) for name in ("deep", "soft", "lisp")}
    assert share["lisp"] > 0.2 and share["soft"] > 0.2
    scarce = [{"deep"}] * 9999 + [{"lisp"}]
    for rare in (0, 2):
        order = balanced_order(scarce, 20, Sampling("balanced", rare_clips=rare), np.random.default_rng(0))
        counts = [sum(i == 9999 for i in order[start : start + 20]) for start in range(0, 200, 20)]
        assert min(counts) >= rare


def test_manifests_are_interleaved_until_the_longest_is_exhausted():
    clips = labelled([{}] * 13, source=[0] * 10 + [1] * 3)
    batches = epoch_batches(clips, [set()] * 13, Sampling(), 4, (1, 0))
    order = [i for batch in batches for i in batch]
    assert len(batches) == 5 and set(order) == set(range(13)) and sorted(order)[:10] == list(range(10))
    assert all(sum(i < 10 for i in batch) == 2 for batch in batches)
    assert (
        batches
        == epoch_batches(clips, [set()] * 13, Sampling(), 4, (1, 0))
        != epoch_batches(clips, [set()] * 13, Sampling(), 4, (1, 1))
    )


def test_a_written_caption_fits_its_clips_and_a_made_one_those_whose_labels_it_says():
    rows = [{"gender": "female"}, {"gender": "male"}, {"gender": "female"}, {}]
    clips = labelled(rows, [(), (), ("she murmurs",), ("she murmurs",)])
    captions = draw_captions(clips, random.Random(0))
    assert captions.written == [False, False, True, True] and captions.texts[2] == "she murmurs"
    fits = caption_matches(clips, captions)
    assert fits[:, 0].tolist() == [1, -1, 1, 0] and fits[:, 1].tolist() == [-1, 1, -1, 0]
    assert fits[:, 2].tolist() == [0, -1, 1, 1]


def test_a_denial_fits_where_what_it_denies_does_not_hold():
    truth = torch.tensor([[1, -1], [-1, 1], [1, 0]])
    claims = torch.tensor([[1.0, -1.0], [0.0, -1.0]])
    assert match(truth, claims).tolist() == [[1, 1], [-1, -1], [0, 0]]


def test_a_twisted_caption_is_false_of_its_clip_in_one_claim():
    rows = [{"gender": "female", "emotion": "sad", "phonation": "whispered"}, {"gender": "male", "emotion": "calm"}] * 8
    clips = labelled(rows, [("she weeps",)] + [()] * 15)
    captions = draw_captions(clips, random.Random(1), negations=0.5)
    twisted = hard_negative_captions(clips, captions, 1.0, random.Random(0))
    assert len(twisted.texts) == 15 and (captions.claims < 0).any()
    for clip, (own, false) in enumerate(zip(captions.claims[1:], twisted.claims, strict=True), 1):
        changed = torch.nonzero(own != false).flatten().tolist()
        assert len({CLAIMS[column].attribute for column in changed}) == 1 and len(changed) == 2
        assert match(torch.from_numpy(clips.truth[clip : clip + 1]), false[None]).item() == -1
    assert caption_matches(clips, captions + twisted).shape == (16, 31)
    assert hard_negative_captions(clips, captions, 0.0, random.Random(0)).texts == []


@pytest.mark.parametrize(
    ("measures", "cells", "speed", "changed"),
    [
        ({"pitch_hz": "210"}, {"pitch": "medium"}, 1.1, {"pitch": "high"}),
        ({"pitch_hz": "120"}, {"pitch": "medium"}, 1 / 1.1, {"pitch": "low"}),
        ({"pitch_hz": "150"}, {"pitch": "medium"}, 1.1, {}),
        ({"pitch_hz": "210"}, {"pitch": "medium"}, 1.0, {}),
        ({"syllables_per_second": "5.4"}, {"speed": "fast"}, 0.92, {"speed": ""}),
        ({"syllables_per_second": "3.4"}, {"speed": ""}, 0.92, {"speed": "slow"}),
        ({"centroid_hz": "690", "snr_db": "30"}, {"brightness": ""}, 1.1, {"brightness": "bright"}),
        ({"rt60_seconds": "0.26"}, {"reverberation": ""}, 1.1, {"reverberation": "dry"}),
        ({"pitch_range_semitones": "4.0", "jitter_percent": "2.0"}, {}, 1.1, {}),
        ({"pitch_hz": "210"}, {"pitch": ""}, 1.1, {}),  # forgotten, since it was edited
        ({"pitch_hz": "210"}, {"pitch": "low"}, 1.1, {}),  # said by somebody, not measured
        ({}, {"pitch": "medium", "speed": "slow"}, 1.1, {}),
    ],
)
def test_labels_follow_the_speed_that_a_clip_is_played_at(measures, cells, speed, changed):
    assert played(measures | cells, speed) == changed


def test_labels_after_a_change_of_speed_are_those_of_the_sound_as_it_is_then():
    """Against measuring the changed sound itself, for pitches and speeds all over the range."""
    from voxdex.encoders.training.annotate.acoustics import measure
    from voxdex.encoders.training.annotate.annotation import make_row

    for f0 in (100, 109, 118, 140, 170):
        sound = voice(3.0, f0, f0)
        row = make_row({}, measure(sound))
        for speed in (1 / 1.1, 1.1):
            clip = Clips(
                ((32767 * sound).astype(np.int16),), *(np.array([n]) for n in (0, len(sound), 0)), np.zeros((1, 1)), [()], [{}]
            )
            faster = clip.crops([0], 5.0, [0.0], [speed])[0][0].numpy()
            measured = make_row({}, measure(faster))
            pitch = float(row["pitch_hz"]) * speed
            assert float(measured["pitch_hz"]) == pytest.approx(pitch, rel=0.03)
            if min(abs(pitch / edge - 1) for edge in load_measured()["pitch"].bins[0].edges) > 0.03:
                assert (row | played(row, speed))["pitch"] == measured["pitch"]


def test_a_clip_of_which_several_labels_could_hold_counts_less_where_it_is_asked_for():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    truth = torch.tensor([[1, -1, -1], [0, 0, -1]])
    shares = torch.softmax(logits, dim=1)
    certain, possible = -shares[0, 0].log().item(), -shares[1, :2].sum().log().item()
    for ambiguous in (1.0, 0.1, 0.0):
        mean = (certain + ambiguous * possible) / (1 + ambiguous)
        assert attribute_classification(logits, truth, [[0, 1, 2]], None, ambiguous).item() == pytest.approx(mean, abs=1e-5)
    assert attribute_classification(logits[1:], truth[1:], [[0, 1, 2]], None, 0.0).item() == 0


def test_a_corpus_is_left_out_with_all_of_its_speakers():
    rows = [
        {"path": f"{i}", "dataset": dataset, "speaker": speaker, "split": "train"}
        for i, (dataset, speaker) in enumerate(
            [("nemo", "a"), ("nemo", "b"), ("ravdess", "c"), ("edit-creaky", "a"), ("edit-creaky", "c"), ("other", "")]
        )
    ]
    assert split(rows, ("nemo",)) == ([2, 4, 5], [0, 1])
    assert split(rows, ("nemo", "rav")) == ([5], [0, 1, 2])
    with pytest.raises(ManifestError, match="leave_out"):
        split(rows, ("crema",))


def test_what_surroundings_make_true_is_known_of_the_clip():
    conditions = draw_conditions(400, torch.Generator().manual_seed(0), chance=0.5)
    cells = conditions.labels()
    assert 150 < sum(map(bool, cells)) < 250
    assert {cell["noise"] for cell in cells if "noise" in cell} == {"", "noisy"} and any(cell.get("channel") for cell in cells)
    clips = labelled([{"noise": "clean", "gender": "male"}] * 400).relabel(cells)
    column = CLAIMS.index(Claim("noise", "clean"))
    for cell, truth in zip(cells, clips.truth, strict=True):
        assert truth[column] == {"noisy": -1, "": 0, None: 1}[cell.get("noise")]
        assert truth[CLAIMS.index(Claim("gender", "male"))] == 1


def test_nothing_is_known_of_a_caption_that_claims_nothing():
    clips = labelled([{}, {"gender": "male"}])
    assert caption_matches(clips.select([0, 1]), draw_captions(clips.select([0, 1]), random.Random(0)))[:, 0].tolist() == [0, 0]


def test_a_fitted_scale_calibrates():
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-0.3, 0.3, (4000, 3))
    shares = np.exp(12 * cosines) / np.exp(12 * cosines).sum(axis=1, keepdims=True)
    held = np.array([rng.choice(3, p=row) for row in shares])
    truth = np.where(np.arange(3) == held[:, None], 1, -1)
    assert fit_scale(cosines, truth) == pytest.approx(12, rel=0.1)
    vague = np.where(truth == -1, -1, 0)
    vague[np.arange(4000), (held + 1) % 3] = 0
    assert fit_scale(cosines, vague) == pytest.approx(12, rel=0.3)
    right = shares.argmax(axis=1) == held
    assert calibration_error(shares.max(axis=1), right) < 3 < 10 < calibration_error(np.full(4000, 0.99), right)


def test_speakers_are_held_out_whole():
    rows = [{"path": f"{i}.wav", "speaker": f"s{i % 8}"} for i in range(80)]
    train, valid = split(rows)
    assert sorted(train + valid) == list(range(80)) and len(valid) == 10
    assert {rows[i]["speaker"] for i in train}.isdisjoint(rows[i]["speaker"] for i in valid)
    assert len(split([{"path": f"{i}.wav"} for i in range(50)])[1]) == 5
    assert split([{"path": "a", "split": "train"}, {"path": "b", "split": "test"}]) == ([0], [1])


def test_the_recipes_say_what_the_papers_say():
    assert {"paraspeechclap-intrinsic", "paraspeechclap-situational", "paraspeechclap-combined"} <= set(known_recipes())
    situational, combined, intrinsic = (
        load_recipe(f"paraspeechclap-{name}") for name in ("situational", "combined", "intrinsic")
    )
    assert (situational.schedule.epochs, situational.schedule.batch, situational.schedule.learning_rate) == (25, 128, 1e-5)
    assert (combined.schedule.epochs, combined.loss.positives) == (5, "identity")
    assert (intrinsic.schedule.steps, intrinsic.schedule.epochs, intrinsic.sampling.order) == (4500, 0, "balanced")
    assert (intrinsic.loss.tags, intrinsic.loss.tag_scale, len(intrinsic.loss.tag_templates)) == (1.0, "none", 6)
    assert intrinsic.projection == {"kind": "residual", "dimension": 768, "dropout": 0.5}
    assert load_recipe("ess-clap").speech_tower["layers"] == "weighted"
    student = load_recipe("ra-clap", ("init_from=runs/ess",))
    assert (student.loss.contrastive, student.loss.self_distillation, student.loss.distillation_temperature) == (0.0, 1.0, 0.05)
    assert load_recipe("mini").loss.positives == load_recipe("fine-tune").loss.positives == "labels"


def test_a_tower_of_another_kind_takes_nothing_over():
    mini, changed = load_recipe("mini"), load_recipe("mini", ("speech_tower.kind=whisper", "speech_tower.layers=[2]"))
    assert mini.speech_tower["kind"] == "convnext" and changed.speech_tower == {"kind": "whisper", "layers": [2]}
    assert changed.text_tower == mini.text_tower
    assert load_recipe("mini", ("speech_tower.kind=convnext",)).speech_tower == mini.speech_tower
    assert "mel_bins" not in load_recipe("mini-4").speech_tower and load_recipe("mini-4").card["hears"] == mini.card["hears"]


def test_a_recipe_is_changed_field_by_field(tmp_path):
    changed = load_recipe(
        "paraspeechclap-situational", ("schedule.steps=7", "text_tower.source=/a b/c", "loss.tag_columns=['x']")
    )
    assert (changed.schedule.steps, changed.schedule.epochs, changed.text_tower["source"]) == (7, 0, "/a b/c")
    assert changed.loss.tag_columns == ("x",)
    (tmp_path / "mine.toml").write_text('extends = "mini"\n[schedule]\nepochs = 2\n')
    assert load_recipe(str(tmp_path / "mine.toml")).schedule.epochs == 2
    for change, words in (
        ("steps", "not an assignment"),
        ("schedule.precision=fp8", "'fp32' or 'bf16'"),
        ("schedule.batch=1", "must be 2 or more"),
        ("schedule.learning_rate=-1", "cannot be negative"),
        ("nonsense.a=1", "no field 'nonsense' in a recipe"),
    ):
        with pytest.raises(RecipeError, match=words):
            load_recipe("mini", (change,))
