"""Recordings decoded by FFmpeg: mono float32 at 16 kHz, block by block."""

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from voxdex.encoders.audio.container import (
    AudioError,
    Origin,
    PassingAudioError,
    audio_errors,
    audio_streams,
    brief,
    claimed_seconds,
    is_cut_short,
    open_media,
    origin_of,
    unforeseen,
)
from voxdex.encoders.audio.remote import Location, on_disk
from voxdex.encoders.audio.sources import Source, find_sources
from voxdex.encoders.audio.track import SAMPLE_RATE as SAMPLE_RATE
from voxdex.encoders.audio.track import Hole, TrackDecoder
from voxdex.encoders.worker import idle_worker, renew_watchdog

MEDIA_SUFFIXES = frozenset(
    ".3g2 .3gp .3gp2 .3gpp .aa3 .aac .ac3 .ac4 .adts .aif .aifc .aiff .alac .amr .amv .ape .asf .au .avi .avr .awb .bwf .caf"
    " .dif .divx .dsf .dss .dts .dtshd .dv .dvr-ms .eac3 .ec3 .evo .f4a .f4b .f4v .flac .flv .g722 .gsm .gxf .ircam .isma .ismv"
    " .m1a .m2a .m2p .m2t .m2ts .m4a .m4b .m4r .m4v .mk3d .mka .mkv .mlp .mov .mp1 .mp2 .mp3 .mp4 .mp4v .mpa .mpc .mpe .mpeg"
    " .mpg .mpga .mpv2 .mqv .mts .mxf .nist .nsv .nut .oga .ogg .ogm .ogv .ogx .oma .opus .paf .pva .qcp .qoa .qt .ra .rf64 .rm"
    " .rmvb .sf .shn .snd .sph .spx .tak .thd .tod .tp .trp .ts .tta .vob .voc .vro .w64 .wav .wave .weba .webm .wma .wmv .wtv"
    " .wv .xa .xvid".split()
)
"""Suffixes of audio and video files. Others are read if the user names them, or if they have no suffix and begin as media."""


MISSING_SECONDS, MISSING_FRACTION = 0.5, 0.01
"""A recording that is shorter than its container claims by more than both is incomplete."""

MIN_SAMPLE_RATE = 4000
"""Lowest sample rate that is read, in Hz."""
MARGIN_SECONDS = 0.01
"""Decoded beyond a maximum length, to detect that a recording is longer."""


class AudioReader:
    """Reads a recording from start to end, from this machine or from a URL, in a worker process (encoders.worker).

    Iteration yields float32 blocks of mono sound at 16 kHz, of the source with the most speech (see find_sources), on the
    recording's own clock: holes are silent. Packets that the decoder rejects are left out; `damage` then describes them in a
    clause. `origin` is set from the first block on.

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
    decoder, seconds = AudioDecoder(file, is_first_only=True), 0.0
    for _, part in decoder:
        for block in part.blocks() if isinstance(part, Hole) else (part,):
            yield decoder.origin, decoder.damage, block
            seconds += len(block) / SAMPLE_RATE
            if seconds >= most_seconds:
                return
    yield decoder.origin, decoder.damage, None


class AudioDecoder:
    """Reads a file in this process, which a crash of FFmpeg ends; see AudioReader.

    Iteration yields sources, and blocks of their sound or holes between them. `sources`, and the number of audio tracks of the
    file, `tracks`, are set from the first block on.

    Args:
        file: the file.
        is_first_only: read only the source with the most speech.
    """

    def __init__(self, file: Path, *, is_first_only: bool = False) -> None:
        self.file = file
        self.damage: str | None = None
        self.origin: Origin | None = None
        self.sources: list[Source] = []
        self.tracks = 0
        self._is_first_only = is_first_only

    def __iter__(self) -> Iterator[tuple[Source, np.ndarray | Hole]]:
        samples = 0
        try:
            with audio_errors(self.file):
                for source, part in self._parts():
                    samples += 0 if isinstance(part, Hole) else len(part)
                    yield source, part
        except AudioError:
            raise
        except Exception as error:  # an unexpected error fails this recording only
            raise PassingAudioError(unforeseen(error)) from error
        if samples == 0:
            raise AudioError("its audio stream holds no sound that can be decoded")

    def _parts(self) -> Iterator[tuple[Source, np.ndarray | Hole]]:
        with open_media(self.file) as container:
            streams = audio_streams(container)
            sources, self.tracks = find_sources(self.file, streams), len(streams)
            self.sources = sources[:1] if self._is_first_only else sources
            self.origin = origin_of(container, streams[self.sources[0].track])
            if self.origin.sample_rate < MIN_SAMPLE_RATE:
                raise AudioError(f"it has {self.origin.sample_rate} samples a second, too few for a voice")
            tracks = {source.track: TrackDecoder(container, streams[source.track]) for source in self.sources}
            for track, part in self._decoded(container, tracks):
                for source in self.sources:
                    if source.track == track:
                        yield source, part if isinstance(part, Hole) else source.select(part)
            for decoder in tracks.values():
                claimed = claimed_seconds(container, decoder.stream, self.file)
                if claimed - decoder.seconds > max(MISSING_SECONDS, MISSING_FRACTION * claimed):
                    self.damage = f"it claims to last {claimed:.1f} s, of which {decoder.seconds:.1f} s could be read"
        if self.damage is None and is_cut_short(self.file):
            self.damage = "its end is missing"

    def _decoded(
        self, container: av.container.InputContainer, tracks: dict[int, TrackDecoder]
    ) -> Iterator[tuple[int, np.ndarray | Hole]]:
        by_stream = {decoder.stream.index: (track, decoder) for track, decoder in tracks.items()}
        try:
            for packet in container.demux([decoder.stream for decoder in tracks.values()]):
                renew_watchdog()
                track, decoder = by_stream[packet.stream.index]
                for part in decoder.push(packet):
                    yield track, part
                if decoder.rejected:
                    self.damage = f"{sum(each.rejected for each in tracks.values())} damaged packet(s) were left out"
        except av.error.FFmpegError as error:
            if not any(decoder.frames for decoder in tracks.values()):
                raise
            self.damage = f"what follows a fault in the file was left out ({brief(error)})"
        for track, decoder in tracks.items():
            for part in decoder.finish():
                yield track, part


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
