"""Extraction of clips from their recordings, to the sample and without loss."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from voxdex.encoders.audio.container import AudioError, audio_errors, audio_stream, is_sought_exactly, open_media
from voxdex.encoders.audio.reader import has_too_many_planes, timed_frames
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.audio.timeline import TOLERANCE_SECONDS, Placed, Timed, Timeline
from voxdex.encoders.worker import idle_worker

PLAYED = ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")
"""PCM codecs that every browser plays in a .wav file."""
WRITTEN = (*PLAYED, "pcm_f64le", "pcm_alaw", "pcm_mulaw")
"""PCM codecs that a .wav file can hold."""
MAX_FLAC_CHANNELS = 8


def extract_clip(recording: Location, start: float, end: float, *, folder: Path, name: str, playable: bool = False) -> Path:
    """Write a part of a recording to a file of its own.

    It is cut to the sample. PCM keeps its codec; other codecs are decoded and written as FLAC, without a further loss.

    Args:
        recording: the recording.
        start, end: seconds in the recording.
        folder: an existing folder for the new file.
        name: name of the new file, without suffix.
        playable: write PCM that browsers do not play as FLAC.

    Returns:
        The new file.

    Raises:
        AudioError: the recording cannot be read, or has no sound in this part.
    """
    with audio_errors(recording), on_disk(recording) as file, idle_worker() as worker:
        [target] = worker.run("voxdex.search.clip_audio:_cut", file, start, end, folder / name, PLAYED if playable else WRITTEN)
        return target


def _cut(file: Path, start: float, end: float, target: Path, pcm: Sequence[str]) -> Iterator[Path]:
    """Write the one file of extract_clip, and yield its path: the target with a suffix. pcm: codecs that are not converted."""
    with audio_errors(file):
        for is_sought in (True, False) if start > 1 and is_sought_exactly(file) else (False,):
            with open_media(file) as source, suppress(_SoughtTooFarError):
                yield _write(source, start, end, target, pcm, is_sought=is_sought)
                return


class _SoughtTooFarError(Exception):
    """The first sound after a seek comes too late."""


def _write(
    source: av.container.InputContainer, start: float, end: float, target: Path, pcm: Sequence[str], *, is_sought: bool
) -> Path:
    stream = audio_stream(source)
    timeline = Timeline(source, is_continuous=not is_sought)
    if is_sought:
        source.seek(int(timeline.stream_time(start - 1) / _tick(stream)), stream=stream)
    codec = _lossless_codec(stream.codec_context.name, stream.codec_context.channels, pcm)
    target = target.with_name(f"{target.name}{'.flac' if codec == 'flac' else '.wav'}")
    frames = _trimmed(timeline.place(_frames(source, stream)), start, end, is_sought=is_sought)
    _encode(frames, stream.rate, target, codec)
    return target


def _frames(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[Timed[av.AudioFrame]]:
    """Decode frames; packets that the decoder rejects are left out, as in indexing."""
    for packet in source.demux(stream):
        with suppress(av.error.FFmpegError):
            yield from timed_frames(packet.decode(), packet)


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


def _trimmed(placed: Iterable[Placed[av.AudioFrame]], start: float, end: float, *, is_sought: bool) -> Iterator[av.AudioFrame]:
    """Yield the frames of a part, the first and the last cut to the sample, with silence in place of holes.

    Raises:
        AudioError: there are none.
    """
    packer: av.AudioResampler | None = None
    position, is_first = start, True
    for begin, frame in placed:
        if is_first and is_sought and begin > start:
            raise _SoughtTooFarError
        is_first = False
        if begin >= end:
            break
        low, high = (min(frame.samples, max(0, round((edge - begin) * frame.sample_rate))) for edge in (start, end))
        if low >= high:
            continue
        if has_too_many_planes(frame):
            packer = packer or av.AudioResampler(format=frame.format.packed)
            [frame] = packer.resample(frame)
        channels = 1 if frame.format.is_planar else len(frame.layout.channels)
        samples = frame.to_ndarray()[:, low * channels : high * channels]
        if begin - position > TOLERANCE_SECONDS:
            silent = 128 if samples.dtype == np.uint8 else 0
            length = round((begin - position) * frame.sample_rate) * channels
            yield _like(frame, np.full((len(samples), length), silent, samples.dtype))
        yield _like(frame, samples.copy())
        position = begin + high / frame.sample_rate
    if position == start:
        raise AudioError(f"it has no sound from {start:g} s to {end:g} s")


def _like(frame: av.AudioFrame, samples: np.ndarray) -> av.AudioFrame:
    """Return other samples as a frame of the same form."""
    part = av.AudioFrame.from_ndarray(samples, format=frame.format.name, layout=frame.layout.name)
    part.rate = frame.rate
    return part
