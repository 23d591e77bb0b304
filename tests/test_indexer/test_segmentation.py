"""Segmentation of recordings into clips, by speech or by windows."""

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from tests.fakes.sounds import RATE, music, silence, tone, voice, write_sound
from voxdex.encoders.audio.reader import SAMPLE_RATE, read_audio
from voxdex.encoders.audio.track import Hole
from voxdex.encoders.audio.vad import SileroVad
from voxdex.indexer.pipeline.clips import Clip, Segmenter, Windows
from voxdex.indexer.pipeline.segmentation import SpeechClips


@pytest.fixture(scope="module")
def sentence(demo_archive) -> np.ndarray:
    """Some seconds of synthetic speech with a peak of 0.5."""
    sound = read_audio(next(demo_archive.rglob("anna*.wav")))
    return sound / np.abs(sound).max() * 0.5


def cut(samples: np.ndarray, block: int = 16_000) -> tuple[list[tuple[float, float]], SpeechClips]:
    blocks = [samples[start : start + block].astype(np.float32) for start in range(0, len(samples), block)]
    clips = SpeechClips(10.0, SileroVad())
    return [(clip.start, clip.end) for clip in pushed(clips, blocks)], clips


def pushed(segmenter: Segmenter, blocks) -> list[Clip]:
    """Return the clips of blocks of sound and holes."""
    return [*(clip for block in blocks for clip in segmenter.push(block)), *segmenter.finish()]


def test_silence_and_music_make_no_clips(sentence):
    parts = [silence(3.0), sentence, silence(4.0), music(12.0), silence(2.0), sentence]
    spans, clips = cut(np.concatenate(parts))
    edges = np.cumsum([len(part) / SAMPLE_RATE for part in parts])
    assert [(round(start), round(end)) for start, end in spans] == [
        (3, round(edges[1])),
        (round(edges[4]), round(edges[5])),
    ]
    assert clips.seconds == pytest.approx(edges[-1], abs=0.001)
    assert clips.non_speech_seconds == pytest.approx(12.0, abs=1.5)


@pytest.mark.parametrize("level", [1.0, 0.03, 0.002])
def test_clips_cover_speech_at_any_level(sentence, level):
    (start, end), *more = cut(level * np.concatenate([silence(2.0), sentence, silence(2.0)]))[0]
    loud = np.flatnonzero(np.abs(sentence) > 0.02) / SAMPLE_RATE
    assert not more
    assert 2.0 + loud[0] - 0.4 < start <= 2.0 + loud[0] and 2.0 + loud[-1] <= end < 2.0 + loud[-1] + 0.4


def test_long_speech_is_cut_without_loss_or_overlap(sentence):
    speech = np.concatenate([sentence, sentence[::-1][:2000], sentence, sentence, sentence, sentence])
    spans, _ = cut(speech)
    assert len(spans) > 1 and all(1.0 < end - start <= 10.0 for start, end in spans)
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))
    heard = np.zeros(len(speech), bool)
    for start, end in spans:
        heard[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] = True
    assert np.square(speech[~heard]).sum() < 0.01 * np.square(speech).sum()


@pytest.mark.parametrize("block", [160, 4_001, 1_000_000])
def test_clips_do_not_depend_on_block_sizes(sentence, block):
    sound = np.concatenate([silence(0.5), sentence, silence(1.5), sentence])
    assert [start for start, _ in cut(sound, block)[0]] == pytest.approx([start for start, _ in cut(sound)[0]], abs=0.1)


@pytest.mark.parametrize(
    "sound", [silence(0.009), silence(30.0), tone(5.0), 0.1 * np.random.default_rng(0).standard_normal(80_000)]
)
def test_sounds_without_speech_make_no_clips(sound):
    assert cut(sound)[0] == []


def test_empty_sound_makes_no_clips():
    assert cut(np.zeros(0))[0] == [] and pushed(Windows(10.0), []) == []


def test_a_hole_ends_a_clip(sentence):
    clips = SpeechClips(10.0, SileroVad())
    parts = [sentence, Hole(RATE // 4), sentence, Hole(3 * RATE), sentence]
    first, second, third = [(clip.start, clip.end) for clip in pushed(clips, parts)]
    seconds = len(sentence) / RATE
    assert first[1] <= seconds and seconds + 0.249 < second[0] < seconds + 0.6
    assert third[0] - second[0] == pytest.approx(seconds + 3, abs=0.1) and clips.seconds == pytest.approx(3 * seconds + 3.25)
    windows = pushed(Windows(10.0), parts)
    assert windows[-1].end == pytest.approx(clips.seconds, abs=0.001)


@pytest.mark.parametrize("level_db", [-80, -60, -50, -40])
@pytest.mark.parametrize("colour", ["white", "brown"])
def test_noise_of_a_room_does_not_begin_a_clip(sentence, level_db, colour):
    noise = np.random.default_rng(0).standard_normal(20 * RATE)
    if colour == "brown":
        noise = np.cumsum(noise - noise.mean())
        noise -= np.convolve(noise, np.ones(801) / 801, "same")
    noise *= 10 ** (level_db / 20) / noise.std()
    sound = np.concatenate([noise, sentence, noise[: 2 * RATE]])
    sound[20 * RATE : -2 * RATE] += noise[: len(sentence)]
    (start, _), *_ = cut(sound)[0]
    assert 19.4 < start < 20.6


def test_memory_does_not_grow_with_the_recording(tmp_path, voxdex):
    """Compare one minute with thirty, mostly of silence."""
    peaks = {}
    for minutes in (1, 30):
        folder = tmp_path / str(minutes)
        folder.mkdir()
        write_long(folder / "tape.flac", minutes)
        done = voxdex("index", folder, "--index", tmp_path / f"index-{minutes}", "--json", "--profile")
        assert done.status == 0, done.err
        assert done.json["clips"] == minutes and done.json["audio_seconds"] == pytest.approx(60 * minutes, abs=1)
        peaks[minutes] = done.json["peak_bytes"]
    assert peaks[30] < 1.3 * peaks[1]


def write_long(path: Path, minutes: int) -> None:
    """Write a recording that repeats one minute with three seconds of speech."""
    minute = np.concatenate([silence(20.0), voice(3.0), silence(37.0)])
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for _ in range(minutes):
            frame = av.AudioFrame.from_ndarray((minute * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_no_vad_indexes_sounds_without_speech(tmp_path, voxdex):
    (tmp_path / "audio").mkdir()
    write_sound(tmp_path / "audio" / "hum.wav", tone(12.0))
    quiet = voxdex("index", tmp_path / "audio", "--index", tmp_path / "speech", "--json").json
    assert (quiet["indexed"], quiet["clips"], quiet["without_speech"]) == (1, 0, 1)
    assert quiet["non_speech_seconds"] == pytest.approx(12.0, abs=0.5)
    loud = voxdex("index", tmp_path / "audio", "--index", tmp_path / "all", "--no-vad", "--json").json
    assert (loud["indexed"], loud["clips"], loud["without_speech"]) == (1, 2, 0)


@pytest.mark.parametrize("seconds", [0.01, 9.99, 10.0, 10.01, 19.0, 19.01, 61.7])
def test_windows_cover_the_recording_and_are_at_most_as_long_as_allowed(seconds):
    samples = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32)
    clips = pushed(Windows(10.0), np.array_split(samples, 7))
    assert all(clip.end - clip.start <= 10.0 for clip in clips)
    covered = np.zeros(len(samples), bool)
    for clip in clips:
        first = round(clip.start * SAMPLE_RATE)
        assert np.array_equal(clip.samples, samples[first : first + len(clip.samples)])
        covered[first : first + len(clip.samples)] = True
    assert covered.all()
    assert len(clips) == max(1, int(np.ceil(round((seconds - 1) / 9, 6))))
