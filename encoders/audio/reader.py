"""Recordings decoded by FFmpeg: mono float32 at 16 kHz, block by block."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.audio.frame import format_dtypes

from voxdex.encoders.audio.container import (
    AudioError,
    Origin,
    PassingAudioError,
    audio_errors,
    audio_stream,
    brief,
    claimed_seconds,
    is_cut_short,
    open_media,
    origin_of,
    unforeseen,
)
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.audio.timeline import TOLERANCE_SECONDS, Placed, Timed, Timeline
from voxdex.encoders.worker import idle_worker, renew_watchdog

SAMPLE_RATE = 16_000
"""Sample rate of decoded audio, in Hz."""

MEDIA_SUFFIXES = frozenset(
    ".3gp .aac .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .caf .dts .eac3 .f4v .flac .flv .m2ts .m4a .m4b"
    " .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpc .mpeg .mpg .mts .mxf .oga .ogg .ogv .opus .ra .rf64 .rm .snd .spx .tak .ts"
    " .tta .vob .voc .w64 .wav .wave .weba .webm .wma .wmv .wv".split()
)
"""Suffixes of audio and video files; other files are read only if the user names them."""

MISSING_SECONDS, MISSING_FRACTION = 0.5, 0.01
"""A recording that is shorter than its container claims by more than both is incomplete."""

MIN_SAMPLE_RATE = 4000
"""Lowest sample rate that is read, in Hz."""
MOST_CHANNELS = 64
"""Maximum number of channels of FFmpeg's resampler."""
MOST_PLANES = 7
"""Maximum number of planes of a frame that PyAV reads safely; beyond, it reads memory outside the frame."""

MARGIN_SECONDS = 0.01
"""Decoded beyond a maximum length, to detect that a recording is longer."""

MAX_SAMPLE = 1e6
"""Magnitude from which samples (full scale is 1) are considered damaged."""


class AudioReader:
    """Reads a recording from start to end, from this machine or from a URL, in a worker process (encoders.worker).

    Iteration yields float32 blocks of mono sound at 16 kHz, the mean of all channels, on the recording's own clock: holes are
    silent. Packets that the decoder rejects are left out; `damage` then describes them in a clause. `origin` is set from the
    first block on.

    Args:
        path: the recording.
        most_seconds: length after which decoding stops; the last block may exceed it.

    Raises:
        AudioError: the file is missing, empty, not readable, holds no sound, or holds samples that are not sound; or its
            decoder crashed or hung.
    """

    def __init__(self, path: Location, most_seconds: float = math.inf) -> None:
        self.path = path
        self.damage: str | None = None
        self.origin: Origin | None = None
        self._most_seconds = most_seconds

    def __iter__(self) -> Iterator[np.ndarray]:
        with audio_errors(self.path), on_disk(self.path) as file, idle_worker() as worker:
            for origin, damage, block in worker.run("voxdex.encoders.audio.reader:_decode", file, self._most_seconds):
                self.origin, self.damage = origin, damage
                if block is not None:
                    yield block


def _decode(file: Path, most_seconds: float) -> Iterator[tuple[Origin | None, str | None, np.ndarray | None]]:
    """Yield origin, damage so far, and a block of samples, up to a length in seconds; the last item has no block."""
    decoder, seconds = AudioDecoder(file), 0.0
    for part in decoder:
        for block in part.blocks() if isinstance(part, Hole) else (part,):
            yield decoder.origin, decoder.damage, block
            seconds += len(block) / SAMPLE_RATE
            if seconds >= most_seconds:
                return
    yield decoder.origin, decoder.damage, None


@dataclass(frozen=True)
class Hole:
    """A part of a recording without sound: it was lost, or not recorded. samples: its length at 16 kHz."""

    samples: int

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield its silence in blocks of at most a second."""
        for start in range(0, self.samples, SAMPLE_RATE):
            yield np.zeros(min(SAMPLE_RATE, self.samples - start), np.float32)


class AudioDecoder:
    """Reads a file in this process, which a crash of FFmpeg ends; see AudioReader.

    Iteration yields blocks of sound, and holes between them.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damage: str | None = None
        self.origin: Origin | None = None

    def __iter__(self) -> Iterator[np.ndarray | Hole]:
        samples = 0
        try:
            with audio_errors(self.file):
                for part in self._parts():
                    samples += 0 if isinstance(part, Hole) else len(part)
                    yield part
        except AudioError:
            raise
        except Exception as error:  # an unexpected error fails this recording only
            raise PassingAudioError(unforeseen(error)) from error
        if samples == 0:
            raise AudioError("its audio stream holds no sound that can be decoded")

    def _parts(self) -> Iterator[np.ndarray | Hole]:
        position, begin = 0, 0.0
        with open_media(self.file) as container:
            stream = audio_stream(container)
            self.origin = origin_of(container, stream)
            if self.origin.sample_rate < MIN_SAMPLE_RATE:
                raise AudioError(f"it has {self.origin.sample_rate} samples a second, too few for a voice")
            timeline = Timeline(container)
            for start, frames in _stretches(timeline.place(self._decode(container, stream))):
                if position == 0:
                    begin = start
                if (missing := round(start * SAMPLE_RATE) - position) > 0:
                    position += missing
                    yield Hole(missing)
                for block in map(_mono, _resample(frames)):
                    if not -MAX_SAMPLE < block.min() <= block.max() < MAX_SAMPLE:
                        raise AudioError("it holds samples that are not numbers, or far beyond full scale; export it again")
                    position += len(block)
                    yield block
            claimed, read = claimed_seconds(container, stream, self.file), (timeline.end or 0.0) - begin
        if claimed - read > max(MISSING_SECONDS, MISSING_FRACTION * claimed):
            self.damage = f"it claims to last {claimed:.1f} s, of which {read:.1f} s could be read"
        elif self.damage is None and is_cut_short(self.file):
            self.damage = "its end is missing"

    def _decode(self, container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Timed[av.AudioFrame]]:
        decoded, rejected = 0, 0
        try:
            for packet in container.demux(stream):
                renew_watchdog()
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    rejected += 1
                    self.damage = f"{rejected} damaged packet(s) were left out"
                    continue
                decoded += len(frames)
                yield from timed_frames(frames, packet)
        except av.error.FFmpegError as error:
            if decoded == 0:
                raise
            self.damage = f"what follows a fault in the file was left out ({brief(error)})"


def timed_frames(frames: Iterable[av.AudioFrame], packet: av.Packet) -> Iterator[Timed[av.AudioFrame]]:
    """Yield the frames of a packet with their times; some decoders leave the time of the first one to the packet."""
    time = packet.pts
    for frame in filter(lambda frame: frame.samples, frames):
        time, base = (time, packet.time_base) if frame.pts is None else (frame.pts, frame.time_base or packet.time_base)
        yield Timed(None if time is None or base is None else float(time * base), frame.samples / frame.sample_rate, frame)
        time = None


def _stretches(frames: Iterable[Placed[av.AudioFrame]]) -> Iterator[tuple[float, Iterator[av.AudioFrame]]]:
    """Yield the start of each stretch of frames without a hole, in seconds, and its frames, which are to be read in order."""
    begin, end = 0.0, 0.0

    def start(placed: Placed[av.AudioFrame]) -> float:
        nonlocal begin, end
        begin = placed.start if placed.start - end > TOLERANCE_SECONDS else begin
        end = placed.start + placed.item.samples / placed.item.sample_rate
        return begin

    for first, members in groupby(frames, start):
        yield first, (placed.item for placed in members)


def _resample(frames: Iterator[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Resample frames to 16 kHz, about a second at a time, which is several times faster than frame by frame.

    Concatenated files and broadcasts change their format in the middle, so each stretch gets its own resampler.
    """
    for (form, _, channels, rate, is_too_many), stretch in groupby(frames, _form):
        if channels > MOST_CHANNELS:
            raise AudioError(f"it has {channels} channels, of which at most {MOST_CHANNELS} can be read")
        seconds = _seconds(stretch)
        if rate == SAMPLE_RATE and form in format_dtypes and not is_too_many:
            yield from seconds
            continue
        resampler = av.AudioResampler(format="flt", rate=SAMPLE_RATE)
        for second in seconds:
            yield from resampler.resample(second)
        yield from resampler.resample(None)


def _form(frame: av.AudioFrame) -> tuple[str, str, int, int, bool]:
    """Return the properties of a frame that a resampler depends on."""
    layout = frame.layout
    return frame.format.name, layout.name, layout.nb_channels, frame.sample_rate, has_too_many_planes(frame)


def has_too_many_planes(frame: av.AudioFrame) -> bool:
    """Return whether PyAV would crash converting a frame to an array."""
    return frame.format.is_planar and frame.layout.nb_channels > MOST_PLANES


def _seconds(frames: Iterable[av.AudioFrame]) -> Iterator[av.AudioFrame]:
    """Join frames of one format to frames of a second or more."""
    waiting = av.AudioFifo()
    for frame in frames:
        frame.pts = None
        waiting.write(frame)
        if waiting.samples >= frame.sample_rate and (joined := waiting.read()) is not None:
            yield joined
    if (joined := waiting.read()) is not None:
        yield joined


def _mono(frame: av.AudioFrame) -> np.ndarray:
    """Return the mean of all channels, float32 [samples]."""
    sound = frame.to_ndarray()
    if not frame.format.is_planar:
        sound = sound.reshape(-1, frame.layout.nb_channels).T
    if sound.dtype.kind in "iu":
        middle = 128 if sound.dtype == np.uint8 else 0
        sound = (sound.astype(np.result_type(sound, np.float32)) - middle) / 2 ** (8 * sound.dtype.itemsize - 1)
    return (sound[0] if len(sound) == 1 else sound.mean(axis=0)).astype(np.float32, copy=False)


def read_short(path: Location, longest_seconds: float) -> np.ndarray | None:
    """Read a whole recording; None if it is longer than `longest_seconds`, of which only the beginning is decoded."""
    sound = read_audio(path, longest_seconds + MARGIN_SECONDS)
    return sound if len(sound) <= longest_seconds * SAMPLE_RATE else None


def read_audio(path: Location, most_seconds: float = math.inf) -> np.ndarray:
    """Read a recording, or its first `most_seconds`, as float32 [samples], mono at 16 kHz.

    Raises:
        AudioError: see AudioReader.
    """
    sound = np.concatenate(list(AudioReader(path, most_seconds)))
    return sound if most_seconds == math.inf else sound[: int(most_seconds * SAMPLE_RATE)]
