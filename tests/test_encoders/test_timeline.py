"""The recording's own clock: late sound, holes, and clocks that are set anew."""

import numpy as np
import pytest
from scipy.signal import correlate

from tests.fakes.media import Track, write_media
from tests.fakes.sounds import RATE, voice
from voxdex.encoders.audio.reader import AudioReader, read_audio
from voxdex.encoders.audio.timeline import Timed, Timeline
from voxdex.search.clip_audio import extract_clip

PICTURED = {
    "mkv": ("aac", "mpeg4"),
    "mp4": ("aac", "mpeg4"),
    "mov": ("pcm_s16le", "mpeg4"),
    "ts": ("aac", "mpeg2video"),
    "m2ts": ("ac3", "mpeg2video"),
    "webm": ("libopus", "libvpx"),
    "flv": ("aac", "flv"),
    "wmv": ("wmav2", "wmv2"),
    "mpg": ("mp2", "mpeg2video"),
    "vob": ("ac3", "mpeg2video"),
    "nut": ("aac", "mpeg4"),
}
"""Containers with their codecs of sound and pictures."""
HOLED = ("mkv", "mp4", "ts", "m2ts", "webm", "flv", "wmv", "mpg", "vob")
SOUND = np.concatenate([voice(2.0, 120, 1), voice(4.0, 180, 2), voice(2.0, 100, 3)])


def delay(sound: np.ndarray, of: np.ndarray, longest: float = 1.0) -> float:
    """Return the seconds by which a part of a sound is later in `sound` than in `of`, where correlation is highest."""
    products = correlate(sound, of, "full", "fft")
    middle, reach = len(of) - 1, int(longest * RATE)
    low = max(0, middle - reach)
    return (low + int(np.argmax(np.abs(products[low : middle + reach + 1]))) - middle) / RATE


@pytest.mark.parametrize("ending", PICTURED)
def test_late_sound_begins_late(tmp_path, ending):
    codec, picture = PICTURED[ending]
    path = write_media(tmp_path / f"late.{ending}", [Track(SOUND[None], late=3.0)], codec, rate=48_000, picture=picture)
    sound = read_audio(path)
    silence, rest = sound[: int(2.9 * RATE)], sound[3 * RATE :]
    assert not silence.any() and abs(delay(rest[: len(SOUND)], SOUND)) < 0.05
    assert len(sound) / RATE == pytest.approx(11, abs=0.1)


@pytest.mark.parametrize("ending", HOLED)
def test_holes_are_silent(tmp_path, ending):
    codec, picture = PICTURED[ending]
    path = write_media(tmp_path / f"hole.{ending}", [Track(SOUND[None], hole=(3.0, 5.0))], codec, picture=picture)
    reader = AudioReader(path)
    sound = np.concatenate(list(reader))
    assert reader.damage is None and not sound[int(3.2 * RATE) : int(4.9 * RATE)].any()
    for start, end in ((0.2, 2.8), (5.2, 7.8)):
        part = slice(int(start * RATE), int(end * RATE))
        assert abs(delay(sound[part], SOUND[part])) < 0.05


@pytest.mark.parametrize(("kind", "ending"), [*(("late", each) for each in PICTURED), *(("hole", each) for each in HOLED)])
def test_what_is_cut_is_the_sound_that_is_indexed(tmp_path, ending, kind):
    codec, picture = PICTURED[ending]
    track = Track(SOUND[None], late=3.0) if kind == "late" else Track(SOUND[None], hole=(3.0, 5.0))
    path = write_media(tmp_path / f"x.{ending}", [track], codec, picture=picture)
    sound = read_audio(path)
    for start, end in ((3.2, 4.4), (6.3, 7.8)) if kind == "late" else ((0.4, 1.9), (2.0, 6.0), (6.3, 7.6)):
        clip = read_audio(extract_clip(path, start, end, folder=tmp_path, name=f"{start}"))
        whole = sound[int(start * RATE) : int(end * RATE)]
        assert abs(len(clip) - len(whole)) <= 800 and abs(delay(clip, whole)) < 0.02


def test_sound_of_a_stream_that_starts_at_ten_hours(tmp_path):
    track = Track(SOUND[None], late=36_000.0)
    path = write_media(tmp_path / "x.ts", [track], "mp2", container="mpegts")
    sound = read_audio(path)
    assert len(sound) / RATE == pytest.approx(8, abs=0.1) and abs(delay(sound[: len(SOUND)], SOUND)) < 0.05


def test_a_clock_that_is_set_anew_does_not_move_the_sound():
    class Container:
        class format:
            name = "mpegts"

        start_time = 0

    timeline = Timeline(Container)
    frames = [Timed(time, 0.5, time) for time in (0.0, 0.5, 1.0, 90_000.0, 90_000.5, 90_001.0, 7.0, 7.5, 9.5, 10.0, 99.0, 11.0)]
    placed = [each for frame in frames for each in timeline.push(frame)]
    starts = [each.start for each in [*placed, *timeline.finish()]]
    assert starts == pytest.approx([0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 5.5, 6.0, 6.5, 7.0])


def test_times_that_are_unknown_or_rounded_leave_no_hole():
    class Container:
        class format:
            name = "matroska"

        start_time = None

    timeline = Timeline(Container)
    frames = [Timed(None if i % 3 else round(i * 0.0213, 3), 0.0213, i) for i in range(200)]
    starts = [placed.start for frame in frames for placed in timeline.push(frame)]
    assert starts == pytest.approx([0.0213 * i for i in range(200)], abs=1e-6)


def test_clips_of_late_sound_have_the_times_of_a_player(tmp_path, voxdex):
    quiet = np.zeros(2 * RATE, np.float32)
    sound = np.concatenate([quiet, voice(3.0, 120, 1), quiet, voice(2.5, 120, 2), quiet])
    folder = tmp_path / "films"
    folder.mkdir()
    write_media(folder / "late.mkv", [Track(sound[None], late=3.0)], "aac", picture="mpeg4")
    write_media(folder / "hole.mkv", [Track(sound[None], hole=(5.2, 6.8))], "aac", picture="mpeg4")
    assert voxdex("index", folder).status == 0
    hits = voxdex("search", "a voice", "--fold", 1, "--json", "--copy-to", tmp_path / "clips").json["hits"]
    spans = {
        name: sorted((hit["start"], hit["end"]) for hit in hits if hit["recording"].endswith(name))
        for name in ("late.mkv", "hole.mkv")
    }
    assert np.allclose(spans["late.mkv"], [(5, 8), (10, 12.5)], atol=0.3)
    assert np.allclose(spans["hole.mkv"], [(2, 5), (7, 9.5)], atol=0.3)
    for hit in hits:
        [clip] = (tmp_path / "clips").glob(f"{hit['rank']:02d} *")
        whole = read_audio(hit["recording"])[int(hit["start"] * RATE) : int(hit["end"] * RATE)]
        assert abs(delay(read_audio(clip), whole)) < 0.02


def test_whole_files_of_unknown_length_are_not_damaged(tmp_path):
    joined = tmp_path / "joined.mp3"
    one = write_media(tmp_path / "one.mp3", [Track(SOUND[None])], "libmp3lame", rate=44_100)
    two = write_media(
        tmp_path / "two.mp3", [Track(SOUND[None][:, :RATE])], "libmp3lame", rate=44_100, options={"write_xing": "0"}
    )
    joined.write_bytes(two.read_bytes() + one.read_bytes())
    streamed = write_media(tmp_path / "s.aac", [Track(SOUND[None])], "aac", container="adts")
    film = write_media(tmp_path / "s.wmv", [Track(SOUND[None][:, : 2 * RATE]), Track(SOUND[None])], "wmav2", picture="wmv2")
    for path, seconds in ((one, 8), (two, 1), (joined, 9), (streamed, 8), (film, 8)):
        reader = AudioReader(path)
        assert sum(map(len, reader)) / RATE == pytest.approx(seconds, abs=0.2) and reader.damage is None, path


def test_a_windows_file_that_is_cut_short_is_damaged(tmp_path):
    path = write_media(tmp_path / "a.wma", [Track(SOUND[None])], "wmav2", rate=44_100)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reader = AudioReader(path)
    assert sum(map(len, reader)) < 6 * RATE and reader.damage
