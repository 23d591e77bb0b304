"""Extraction of clips from their recordings, to the sample and without loss."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from voxdex.encoders.audio.container import AudioError, audio_errors, audio_streams, is_sought_exactly, open_media
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.audio.sources import find_sources
from voxdex.encoders.audio.timeline import TOLERANCE_SECONDS, Placed, Timed, Timeline
from voxdex.encoders.audio.track import has_too_many_planes, tick_seconds, timed_frames
from voxdex.encoders.worker import idle_worker

PLAYED = ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")
"""PCM codecs that every browser plays in a .wav file."""
WRITTEN = (*PLAYED, "pcm_f64le", "pcm_alaw", "pcm_mulaw")
"""PCM codecs that a .wav file can hold."""
MAX_FLAC_CHANNELS = 8


def extract_clip(  # noqa: PLR0913, RUF100  # keyword-only but for three
    recording: Location,
    start: float,
    end: float,
    *,
    folder: Path,
    name: str,
    playable: bool = False,
    track: int | None = None,
    channel: int | None = None,
) -> Path:
    """Write a part of a recording to a file of its own.

    It is cut to the sample. PCM keeps its codec; other codecs are decoded and written as FLAC, without a further loss.

    Args:
        recording: the recording.
        start, end: seconds in the recording.
        folder: an existing folder for the new file.
        name: name of the new file, without suffix.
        playable: write PCM that browsers do not play as FLAC.
        track, channel: of the clip, see ClipRecord; None for the source with the most speech, and for all channels.

    Returns:
        The new file.

    Raises:
        AudioError: the recording cannot be read, or has no sound in this part.
    """
    with audio_errors(recording), on_disk(recording) as file, idle_worker() as worker:
        part = Part(start, end, track, channel)
        [target] = worker.run("voxdex.search.clip_audio:_cut", file, part, folder / name, PLAYED if playable else WRITTEN)
        return target


@dataclass(frozen=True)
class Part:
    """A part of a recording; see extract_clip."""

    start: float
    end: float
    track: int | None
    channel: int | None


def _cut(file: Path, part: Part, target: Path, pcm: Sequence[str]) -> Iterator[Path]:
    """Write the one file of extract_clip, and yield its path: the target with a suffix. pcm: codecs that are not converted."""
    with audio_errors(file):
        for is_sought in (True, False) if part.start > 1 and is_sought_exactly(file) else (False,):
            with open_media(file) as source, suppress(_SoughtTooFarError):
                yield _write(file, source, part, target, pcm, is_sought=is_sought)
                return


class _SoughtTooFarError(Exception):
    """The first sound after a seek comes too late."""


def _write(
    file: Path, source: av.container.InputContainer, part: Part, target: Path, pcm: Sequence[str], *, is_sought: bool
) -> Path:
    streams, channel = audio_streams(source), None if part.channel is None else part.channel - 1
    if part.track is not None and part.track > len(streams):
        raise AudioError(f"it has no audio track {part.track}")
    if part.track is None and part.channel is None:
        chosen = find_sources(file, streams)[0]
        stream, channel = streams[chosen.track], chosen.channel
    else:
        stream = streams[(part.track or 1) - 1]
    timeline: Timeline[av.AudioFrame] = Timeline(source, is_continuous=not is_sought)
    if is_sought:
        source.seek(int(timeline.stream_time(part.start - 1) / _tick(stream)), stream=stream)
    codec = _lossless_codec(stream.codec_context.name, 1 if channel is not None else stream.codec_context.channels, pcm)
    target = target.with_name(f"{target.name}{'.flac' if codec == 'flac' else '.wav'}")
    frames = _trimmed(_placed(timeline, _frames(source, stream)), part, channel, is_sought=is_sought)
    _encode(frames, stream.rate, target, codec)
    return target


def _placed(timeline: Timeline[av.AudioFrame], frames: Iterable[Timed[av.AudioFrame]]) -> Iterator[Placed[av.AudioFrame]]:
    for frame in frames:
        yield from timeline.push(frame)
    yield from timeline.finish()


def _frames(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Timed[av.AudioFrame]]:
    """Decode frames; packets that the decoder rejects are left out, as in indexing."""
    tick = tick_seconds(stream)
    for packet in source.demux(stream):
        with suppress(av.error.FFmpegError):
            yield from timed_frames(packet.decode(), packet, tick)


def _tick(stream: av.AudioStream) -> Fraction:
    """Return the unit of the times of a stream, in seconds."""
    if stream.time_base is None:
        raise AudioError("its sound has no times")
    return stream.time_base


def _lossless_codec(codec: str, channels: int, allowed: Sequence[str]) -> str:
    """Return the codec itself, in the byte order and sign of .wav files, if it is one of the allowed PCM codecs; else FLAC.

    FLAC has at most 8 channels; more are written as 24-bit PCM.
    """
    pcm = codec.replace("be", "le").replace("pcm_s8", "pcm_u8")
    if pcm in allowed:
        return pcm
    return "flac" if channels <= MAX_FLAC_CHANNELS else "pcm_s24le"


def _encode(frames: Iterator[av.AudioFrame], rate: int, target: Path, codec: str) -> None:
    """Encode one or more frames."""
    first = next(frames)
    with closing(av.open(str(target), "w")) as out:
        copy = out.add_stream(codec, rate=rate, layout=first.layout.name)
        assert isinstance(copy, av.AudioStream)
        resampler = av.AudioResampler(format=copy.format.name, layout=first.layout.name, rate=rate)
        for frame in (first, *frames, None):
            for converted in resampler.resample(frame):
                out.mux(copy.encode(converted))
        out.mux(copy.encode(None))


def _trimmed(
    placed: Iterable[Placed[av.AudioFrame]], part: Part, channel: int | None, *, is_sought: bool
) -> Iterator[av.AudioFrame]:
    """Yield the frames of a part, the first and the last cut to the sample, with silence in place of holes.

    channel: the one to yield, from 0; None for all.

    Raises:
        AudioError: there are none.
    """
    packer: av.AudioResampler | None = None
    position, is_first = part.start, True
    for begin, frame in placed:
        if is_first and is_sought and begin > part.start:
            raise _SoughtTooFarError
        is_first = False
        if begin >= part.end:
            break
        low, high = (min(frame.samples, max(0, round((edge - begin) * frame.sample_rate))) for edge in (part.start, part.end))
        if low >= high:
            continue
        if has_too_many_planes(frame):
            packer = packer or av.AudioResampler(format=frame.format.packed)
            [frame] = packer.resample(frame)
        channels = frame.layout.nb_channels
        samples = frame.to_ndarray() if frame.format.is_planar else frame.to_ndarray().reshape(-1, channels).T
        samples = samples[:, low:high] if channel is None or channel >= channels else samples[channel : channel + 1, low:high]
        if begin - position > TOLERANCE_SECONDS:
            silent = 128 if samples.dtype == np.uint8 else 0
            hole = np.full((len(samples), round((begin - position) * frame.sample_rate)), silent, samples.dtype)
            yield _like(frame, hole)
        yield _like(frame, samples)
        position = begin + high / frame.sample_rate
    if position == part.start:
        raise AudioError(f"it has no sound from {part.start:g} s to {part.end:g} s")


def _like(frame: av.AudioFrame, samples: np.ndarray) -> av.AudioFrame:
    """Return samples [channels, samples] as a frame of the same format."""
    layout = frame.layout.name if len(samples) == frame.layout.nb_channels else "mono"
    rows = samples if frame.format.is_planar else samples.T.reshape(1, -1)
    part = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows), format=frame.format.name, layout=layout)
    part.rate = frame.rate
    return part
