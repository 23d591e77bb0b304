"""Extraction of clips from their recordings, without loss where the codec allows."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av

from voxdex.encoders.audio.container import AudioError, audio_errors, audio_stream, open_media
from voxdex.encoders.audio.reader import has_too_many_planes
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.worker import idle_worker

COPIED = {"mp3": ".mp3", "aac": ".m4a", "opus": ".opus", "vorbis": ".ogg"}
"""Codecs whose packets are copied unchanged, and the suffixes of their files. A clip begins and ends with a packet of 20 to
60 ms."""
PLAYED = ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")
"""PCM codecs that every browser plays in a .wav file."""
WRITTEN = (*PLAYED, "pcm_f64le", "pcm_alaw", "pcm_mulaw")
"""PCM codecs that a .wav file can hold."""
MAX_FLAC_CHANNELS = 8


def extract_clip(recording: Location, start: float, end: float, *, folder: Path, name: str, playable: bool = False) -> Path:
    """Write a part of a recording to a file of its own.

    PCM and FLAC are cut to the sample without loss; MP3, AAC, Opus and Vorbis are copied packet by packet; other codecs are
    decoded and written as FLAC.

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
    with audio_errors(file), open_media(file) as source:
        stream = audio_stream(source)
        if start > 1:
            source.seek(int((start - 1) / _tick(stream)), stream=stream)
        codec = stream.codec_context.name
        if suffix := COPIED.get(codec.removesuffix("float")):
            target = target.with_name(f"{target.name}{suffix}")
            _copy(source, stream, start, end, target)
        else:
            codec = _lossless_codec(codec, stream.codec_context.channels, pcm)
            target = target.with_name(f"{target.name}{'.flac' if codec == 'flac' else '.wav'}")
            _encode(_trimmed(source, stream, start, end), stream.rate, target, codec)
        yield target


def _tick(timed: av.AudioStream | av.AudioFrame) -> Fraction:
    """Return the unit of the times of a stream or a frame, in seconds."""
    if timed.time_base is None:
        raise AudioError("its sound has no times")
    return timed.time_base


def _lossless_codec(codec: str, channels: int, allowed: Sequence[str]) -> str:
    """Return the codec itself, in the byte order and sign of .wav files, if it is one of the allowed PCM codecs; else FLAC.

    FLAC has at most 8 channels; more are written as 24-bit PCM.
    """
    pcm = codec.replace("be", "le").replace("pcm_s8", "pcm_u8")
    if pcm in allowed:
        return pcm
    return "flac" if channels <= MAX_FLAC_CHANNELS else "pcm_s24le"


def _copy(source: av.container.InputContainer, stream: av.AudioStream, start: float, end: float, target: Path) -> None:
    with closing(av.open(str(target), "w")) as out:
        copy, first = out.add_stream_from_template(stream), None
        for packet in source.demux(stream):
            if packet.pts is None or float((packet.pts + (packet.duration or 0)) * _tick(stream)) <= start:
                continue
            if float(packet.pts * _tick(stream)) >= end:
                break
            first = packet.pts if first is None else first
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.pts - first, copy
            out.mux(packet)
    if first is None:
        target.unlink()
        raise AudioError(f"it has no sound from {start:g} s to {end:g} s")


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


def _trimmed(source: av.container.InputContainer, stream: av.AudioStream, start: float, end: float) -> Iterator[av.AudioFrame]:
    """Decode the frames of a part, the first and the last cut to the sample.

    Raises:
        AudioError: there are none.
    """
    first, last, is_empty = round(start * stream.rate), round(end * stream.rate), True
    for position, frame in _packed(_positioned(source, stream)):
        if position >= last:
            break
        low, high = max(0, first - position), min(frame.samples, last - position)
        if low >= high:
            continue
        channels = 1 if frame.format.is_planar else len(frame.layout.channels)
        samples = frame.to_ndarray()[:, low * channels : high * channels]
        part = av.AudioFrame.from_ndarray(samples.copy(), format=frame.format.name, layout=frame.layout.name)
        part.rate = frame.rate
        is_empty = False
        yield part
    if is_empty:
        raise AudioError(f"it has no sound from {start:g} s to {end:g} s")


def _packed(frames: Iterable[tuple[int, av.AudioFrame]]) -> Iterator[tuple[int, av.AudioFrame]]:
    """Convert frames with more planes than PyAV can show to numpy to packed ones."""
    packer: av.AudioResampler | None = None
    for position, frame in frames:
        if has_too_many_planes(frame):
            packer = packer or av.AudioResampler(format=frame.format.packed)
            [frame] = packer.resample(frame)
        yield position, frame


def _positioned(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[tuple[int, av.AudioFrame]]:
    """Decode frames with the index of their first sample, from the frame's time or, for some decoders, the packet's."""
    position = 0
    for packet in source.demux(stream):
        if packet.pts is not None:
            position = round(float(packet.pts * _tick(stream)) * stream.rate)
        for frame in packet.decode():
            if frame.pts is not None:
                position = round(float(frame.pts * _tick(frame)) * stream.rate)
            yield position, frame
            position += frame.samples
