"""Any recording that FFmpeg's libraries can read -> mono float32 at 16 kHz, block by block."""

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import av
import numpy as np

from encoders.completeness import is_cut_short
from encoders.remote import FetchError, Location, is_folder, on_disk

SAMPLE_RATE = 16_000
"""Hz; what every encoder of ours hears."""

MEDIA_SUFFIXES = frozenset(
    ".3gp .aac .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .caf .dts .eac3 .f4v .flac .flv .m2ts .m4a .m4b"
    " .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpc .mpeg .mpg .mts .mxf .oga .ogg .ogv .opus .ra .rf64 .rm .snd .spx .tak .ts"
    " .tta .vob .voc .w64 .wav .wave .weba .webm .wma .wmv .wv".split()
)
"""Names that promise sound; a file of another name is read only where a user names it."""

MOST_TAGS, LONGEST_TAG = 40, 1000
"""How many tags of a file are kept, and how many characters of each."""
TECHNICAL_TAGS = frozenset("encoder encoded_by handler_name vendor_id major_brand minor_version compatible_brands".split())
"""Tags that tell of the program that wrote a file, not of the recording."""

MISSING_SECONDS, MISSING_SHARE = 0.5, 0.01
"""A recording that falls short of the length it claims by more than both is incomplete."""

SLOWEST_HZ = 4000
"""Sample rate below which no voice can be told from another."""
MOST_CHANNELS = 8
"""That FFmpeg's resampler mixes safely; of more, the mean is taken before it."""

BEYOND_SECONDS = 0.01
"""Read of what is longer than it may be, to find that out."""

LOUDEST = 1e6
"""Samples beyond this (full scale is 1) are damage, not sound."""


@dataclass(frozen=True)
class Failure:
    """An input that could not be used, with the reason as a sentence."""

    path: str
    reason: str


@dataclass(frozen=True)
class Origin:
    """What a file says of itself.

    format, codec: as FFmpeg calls them. sample_rate: Hz. channels: of the stream that is read. tags: by lower-case name, of
    ID3, Vorbis comments, MP4, RIFF and Broadcast Wave alike.
    """

    format: str
    codec: str
    sample_rate: int
    channels: int
    tags: dict[str, str]


class AudioError(Exception):
    """A recording that cannot be read. The message is one sentence for the user, without the path."""


class AudioReader:
    """Reads one recording front to back, from this machine or from a URL.

    Iterating gives float32 blocks of mono sound at 16 kHz, the mean of its channels. What the decoder rejects is left out,
    as FFmpeg does, and `damage` then says so in a sentence; what follows then lies earlier than in the original. `origin` is
    known from the first block on.

    Raises:
        AudioError: the file is missing, empty, not readable, holds no sound, or holds samples that are not sound.
    """

    def __init__(self, path: Location) -> None:
        self.path = path
        self.damage: str | None = None
        self.origin: Origin | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        try:
            with on_disk(self.path) as file:
                for block in self._blocks(file):
                    samples += len(block)
                    yield block
        except (OSError, ValueError, av.error.FFmpegError) as error:
            raise AudioError(explain(error, self.path)) from error
        if samples == 0:
            raise AudioError("its audio stream holds no sound that can be decoded")

    def _blocks(self, file: Path) -> Iterator[np.ndarray]:
        if file.is_file() and file.stat().st_size == 0:
            raise AudioError("it is empty (0 bytes)")
        with av.open(str(file.absolute()), options={"protocol_whitelist": "file"} | _probing(file)) as container:
            for block in map(_mono, _resample(self._decode(container, file))):
                if not -LOUDEST < block.min() <= block.max() < LOUDEST:
                    raise AudioError("it holds samples that are not numbers, or far beyond full scale; export it again")
                yield block

    def _decode(self, container: av.container.InputContainer, file: Path) -> Iterator[av.AudioFrame]:
        stream = container.streams.best("audio")
        if stream is None:
            raise AudioError("it has no audio stream")
        if stream.codec_context is None:
            raise AudioError("its sound is coded in a way that FFmpeg does not know")
        self.origin = _origin(container, stream)
        if self.origin.sample_rate < SLOWEST_HZ:
            raise AudioError(f"it has {self.origin.sample_rate} samples a second, too few for a voice")
        decoded, rejected, seconds = 0, 0, 0.0
        try:
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    rejected += 1
                    self.damage = f"{rejected} damaged packet(s) were left out"
                    continue
                decoded += len(frames)
                for frame in frames:
                    seconds += frame.samples / frame.sample_rate
                    yield frame
        except av.error.FFmpegError as error:
            if decoded == 0:
                raise
            self.damage = f"what follows a fault in the file was left out ({_short(error)})"
        claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if claimed - seconds > max(MISSING_SECONDS, MISSING_SHARE * claimed):
            self.damage = f"it claims to last {claimed:.1f} s, of which {seconds:.1f} s could be read"
        elif self.damage is None and is_cut_short(file):
            self.damage = "its end is missing"


def _probing(path: Path) -> dict[str, str]:
    """How FFmpeg is to find out what a file holds.

    It looks through 32 packets of a wave file for DTS or AC-3 in place of PCM, which takes longer than decoding ten seconds.
    Eight tell as much, and one channel can hold neither.
    """
    with path.open("rb") as file:
        header = file.read(24)
    if header[8:12] != b"WAVE":
        return {}
    is_mono = header[12:16] == b"fmt " and header[22:24] == b"\x01\x00"
    return {"max_probe_packets": "1" if is_mono else "8"}


def explain(error: Exception, path: Location) -> str:
    """Why a recording cannot be read, for an error of FFmpeg or of the system."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, FetchError):
        return str(error)
    if is_folder(path):
        return "it is a folder; give a file"
    if isinstance(error, PermissionError) and not os.access(path, os.R_OK):
        return "it may not be read; check its permissions"
    if isinstance(error, av.error.InvalidDataError):
        return "it is not audio or video that FFmpeg knows, or it is damaged"
    return f"it could not be decoded ({_short(error)})"


def _origin(container: av.container.InputContainer, stream: av.AudioStream) -> Origin:
    tags: dict[str, str] = {}
    for name, value in {**stream.metadata, **container.metadata}.items():
        name, value = name.strip().lower().replace('"', "'"), value.strip()
        if name and value and name not in TECHNICAL_TAGS and len(tags) < MOST_TAGS:
            tags[name] = value[:LONGEST_TAG]
    codec = stream.codec_context
    return Origin(container.format.name.split(",")[0], codec.name, codec.sample_rate, codec.channels, tags)


def _resample(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Frames of about a second at 16 kHz.

    Joined files and broadcasts change their format in the middle: each stretch has a resampler of its own. Resampling a
    second at a time is several times faster than frame by frame.
    """
    for (_, _, rate), stretch in groupby(frames, lambda frame: (frame.format.name, frame.layout.name, frame.sample_rate)):
        seconds = _seconds(stretch)
        if rate == SAMPLE_RATE:
            yield from seconds
            continue
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
        for second in seconds:
            yield from resampler.resample(_mixed(second) if second.layout.nb_channels > MOST_CHANNELS else second)
        yield from resampler.resample(None)


def _seconds(frames: Iterable[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Frames of one format, joined to such of a second or more."""
    waiting = av.AudioFifo()
    for frame in frames:
        frame.pts = None
        waiting.write(frame)
        if waiting.samples >= frame.sample_rate:
            yield waiting.read()
    if waiting.samples:
        yield waiting.read()


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """The mean of all channels, float32 [samples]."""
    sound = frame.to_ndarray()
    if not frame.format.is_planar:
        sound = sound.reshape(-1, frame.layout.nb_channels).T
    if sound.dtype.kind in "iu":
        middle = 128 if sound.dtype == np.uint8 else 0
        sound = (sound.astype(np.result_type(sound, np.float32)) - middle) / (np.iinfo(sound.dtype).max + 1 - middle)
    return (sound[0] if len(sound) == 1 else sound.mean(axis=0)).astype(np.float32, copy=False)


def _mixed(frame: av.AudioFrame) -> av.AudioFrame:
    """The mean of all channels, as a frame."""
    mixed = av.AudioFrame.from_ndarray(_mono(frame)[None], format="fltp", layout="mono")
    mixed.sample_rate = frame.sample_rate
    return mixed


def _short(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def read_short(path: Location, longest_seconds: float) -> np.ndarray | None:
    """A whole recording, see read_audio; None where it is longer, of which no more is decoded than tells that."""
    sound = read_audio(path, longest_seconds + BEYOND_SECONDS)
    return sound if len(sound) <= longest_seconds * SAMPLE_RATE else None


def read_audio(path: Location, most_seconds: float = math.inf) -> np.ndarray:
    """A recording, or its beginning, as float32 [samples], mono at 16 kHz; no more is decoded than is kept.

    Raises:
        AudioError: see AudioReader.
    """
    blocks, missing = [], most_seconds * SAMPLE_RATE
    for block in AudioReader(path):
        blocks.append(block[: int(min(len(block), missing))])
        missing -= len(block)
        if missing <= 0:
            break
    return np.concatenate(blocks)
