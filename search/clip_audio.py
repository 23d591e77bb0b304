"""Clips cut out of their recordings, without loss where that can be."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path

import av

from voxdex.encoders.audio.reader import AudioError, audio_errors, audio_stream, has_too_many_planes, open_media
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.worker import idle_worker

COPIED = {"mp3": ".mp3", "aac": ".m4a", "opus": ".opus", "vorbis": ".ogg"}
"""Codecs whose packets are copied as they are, and the files they go into: a clip begins and ends with a packet, 20 to 60 ms
long."""


PLAYED = ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le")
"""Forms of PCM that every browser plays in a .wav file."""
WRITTEN = (*PLAYED, "pcm_f64le", "pcm_alaw", "pcm_mulaw")
"""Forms of PCM that a .wav file holds."""
MOST_FLAC_CHANNELS = 8


def extract_clips(recording: Location, start: float, end: float, folder: Path, name: str, playable: bool = False) -> Path:
    """Writes the part of a recording from `start` to `end` (seconds) to a file of its own.

    PCM and FLAC stay what they are, to the sample; MP3, AAC, Opus and Vorbis are copied packet by packet; anything else is
    decoded and becomes FLAC.

    Args:
        recording: what to cut from.
        start, end: seconds.
        folder: where to write; it must exist.
        name: of the new file, without its suffix.
        playable: turn PCM that browsers do not play into FLAC.

    Returns:
        The new file.

    Raises:
        AudioError: the recording cannot be read, or has nothing there.
    """
    with audio_errors(recording), on_disk(recording) as file, idle_worker() as worker:
        [target] = worker.run("voxdex.search.clip_audio:_cut", file, start, end, folder / name, playable)
        return target


def _cut(file: Path, start: float, end: float, target: Path, playable: bool) -> Iterator[Path]:
    """The one file that cut() writes, its suffix added to the target's name."""
    with audio_errors(file), open_media(file) as source:
        stream = audio_stream(source)
        if start > 1:
            source.seek(int((start - 1) / stream.time_base), stream=stream)
        codec = stream.codec_context.name
        if suffix := COPIED.get(codec.removesuffix("float")):
            target = target.with_name(f"{target.name}{suffix}")
            _copy(source, stream, start, end, target)
        else:
            plain = codec.replace("be", "le").replace("pcm_s8", "pcm_u8")
            is_many = stream.codec_context.channels > MOST_FLAC_CHANNELS
            form = plain if plain in (PLAYED if playable else WRITTEN) else "pcm_s24le" if is_many else "flac"
            target = target.with_name(f"{target.name}{'.flac' if form == 'flac' else '.wav'}")
            _encode(source, stream, start, end, target, form)
        yield target


def _copy(source: av.container.InputContainer, stream: av.AudioStream, start: float, end: float, target: Path) -> None:
    with closing(av.open(str(target), "w")) as out:
        copy, first = out.add_stream_from_template(stream), None
        for packet in source.demux(stream):
            if packet.pts is None or float((packet.pts + packet.duration) * stream.time_base) <= start:
                continue
            if float(packet.pts * stream.time_base) >= end:
                break
            first = packet.pts if first is None else first
            packet.pts, packet.dts, packet.stream = packet.pts - first, packet.pts - first, copy
            out.mux(packet)
    if first is None:
        target.unlink()
        raise AudioError(f"it has no sound from {start:g} s to {end:g} s")


def _encode(
    source: av.container.InputContainer, stream: av.AudioStream, start: float, end: float, target: Path, codec: str
) -> None:
    frames = _trimmed(source, stream, start, end)
    first = next(frames, None)
    if first is None:
        raise AudioError(f"it has no sound from {start:g} s to {end:g} s")
    with closing(av.open(str(target), "w")) as out:
        copy = out.add_stream(codec, rate=stream.rate, layout=first.layout.name)
        resampler = av.AudioResampler(format=copy.format.name, layout=first.layout.name, rate=stream.rate)
        for frame in (first, *frames):
            for fitting in resampler.resample(frame):
                out.mux(copy.encode(fitting))
        for fitting in resampler.resample(None):
            out.mux(copy.encode(fitting))
        out.mux(copy.encode(None))


def _trimmed(source: av.container.InputContainer, stream: av.AudioStream, start: float, end: float) -> Iterator[av.AudioFrame]:
    """The decoded frames of a part, the first and the last cut to the sample."""
    first, last = round(start * stream.rate), round(end * stream.rate)
    for place, frame in _packed(_placed(source, stream)):
        if place >= last:
            return
        low, high = max(0, first - place), min(frame.samples, last - place)
        if low >= high:
            continue
        channels = 1 if frame.format.is_planar else len(frame.layout.channels)
        samples = frame.to_ndarray()[:, low * channels : high * channels]
        part = av.AudioFrame.from_ndarray(samples.copy(), format=frame.format.name, layout=frame.layout.name)
        part.rate = frame.rate
        yield part


def _packed(frames: Iterable[tuple[int, av.AudioFrame]]) -> Iterator[tuple[int, av.AudioFrame]]:
    """The same frames, in a form that numpy may be shown."""
    packer: av.AudioResampler | None = None
    for place, frame in frames:
        if has_too_many_planes(frame):
            packer = packer or av.AudioResampler(format=frame.format.packed)
            [frame] = packer.resample(frame)
        yield place, frame


def _placed(source: av.container.InputContainer, stream: av.AudioStream) -> Iterator[tuple[int, av.AudioFrame]]:
    """Decoded frames and the sample at which each begins; some decoders leave it to the packet to know."""
    place = 0
    for packet in source.demux(stream):
        if packet.pts is not None:
            place = round(float(packet.pts * stream.time_base) * stream.rate)
        for frame in packet.decode():
            if frame.pts is not None:
                place = round(float(frame.pts * frame.time_base) * stream.rate)
            yield place, frame
            place += frame.samples
