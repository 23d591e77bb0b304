"""Clips of recordings with several tracks, and with channels that differ."""

import numpy as np
import pytest

from tests.fakes.media import Track, write_media
from tests.fakes.sounds import RATE, tone, voice
from voxdex.encoders.audio.reader import read_audio

QUIET = np.zeros(2 * RATE, np.float32)
SPEECH = np.concatenate([QUIET, voice(3.0, 120, 1), QUIET, voice(2.0, 120, 2), QUIET])
OTHER = np.concatenate([QUIET, QUIET[:RATE], voice(3.5, 180, 3), QUIET[: RATE // 2], QUIET, QUIET])
HUM = tone(len(SPEECH) / RATE, 50, level=0.05)[: len(SPEECH)]


@pytest.fixture
def index(voxdex, tmp_path):
    def index(*tracks, name="film.mkv", codec="flac", picture=""):
        folder = tmp_path / "films"
        folder.mkdir(exist_ok=True)
        write_media(folder / name, tracks, codec, picture=picture)
        done = voxdex("index", folder, "--index", tmp_path / name, "--json")
        assert done.status == 0 and done.json["failed"] == [], done.err
        hits = voxdex("search", "a voice", "--index", tmp_path / name, "--json", "-n", 50, "--fold", 1).json["hits"]
        (folder / name).rename(tmp_path / f"done-{name}")
        return sorted((hit["start"], hit["end"], hit["track"], hit["channel"]) for hit in hits)

    return index


def spans(found):
    return [(round(start), round(end)) for start, end, *_ in found]


def test_speech_of_any_track_becomes_clips(index):
    assert spans(index(Track(SPEECH[None]))) == [(2, 5), (7, 9)]
    found = index(Track(0 * SPEECH[None]), Track(SPEECH[None]), name="obs.mkv")
    assert spans(found) == [(2, 5), (7, 9)] and {place[2:] for place in found} == {(2, None)}
    found = index(Track(SPEECH[None]), Track(OTHER[None]), name="two.mkv")
    assert [(round(start), track) for start, _, track, _ in found] == [(2, 1), (3, 2), (7, 1)]


def test_copies_of_the_same_speech_in_several_tracks_are_one_clip(index):
    noisy = SPEECH + 0.01 * np.random.default_rng(1).standard_normal(len(SPEECH)).astype(np.float32)
    assert len(index(Track(SPEECH[None]), Track(0.5 * SPEECH[None]), Track(noisy[None]))) == 2


def test_what_was_left_out_is_said(voxdex, tmp_path):
    write_media(tmp_path / "film.mkv", [Track(SPEECH[None]), Track(0.5 * SPEECH[None])], "flac")
    run = voxdex("index", tmp_path / "film.mkv", "--index", tmp_path / "speech")
    assert "2 clips whose speech another track or channel has" in run.out
    assert voxdex("status", "--index", tmp_path / "speech", "--json").json["repeated_clips"] == 2
    run = voxdex("index", tmp_path / "film.mkv", "--no-vad", "--index", tmp_path / "all")
    assert "1 tracks (--no-vad takes the first alone)" in run.out
    assert "1 tracks (--no-vad" in voxdex("status", "--index", tmp_path / "all").out


def test_channels_that_differ_are_read_by_themselves(index):
    found = index(Track(np.stack([SPEECH, OTHER])), name="two.wav", codec="pcm_s16le")
    assert [(round(start), channel) for start, _, _, channel in found] == [(2, 1), (3, 2), (7, 1)]
    found = index(Track(np.stack([HUM, SPEECH])), name="hum.wav", codec="pcm_s16le")
    assert spans(found) == [(2, 5), (7, 9)] and {place[2:] for place in found} == {(None, 2)}
    found = index(Track(np.stack([SPEECH, -SPEECH])), name="opposite.wav", codec="pcm_s16le")
    assert spans(found) == [(2, 5), (7, 9)] and {place[2:] for place in found} == {(None, 1)}
    found = index(Track(np.stack([SPEECH, SPEECH])), name="same.wav", codec="pcm_s16le")
    assert spans(found) == [(2, 5), (7, 9)] and {place[2:] for place in found} == {(None, None)}


def test_clips_are_cut_out_of_their_track_and_channel(voxdex, tmp_path):
    (tmp_path / "films").mkdir()
    path = write_media(tmp_path / "films" / "a.mkv", [Track(HUM[None]), Track(np.stack([SPEECH, OTHER]))], "flac")
    assert voxdex("index", path).status == 0
    done = voxdex("search", "a voice", "--where", "track=2 and channel=2", "--json", "--copy-to", tmp_path / "clips")
    [hit] = done.json["hits"]
    [clip] = (tmp_path / "clips").iterdir()
    sound, whole = read_audio(clip), OTHER[int(hit["start"] * RATE) : int(hit["end"] * RATE)]
    assert np.corrcoef(sound[: len(whole)], whole[: len(sound)])[0, 1] > 0.99
