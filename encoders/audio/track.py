"""Tracks: the packets of an audio stream decoded to blocks of all its channels, at 16 kHz, on the recording's clock."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.audio.frame import format_dtypes

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.timeline import TOLERANCE_SECONDS, Placed, Timed, Timeline

SAMPLE_RATE = 16_000
"""Sample rate of decoded audio, in Hz."""
MOST_CHANNELS = 64
"""Maximum number of channels of FFmpeg's resampler."""
MOST_PLANES = 7
"""Maximum number of planes of a frame that PyAV reads safely; beyond, it reads memory outside the frame."""
TAGS = (b"ID3", b"TAG", b"APE")
"""First bytes of tags amid the packets of joined MP3 files."""
MAX_SAMPLE = 1e6
"""Magnitude from which samples (full scale is 1) are considered damaged."""


@dataclass(frozen=True)
class Hole:
    """A part of a recording without sound: it was lost, or not recorded. samples: its length at 16 kHz."""

    samples: int

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield its silence in blocks of at most a second."""
        for start in range(0, self.samples, SAMPLE_RATE):
            yield np.zeros(min(SAMPLE_RATE, self.samples - start), np.float32)


class TrackDecoder:
    """Decodes the packets of one audio stream to float32 blocks [channels, samples] at 16 kHz, and holes between them.

    Args:
        container: an open file.
        stream: one of its audio streams.
        is_continuous: see Timeline.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.AudioStream, *, is_continuous: bool = True) -> None:
        self.stream = stream
        self.frames = self.rejected = 0
        self.begin: float | None = None
        self._timeline: Timeline[av.AudioFrame] = Timeline(container, is_continuous=is_continuous)
        self._resampler: _Resampler | None = None
        self._position, self._end, self._tick = 0, 0.0, tick_seconds(stream)

    @property
    def seconds(self) -> float:
        """The length of what was decoded, with holes, in seconds."""
        return (self._timeline.end or 0.0) - (self.begin or 0.0)

    def push(self, packet: "av.Packet[Any]") -> list[np.ndarray | Hole]:
        """Decode a packet. Packets that the decoder rejects are counted, and leave a hole."""
        try:
            frames: list[Any] = packet.decode()
        except av.error.FFmpegError:
            self.rejected += bytes(packet)[:3] not in TAGS
            return []
        self.frames += len(frames)
        found: list[np.ndarray | Hole] = []
        for frame in timed_frames(frames, packet, self._tick):
            for placed in self._timeline.push(frame):
                self._take(placed, found)
        return found

    def finish(self) -> list[np.ndarray | Hole]:
        """Return what is left after the last packet."""
        found: list[np.ndarray | Hole] = []
        for placed in self._timeline.finish():
            self._take(placed, found)
        return [*found, *self._flush()]

    def _take(self, placed: Placed[av.AudioFrame], found: list[np.ndarray | Hole]) -> None:
        """Resample a frame, and add the blocks and the hole that are complete."""
        start, frame = placed
        if self.begin is None:
            self.begin = start
        if start - self._end > TOLERANCE_SECONDS:
            found += self._flush()
            if (missing := round(start * SAMPLE_RATE) - self._position) > 0:
                self._position += missing
                found.append(Hole(missing))
        self._end = start + frame.samples / frame.sample_rate
        if self._resampler is None or not self._resampler.takes(frame):
            found += self._flush()
            self._resampler = _Resampler(frame)
        if blocks := self._resampler.push(frame):
            found += map(self._checked, blocks)

    def _flush(self) -> list[np.ndarray]:
        resampler, self._resampler = self._resampler, None
        return list(map(self._checked, resampler.finish())) if resampler else []

    def _checked(self, frame: av.AudioFrame) -> np.ndarray:
        block = _channels(frame)
        if not -MAX_SAMPLE < block.min() <= block.max() < MAX_SAMPLE:
            raise AudioError("it holds samples that are not numbers, or far beyond full scale; export it again")
        self._position += block.shape[1]
        return block


class _Resampler:
    """Resamples frames of one format to 16 kHz, a second at a time, which is several times faster than frame by frame.

    Concatenated files and broadcasts change their format in the middle, so each stretch gets its own resampler.
    """

    def __init__(self, frame: av.AudioFrame) -> None:
        self._format, self._rate, self._channels = frame.format.name, frame.sample_rate, frame.layout.nb_channels
        if self._channels > MOST_CHANNELS:
            raise AudioError(f"it has {self._channels} channels, of which at most {MOST_CHANNELS} can be read")
        self._waiting, self._samples = av.AudioFifo(), 0
        is_right = self._rate == SAMPLE_RATE and self._format in format_dtypes and not has_too_many_planes(frame)
        self._resampler = None if is_right else av.AudioResampler(format="flt", rate=SAMPLE_RATE)

    def takes(self, frame: av.AudioFrame) -> bool:
        """Return whether a frame has the format of those before it."""
        return (
            frame.sample_rate == self._rate and frame.layout.nb_channels == self._channels and frame.format.name == self._format
        )

    def push(self, frame: av.AudioFrame) -> list[av.AudioFrame]:
        frame.pts = None
        self._waiting.write(frame)
        self._samples += frame.samples
        if self._samples < self._rate:
            return []
        self._samples = 0
        return self._resampled(self._waiting.read())

    def finish(self) -> list[av.AudioFrame]:
        rest = self._resampled(self._waiting.read())
        return [*rest, *self._resampler.resample(None)] if self._resampler else rest

    def _resampled(self, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
        if frame is None:
            return []
        return self._resampler.resample(frame) if self._resampler else [frame]


def tick_seconds(stream: av.AudioStream) -> float:
    """Return the length of a tick of a stream's clock in seconds, 0 for a stream without one."""
    return float(stream.time_base or 0)


def timed_frames(frames: Iterable[av.AudioFrame], packet: "av.Packet[Any]", second: float) -> Iterator[Timed[av.AudioFrame]]:
    """Yield the frames of a packet with their times; some decoders leave the time of the first one to the packet.

    second: length of a tick of the stream's clock in seconds, 0 for a stream without one; see tick_seconds.
    """
    time = packet.pts
    for frame in frames:
        if frame.samples:
            time = time if frame.pts is None else frame.pts
            yield Timed(time * second if time is not None and second else None, frame.samples / frame.sample_rate, frame)
            time = None


def has_too_many_planes(frame: av.AudioFrame) -> bool:
    """Return whether PyAV would crash converting a frame to an array."""
    return frame.format.is_planar and frame.layout.nb_channels > MOST_PLANES


def _channels(frame: av.AudioFrame) -> np.ndarray:
    """Return the samples of a frame, float32 [channels, samples]."""
    sound = frame.to_ndarray()
    if not frame.format.is_planar:
        sound = sound.reshape(-1, frame.layout.nb_channels).T
    if sound.dtype.kind in "iu":
        middle = 128 if sound.dtype == np.uint8 else 0
        sound = (sound.astype(np.result_type(sound, np.float32)) - middle) / 2 ** (8 * sound.dtype.itemsize - 1)
    return sound.astype(np.float32, copy=False)
