"""Sources of speech: tracks, and channels that differ."""

import numpy as np
import pytest

from tests.fakes.media import Track, write_media
from tests.fakes.sounds import RATE, music, tone, voice, write_sound
from voxdex.encoders.audio.reader import AudioDecoder, read_audio
from voxdex.encoders.audio.sources import Source, choose_channels

SPEECH = voice(4.0, 120, 1)
OTHER = voice(4.0, 190, 2)
HUM = tone(4.0, 50, level=0.2)
NOISE = 0.05 * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)


@pytest.mark.parametrize(
    ("channels", "chosen"),
    [
        ([SPEECH, SPEECH], (None,)),
        ([SPEECH, 0.3 * SPEECH], (None,)),
        ([SPEECH + 0.05 * NOISE, SPEECH + 0.05 * NOISE[::-1]], (None,)),
        ([SPEECH, np.zeros_like(SPEECH)], (None,)),
        ([SPEECH, -SPEECH], (0,)),
        ([SPEECH, HUM], (0, 1)),
        ([HUM, SPEECH], (0, 1)),
        ([SPEECH, OTHER], (0, 1)),
        ([np.concatenate([SPEECH, 0 * OTHER]), np.concatenate([0 * SPEECH, OTHER])], (0, 1)),
        ([NOISE, NOISE, SPEECH, 0 * SPEECH, NOISE[::-1], NOISE[::-1]], (0, 2, 4)),
        ([SPEECH], (None,)),
    ],
)
def test_channels_with_the_same_sound_are_one_source(channels, chosen):
    assert choose_channels([np.stack(channels).astype(np.float32)]) == chosen
    assert choose_channels([]) == (None,)


def test_speech_of_the_track_or_channel_that_has_it_is_read(tmp_path):
    silent, film = np.zeros_like(SPEECH), music(4.0)
    files = {
        "silent-first.mkv": write_media(tmp_path / "a.mkv", [Track(silent[None]), Track(SPEECH[None])], "aac", picture="mpeg4"),
        "eight.mxf": write_media(
            tmp_path / "b.mxf",
            [Track((SPEECH if i == 2 else silent)[None]) for i in range(8)],
            "pcm_s16le",
            picture="mpeg2video",
        ),
        "opposite.wav": write_media(tmp_path / "c.wav", [Track(np.stack([SPEECH, -SPEECH]))], "pcm_s16le"),
        "hum.wav": write_media(tmp_path / "d.wav", [Track(np.stack([HUM, SPEECH]))], "pcm_s16le"),
        "music.mov": write_media(tmp_path / "e.mov", [Track(np.stack([film, film])), Track(SPEECH[None])], "pcm_s16le"),
    }
    for name, path in files.items():
        sound = read_audio(path)
        count = min(len(sound), len(SPEECH))
        assert np.corrcoef(sound[:count], SPEECH[:count])[0, 1] > 0.95, name


def test_decoders_give_the_sound_of_every_source(tmp_path):
    path = write_media(tmp_path / "a.mkv", [Track(np.stack([SPEECH, OTHER])), Track(HUM[None])], "flac")
    decoder, found = AudioDecoder(path), {}
    for source, part in decoder:
        found.setdefault(source, []).append(part)
    assert decoder.tracks == 2 and set(found) == {Source(0, 0), Source(0, 1), Source(1)}
    assert decoder.sources[-1] == Source(1) and decoder.origin.channels == 2
    for source, sound in ((Source(0, 0), SPEECH), (Source(0, 1), OTHER), (Source(1), HUM)):
        assert np.corrcoef(np.concatenate(found[source])[: len(sound)], sound[: 4 * RATE])[0, 1] > 0.99


def test_a_single_channel_is_not_surveyed(tmp_path, monkeypatch):
    path = write_sound(tmp_path / "a.wav", SPEECH)
    monkeypatch.setattr("voxdex.encoders.audio.sources._survey", lambda *_: pytest.fail("surveyed"))
    assert next(iter(AudioDecoder(path)))[0] == Source(0)
