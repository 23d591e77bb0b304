"""A folder of hostile files: ones found in archives, and crafted ones."""

import contextlib
import io
import os
import socket
import struct
import zipfile
from pathlib import Path

import av
import numpy as np

from tests.fakes.sounds import tone, voice, write_sound

CODECS = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".ogg": "libopus", ".m4a": "aac", ".mp4": "aac"}


def wav_header(
    rate: int = 16_000, channels: int = 1, bits: int = 16, size: int = 32_000, code: int = 1, block: int | None = None
) -> bytes:
    """A WAV header of 44 bytes with arbitrary values."""
    block = channels * bits // 8 if block is None else block
    chunk = struct.pack("<4sIHHIIHH", b"fmt ", 16, code, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    return b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVE" + chunk + b"data" + struct.pack("<I", size)


def make_hostile(folder: Path) -> None:
    """Fill a new folder, without the entries that the system does not allow, such as devices."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    speech = voice(3.0)
    pcm = (speech * 32767).astype("<i2").tobytes()
    good = {}
    for suffix, codec in CODECS.items():
        rate = 48_000 if suffix in (".ogg", ".m4a", ".mp4") else 16_000
        sound = np.interp(np.arange(3 * rate) / rate, np.arange(len(speech)) / 16_000, speech).astype(np.float32)
        good[suffix] = write_sound(folder / f"good{suffix}", sound, rate, codec, with_video=suffix == ".mp4").read_bytes()

    def put(name: str | bytes, content: bytes) -> None:
        Path(folder, os.fsdecode(name)).write_bytes(content)

    # cut and damaged
    for suffix, content in good.items():
        for tenth in range(0, 10, 1 if suffix in (".wav", ".mp3") else 3):
            put(f"cut-{tenth}0{suffix}", content[: len(content) * tenth // 10])
        broken = bytearray(content)
        for place in rng.integers(100, len(content), 40):
            broken[place] ^= 0xFF
        put(f"flipped{suffix}", bytes(broken))
        put(f"beheaded{suffix}", content[64:])
        put(f"zeros-inside{suffix}", content[:2000] + bytes(4000) + content[6000:])
        put(f"twice{suffix}", content + content)
        put(f"tail{suffix}", content + rng.bytes(3000))

    # not what the name says
    put("empty.wav", b"")
    put("one-byte.wav", b"R")
    put("text.wav", b"This is not a sound.\n" * 50)
    put("page.mp3", b"<!DOCTYPE html><html><body>404</body></html>")
    put("random.flac", rng.bytes(20_000))
    put("zeros.mp3", bytes(20_000))
    put("flac-named.wav", good[".flac"])
    put("wav-named.mp3", good[".wav"])
    put("mp3-named.m4a", good[".mp3"])
    put("script.wav", b"#!/bin/sh\nexit 1\n")
    put("list.m4a", b"#EXTM3U\nfile:///etc/passwd\nhttp://127.0.0.1:1/x.wav\n")
    put("concat.wav", b"ffconcat version 1.0\nfile /etc/passwd\n")
    put("playlist.mp3", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:10,\n/etc/hostname\n#EXT-X-ENDLIST\n")
    put("picture.wav", b"\x89PNG\r\n\x1a\n" + rng.bytes(500))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.wav", good[".wav"])
    put("zip.wav", archive.getvalue())
    put("id3-only.mp3", b"ID3\x03\x00\x00\x00\x00\x00\x0aTIT2" + bytes(20))

    # headers that lie
    put("no-channels.wav", wav_header(channels=0, block=0) + pcm)
    put("48-channels.wav", wav_header(channels=48, size=48 * len(pcm)) + np.repeat(np.frombuffer(pcm, "<i2"), 48).tobytes())
    put("65535-channels.wav", wav_header(channels=65_535, block=2) + pcm)
    put("0-hertz.wav", wav_header(rate=0) + pcm)
    put("1-hertz.wav", wav_header(rate=1) + pcm)
    put("1-megahertz.wav", wav_header(rate=1_000_000) + pcm)
    put("4-gigahertz.wav", wav_header(rate=0xFFFFFFFF) + pcm)
    put("claims-4-gigabytes.wav", wav_header(size=0xFFFFFFF0) + pcm)
    put("claims-nothing.wav", wav_header(size=0) + pcm)
    put("0-bits.wav", wav_header(bits=0, block=2) + pcm)
    put("7-bits.wav", wav_header(bits=7, block=1) + pcm)
    put("unknown-codec.wav", wav_header(code=0x1234) + pcm)
    put("header-only.wav", wav_header(size=0))
    put("two-headers.wav", wav_header() + wav_header() + pcm)

    # sound that is none
    def floats(name: str, samples: np.ndarray) -> None:
        put(name, wav_header(bits=32, code=3, size=4 * len(samples)) + samples.astype("<f4").tobytes())

    holed = speech.copy()
    holed[20_000:20_100] = np.nan
    floats("nan.wav", np.full(16_000, np.nan))
    floats("some-nan.wav", holed)
    floats("infinite.wav", np.full(16_000, np.inf))
    floats("huge.wav", np.full(16_000, 3e38))
    floats("denormal.wav", np.full(16_000, 1e-42))
    floats("silence.wav", np.zeros(48_000))
    floats("offset.wav", np.full(48_000, 0.9))
    floats("speech-with-offset.wav", speech + 0.5)
    floats("clipped.wav", np.clip(20 * speech, -1, 1))
    floats("quiet.wav", 1e-4 * speech)
    floats("20-ms.wav", speech[:320])
    floats("one-sample.wav", speech[:1])
    floats("noise.wav", 0.1 * rng.standard_normal(48_000))
    floats("tone.wav", tone(3.0))
    with av.open(str(folder / "video-only.mp4"), "w") as output:
        stream = output.add_stream("mpeg4", rate=10, width=64, height=48)
        for _ in range(10):
            output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))

    # names
    for name in (
        "日本語 の 声.wav",
        "голос.wav",
        "صوت.wav",
        "e\u0301 and \u00e9.wav",
        "emoji 🎤.wav",
        "x" * 251 + ".wav",
        "-rf.wav",
    ):
        put(name, good[".wav"][:-2] + rng.bytes(2))
    for name in (
        "new\nline.wav",
        "tab\tbell\a.wav",
        " leading and trailing .wav",
        "'quotes\" $(rm) `x` ; & | %s {}.wav",
        "back\\slash.wav",
    ):
        put(name, good[".wav"][:-2] + rng.bytes(2))
    for name in (b"not-utf8-\xff\xfe.wav", b"half-\xed\xa0\x80.wav"):
        try:
            put(name, good[".wav"])
        except OSError:
            continue

    # not files
    (folder / "folder.wav").mkdir()
    (folder / "folder.wav" / "inside.wav").write_bytes(good[".wav"][:-2] + b"ab")
    (folder / "deep").joinpath(*"abcdefghijklmnopqrst").mkdir(parents=True)
    (folder / "loop-a.wav").symlink_to("loop-b.wav")
    (folder / "loop-b.wav").symlink_to("loop-a.wav")
    (folder / "self").symlink_to(".")
    (folder / "dangling.wav").symlink_to("nowhere.wav")
    (folder / "to-folder.wav").symlink_to("folder.wav")
    os.mkfifo(folder / "fifo.wav")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(folder):  # a socket's path must be short
        listener.bind("socket.wav")
    for name, device in (("zero.wav", os.makedev(1, 5)), ("terminal.wav", os.makedev(5, 0))):
        try:
            os.mknod(folder / name, 0o600 | 0o020000, device)
        except OSError:
            continue
    put("unreadable.wav", good[".wav"][:-2] + b"cd")
    (folder / "unreadable.wav").chmod(0)
    (folder / "locked").mkdir()
    (folder / "locked").joinpath("a.wav").write_bytes(good[".wav"])
    (folder / "locked").chmod(0)
