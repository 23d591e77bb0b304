"""Clips cut out of recordings."""

import av
import numpy as np
import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.audio.reader import read_audio
from voxdex.search.clip_audio import extract_clip


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3", "opus", "m4a"])
def test_clips_are_cut_to_the_sample(demo_archive, tmp_path, ending):
    path = next(demo_archive.glob(f"*.{ending}"))
    clip = extract_clip(path, 0.5, 1.2, folder=tmp_path, name="clip")
    with av.open(str(clip)) as container:
        assert container.streams.audio[0].codec_context.name == ("pcm_s16le" if ending == "wav" else "flac")
    part, whole = read_audio(clip), read_audio(path)[8000 : int(1.2 * 16_000)]
    assert abs(len(part) - len(whole)) <= 2 and np.abs(part[50:11000] - whole[50:11000]).max() < 0.01


@pytest.mark.parametrize(
    ("name", "codec", "cut_as", "played_as"),
    [
        ("x.aiff", "pcm_s16be", "pcm_s16le", "pcm_s16le"),
        ("x.aiff", "pcm_s8", "pcm_u8", "pcm_u8"),
        ("x.wav", "pcm_f64le", "pcm_f64le", "flac"),
        ("x.wav", "pcm_alaw", "pcm_alaw", "flac"),
        ("x.wav", "adpcm_ima_wav", "flac", "flac"),
    ],
)
def test_clips_of_rarer_codecs(tmp_path, name, codec, cut_as, played_as):
    path = write_sound(tmp_path / name, voice(3.0), codec=codec)
    for playable, expected in ((False, cut_as), (True, played_as)):
        clip = extract_clip(path, 1.0, 2.0, folder=tmp_path, name=f"clip-{playable}", playable=playable)
        with av.open(str(clip)) as container:
            assert container.streams.audio[0].codec_context.name == expected
        part, whole = read_audio(clip), read_audio(path)[16_000:32_000]
        assert len(part) == len(whole) and np.abs(part[100:-100] - whole[100:-100]).max() < 0.02
