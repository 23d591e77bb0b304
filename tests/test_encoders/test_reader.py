"""Decoding of audio files: formats, channels, tags, and damaged or foreign files."""

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.fakes.sounds import tone, voice, write_sound
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioReader, read_audio

FORMATS = [
    ("8bit.wav", {"codec": "pcm_u8", "rate": 8000}),
    ("16bit.wav", {"codec": "pcm_s16le", "rate": 44100, "channels": 2}),
    ("24bit.wav", {"codec": "pcm_s24le", "rate": 96000}),
    ("float.wav", {"codec": "pcm_f32le", "rate": 48000}),
    ("double.wav", {"codec": "pcm_f64le", "rate": 22050}),
    ("surround.wav", {"codec": "pcm_s16le", "rate": 48000, "channels": 6}),
    ("lossless.flac", {"codec": "flac", "rate": 96000, "channels": 2}),
    ("music.mp3", {"codec": "libmp3lame", "rate": 44100, "channels": 2}),
    ("voice.opus", {"codec": "libopus", "rate": 48000}),
    ("voice.ogg", {"codec": "libopus", "rate": 48000, "channels": 2}),
    ("film.m4a", {"codec": "aac", "rate": 48000, "channels": 6}),
    ("apple.m4a", {"codec": "alac", "rate": 44100}),
    ("radio.aac", {"codec": "aac", "rate": 32000, "container": "adts"}),
    ("windows.wma", {"codec": "wmav2", "rate": 44100, "container": "asf"}),
    ("mac.aiff", {"codec": "pcm_s16be", "rate": 44100}),
    ("video.mp4", {"codec": "aac", "rate": 44100, "with_video": True}),
    ("video.mkv", {"codec": "libopus", "rate": 48000, "with_video": True}),
]


@pytest.mark.parametrize(("name", "options"), FORMATS, ids=[name for name, _ in FORMATS])
def test_formats(tmp_path, name, options):
    path = write_sound(tmp_path / name, tone(2.0, 440.0, options["rate"], level=0.2), **options)
    samples = read_audio(path)
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.15)
    middle = samples[SAMPLE_RATE // 2 : SAMPLE_RATE * 3 // 2]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) == pytest.approx(440, abs=2)
    assert spectrum[430:451].sum() > 0.5 * spectrum.sum() or "8bit" in name
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.2 / np.sqrt(2), rel=0.2)


CODECS = [
    ("a.wav", {"codec": "pcm_s16le", "rate": 16_000}),
    ("b.wav", {"codec": "pcm_f32le", "rate": 48_000}),
    ("c.flac", {"codec": "flac", "rate": 16_000}),
    ("d.m4a", {"codec": "aac", "rate": 16_000}),
    ("e.m4a", {"codec": "aac", "rate": 48_000}),
    ("f.ogg", {"codec": "libopus", "rate": 48_000}),
    ("h.wv", {"codec": "wavpack", "rate": 44_100}),
    ("i.mov", {"codec": "pcm_s24le", "rate": 48_000}),
    ("j.tta", {"codec": "tta", "rate": 48_000}),
    ("k.caf", {"codec": "pcm_s16be", "rate": 48_000}),
    ("l.aiff", {"codec": "pcm_s16be", "rate": 16_000}),
]


@pytest.mark.parametrize(("name", "options"), CODECS, ids=[name for name, _ in CODECS])
def test_eight_channels(tmp_path, name, options):
    path = write_sound(tmp_path / name, tone(1.0, 440.0, options["rate"], level=0.2), **options, channels=8)
    samples = read_audio(path)
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=2000)
    assert np.sqrt(np.mean(samples[4000:12_000] ** 2)) == pytest.approx(0.2 / np.sqrt(2), rel=0.2)


@pytest.mark.parametrize("channels", [3, 4, 5, 7, 8, 9, 10, 12, 16, 17, 24, 32, 63, 64])
@pytest.mark.parametrize("name", ["a.wav", "a.wv", "a.caf", "a.aiff"])
def test_many_channels_are_their_mean(tmp_path, name, channels):
    codec = {"a.wav": "pcm_s16le", "a.wv": "wavpack"}.get(name, "pcm_s16be")
    path = write_sound(tmp_path / name, tone(0.5, 440.0, 16_000, level=0.2), codec=codec, channels=channels)
    assert np.abs(read_audio(path) - tone(0.5, 440.0, 16_000, level=0.2)).max() < 0.01


def test_too_many_channels_are_refused(tmp_path):
    path = write_sound(tmp_path / "a.mka", tone(0.5), codec="pcm_f32le", channels=65, container="matroska")
    with pytest.raises(AudioError, match="it has 65 channels, of which at most 64 can be read"):
        read_audio(path)


def test_tags_that_are_not_utf8_are_read_as_latin_text(tmp_path):
    path = write_sound(tmp_path / "a.wav", tone(0.5), tags={"title": "Gr@@e"})
    path.write_bytes(path.read_bytes().replace(b"Gr@@e", b"Gr\xfc\xdfe"))
    reader = AudioReader(path)
    assert sum(map(len, reader)) == 8000 and reader.origin.tags == {"title": "Grüße"}


def test_tags_of_broadcast_waves_have_the_names_of_their_standard(tmp_path):
    texts = b"".join(text.ljust(size, b"\0") for text, size in ((b"The mayor", 256), (b"Radio One", 32), (b"R1", 32)))
    bext = texts + b"1987-05-02" + b"10:20:30" + struct.pack("<QH", 16000 * 60, 1) + bytes(254)
    path = write_sound(tmp_path / "plain.wav", tone(0.5))
    riff = path.read_bytes()
    chunk = b"bext" + struct.pack("<I", len(bext)) + bext
    (tmp_path / "a.wav").write_bytes(b"RIFF" + struct.pack("<I", len(riff) - 8 + len(chunk)) + b"WAVE" + chunk + riff[12:])
    reader = AudioReader(tmp_path / "a.wav")
    assert list(reader)
    tags = {"description": "The mayor", "originator": "Radio One", "date": "1987-05-02", "origination_time": "10:20:30"}
    assert reader.origin.tags == tags | {"originator_reference": "R1", "time_reference": str(16000 * 60)}


def test_names_of_tags_become_names_of_fields(tmp_path):
    path = write_sound(tmp_path / "a.flac", tone(0.5), codec="flac", tags={'O"dd\\NAME': "x", "n" * 300: "y"})
    reader = AudioReader(path)
    assert list(reader) and reader.origin.tags == {"o'dd/name": "x", "n" * 100: "y"}


def test_pipes_and_devices_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", Path("/dev/zero")):
        with pytest.raises(AudioError, match="not a regular file"):
            read_audio(path)


def test_resampling_without_aliasing(tmp_path):
    path = write_sound(tmp_path / "high.wav", tone(1.0, 15_000, 48_000), rate=48_000)
    assert np.abs(read_audio(path)[1000:-1000]).max() < 0.01


def test_blocks_add_up_to_the_whole(tmp_path):
    path = write_sound(tmp_path / "a.flac", tone(3.3, rate=44_100), rate=44_100, codec="flac")
    blocks = list(AudioReader(path))
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), read_audio(path))
    assert sum(map(len, blocks)) == pytest.approx(3.3 * SAMPLE_RATE, abs=2)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.wav", b"", "empty"),
        ("text.mp3", b"I am not sound at all, however I am named. " * 50, "not audio or video that FFmpeg knows"),
        ("header.wav", b"RIFF\x24\x00\x00\x00WAVE", "not audio or video|no audio stream|no sound"),
    ],
)
def test_files_without_sound_are_refused(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=reason):
        read_audio(tmp_path / name)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        read_audio(tmp_path / "nothing.wav")
    with pytest.raises(AudioError, match="folder"):
        read_audio(tmp_path)


def test_video_without_sound_is_refused(tmp_path):
    import av

    with av.open(str(tmp_path / "silent.mp4"), "w") as output:
        picture = output.add_stream("mpeg4", rate=10, width=64, height=48)
        for _ in range(5):
            output.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(picture.encode(None))
    with pytest.raises(AudioError, match="no audio stream"):
        read_audio(tmp_path / "silent.mp4")


def test_samples_with_nan_are_refused(tmp_path):
    samples = tone(1.0)
    samples[5000] = np.nan
    with pytest.raises(AudioError, match="not numbers"):
        read_audio(write_sound(tmp_path / "nan.wav", samples, codec="pcm_f32le"))


def test_damaged_parts_are_left_out_and_reported(tmp_path):
    path = write_sound(tmp_path / "good.mp3", tone(4.0, rate=44_100), rate=44_100, codec="libmp3lame")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(range(250)) * 12
    (tmp_path / "bad.mp3").write_bytes(content)
    reader = AudioReader(tmp_path / "bad.mp3")
    seconds = sum(map(len, reader)) / SAMPLE_RATE
    assert 2.0 < seconds < 4.2
    assert reader.damage and "damaged packet" in reader.damage


def test_change_of_format_within_a_file(tmp_path):
    parts = [
        write_sound(tmp_path / "a.mp3", tone(2.0, rate=44_100), rate=44_100, codec="libmp3lame", channels=2),
        write_sound(tmp_path / "b.mp3", tone(2.0, rate=22_050), rate=22_050, codec="libmp3lame"),
    ]
    (tmp_path / "joined.mp3").write_bytes(b"".join(part.read_bytes() for part in parts))
    assert len(read_audio(tmp_path / "joined.mp3")) / SAMPLE_RATE == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize(("name", "codec"), [("a.flac", "flac"), ("a.mp3", "libmp3lame"), ("a.wav", "pcm_s16le")])
def test_truncated_files(tmp_path, name, codec):
    path = write_sound(tmp_path / name, voice(4.0), codec=codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(read_audio(path)) / SAMPLE_RATE == pytest.approx(2.0, abs=0.4)


def test_truncated_mp4_without_its_index_is_refused(tmp_path):
    path = write_sound(tmp_path / "a.m4a", voice(4.0), codec="aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match="damaged"):
        read_audio(path)


def test_seconds_limit_what_is_read(tmp_path):
    write_sound(tmp_path / "a.wav", voice(5.0, 120))
    whole, beginning = read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "a.wav", 1.5)
    assert len(beginning) == 24_000 and np.array_equal(beginning, whole[:24_000])
    assert np.array_equal(read_audio(tmp_path / "a.wav", 60), whole)
