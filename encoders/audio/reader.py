"""Recordings decoded by FFmpeg: mono float32 at 16 kHz, block by block."""

import errno
import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import format_dtypes

from voxdex.encoders.audio.remote import FetchError, Location, is_folder, on_disk
from voxdex.encoders.audio.truncation import is_cut_short
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.worker import WorkerError, idle_worker, renew_watchdog

SAMPLE_RATE = 16_000
"""Sample rate of decoded audio, in Hz."""

MEDIA_SUFFIXES = frozenset(
    ".3gp .aac .ac3 .adts .aif .aifc .aiff .alac .amr .ape .asf .au .avi .caf .dts .eac3 .f4v .flac .flv .m2ts .m4a .m4b"
    " .m4v .mka .mkv .mov .mp2 .mp3 .mp4 .mpc .mpeg .mpg .mts .mxf .oga .ogg .ogv .opus .ra .rf64 .rm .snd .spx .tak .ts"
    " .tta .vob .voc .w64 .wav .wave .weba .webm .wma .wmv .wv".split()
)
"""Suffixes of audio and video files; other files are read only if the user names them."""

MOST_TAGS, LONGEST_TAG_NAME, LONGEST_TAG = 40, 100, 1000
"""Maximum number of tags of a file, and maximum lengths of their names and values in characters."""
TAG_MARKS = str.maketrans({'"': "'", "\\": "/"})
"""Characters that are not allowed in names of fields, and their replacements."""
ANY_TAGS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}
"""Options of av.open to read tags that are not UTF-8, which PyAV 19 reads by default."""
TECHNICAL_TAGS = frozenset("encoder encoded_by handler_name vendor_id major_brand minor_version compatible_brands".split())
"""Tags about the program that wrote a file, which are dropped."""

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


DEMUXERS = (
    "3dostr,4xm,aa,aac,aax,ac3,ac4,ace,acm,act,adp,ads,adx,aea,afc,aiff,aix,alaw,alp,amr,amrnb,amrwb,apac,apc,ape,apm,aptx,"
    "aptx_hd,argo_asf,argo_brp,argo_cvg,asf,asf_o,ast,au,avi,avr,bfstm,bink,binka,bit,boa,bonk,brstm,caf,codec2,daud,dcstr,derf,"
    "dfpwm,dhav,dsf,dss,dts,dtshd,dv,ea,eac3,epaf,film_cpk,flac,flv,fsb,fwse,g722,g723_1,g726,g726le,g728,g729,genh,gsm,gxf,hca,"
    "hcom,iamf,iff,ilbc,ipmovie,ircam,iss,ivr,kux,kvag,laf,lc3,loas,lxf,matroska,webm,mca,mlp,mmf,mods,moflex,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,msf,mtaf,mtv,mulaw,musx,mxf,nistsphere,nsp,nsv,nut,nuv,ogg,oma,osq,pp_bnk,psxstr,pva,pvf,qcp,qoa,redspark,rka,"
    "rm,roq,rpl,rsd,rso,s337m,sbc,scd,sdns,sds,sdx,shn,siff,sln,smk,sol,sox,spdif,svag,svs,swf,tak,thp,truehd,tta,ty,usm,vag,"
    "vivo,voc,vpk,vqf,w64,wady,wav,wavarc,wsaud,wsd,wtv,wv,wve,xa,xmd,xmv,xvag,xwma"
)
"""Whitelist of FFmpeg's demuxers: those of audio and video that read only the given file. Playlists, manifests, scripts,
devices and streams, which open other files or the network, are excluded, and so are pictures and subtitles."""
PLAYLISTS = (
    b"#EXTM3U",
    b"ffconcat",
    b"[playlist]",
    b"[Reference]",
    b"<MPD",
    b"<asx",
    b"<ASX",
    b"<playlist",
    b"v=0\n",
)
"""First bytes of playlists."""

TRANSIENT = frozenset(
    getattr(errno, name)
    for name in "EACCES EBUSY EINTR EMFILE ENFILE ENODEV ENOENT ENOMEM ENOSPC ENOTCONN EPERM ESTALE ETIMEDOUT".split()
    if hasattr(errno, name)
)
"""Error numbers caused by the machine, not by the recording. Not EIO, which FFmpeg also reports for truncated files."""


@dataclass(frozen=True)
class Origin:
    """Format and tags of a file.

    format, codec: FFmpeg's names. sample_rate: Hz. channels: of the stream that is read. tags: of ID3, Vorbis comments, MP4,
    RIFF and Broadcast Wave, by lower-case name.
    """

    format: str
    codec: str
    sample_rate: int
    channels: int
    tags: dict[str, str]


class AudioError(VoxdexError):
    """A recording that cannot be read. The message is a clause without the path, for a Failure."""

    @property
    def sentence(self) -> str:
        return f"The recording cannot be used: {self}."


class PassingAudioError(AudioError):
    """A recording that cannot be read for a transient reason: it is not reachable, or its decoder was killed."""


class AudioReader:
    """Reads a recording from start to end, from this machine or from a URL, in a worker process (encoders.worker).

    Iteration yields float32 blocks of mono sound at 16 kHz, the mean of all channels. Packets that the decoder rejects are left
    out, which shifts later sound to earlier times; `damage` then describes them in a clause. `origin` is set from the first
    block on.

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
    for block in decoder:
        yield decoder.origin, decoder.damage, block
        seconds += len(block) / SAMPLE_RATE
        if seconds >= most_seconds:
            return
    yield decoder.origin, decoder.damage, None


class AudioDecoder:
    """Reads a file in this process, which a crash of FFmpeg ends; see AudioReader."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.damage: str | None = None
        self.origin: Origin | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        samples = 0
        try:
            with audio_errors(self.file):
                for block in self._blocks():
                    samples += len(block)
                    yield block
        except AudioError:
            raise
        except Exception as error:  # an unexpected error fails this recording only
            raise PassingAudioError(unforeseen(error)) from error
        if samples == 0:
            raise AudioError("its audio stream holds no sound that can be decoded")

    def _blocks(self) -> Iterator[np.ndarray]:
        with open_media(self.file) as container:
            for block in map(_mono, _resample(self._decode(container))):
                if not -MAX_SAMPLE < block.min() <= block.max() < MAX_SAMPLE:
                    raise AudioError("it holds samples that are not numbers, or far beyond full scale; export it again")
                yield block

    def _decode(self, container: av.container.InputContainer) -> Iterator[av.AudioFrame]:
        stream = audio_stream(container)
        self.origin = _origin(container, stream)
        if self.origin.sample_rate < MIN_SAMPLE_RATE:
            raise AudioError(f"it has {self.origin.sample_rate} samples a second, too few for a voice")
        decoded, rejected, seconds = 0, 0, 0.0
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
                for frame in frames:
                    seconds += frame.samples / frame.sample_rate
                    yield frame
        except av.error.FFmpegError as error:
            if decoded == 0:
                raise
            self.damage = f"what follows a fault in the file was left out ({_short(error)})"
        claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        if claimed - seconds > max(MISSING_SECONDS, MISSING_FRACTION * claimed):
            self.damage = f"it claims to last {claimed:.1f} s, of which {seconds:.1f} s could be read"
        elif self.damage is None and is_cut_short(self.file):
            self.damage = "its end is missing"


def open_media(file: Path) -> av.container.InputContainer:
    """Open an untrusted audio or video file; nothing else opens one.

    FFmpeg may read only this file, and only with one of DEMUXERS. Call it in a worker process
    (encoders.worker), which a crash of FFmpeg ends.

    Raises:
        AudioError: it is no regular file, empty, or a playlist.
        OSError, ValueError, av.error.FFmpegError: none of DEMUXERS reads it, or it is damaged; see explain.
    """
    status = file.stat()
    if stat.S_ISDIR(status.st_mode):
        raise AudioError("it is a folder; give a file")
    if not stat.S_ISREG(status.st_mode):
        raise AudioError("it is not a regular file")
    if status.st_size == 0:
        raise AudioError("it is empty (0 bytes)")
    with file.open("rb") as content:
        head = content.read(4096)
    if _is_playlist(head):
        raise AudioError("it is a playlist, which holds no sound of its own; give the recordings that it names")
    options = {"protocol_whitelist": "file", "format_whitelist": DEMUXERS} | _probing(head)
    return av.open(str(file.absolute()), options=options, **ANY_TAGS)


def audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    """Return the audio stream of a file, with a plain channel layout.

    Raises:
        AudioError: there is none, or none that can be decoded.
    """
    stream = container.streams.best("audio")
    if not isinstance(stream, av.AudioStream):
        raise AudioError("it has no audio stream")
    if stream.codec_context is None:
        raise AudioError("its sound is coded in a way that FFmpeg does not know")
    _make_layout_plain(stream)
    return stream


def _make_layout_plain(stream: av.AudioStream) -> None:
    """Replace a custom channel layout of a stream by a plain one, before anything else reads it.

    A custom layout shares its list of channels with every frame and layout object of PyAV, each of which frees it.
    """
    layout = stream.codec_context.layout  # the only owner of the list, once the codec has another layout
    if layout.nb_channels:
        is_odd = {"(", "@"} & set(layout.name)
        stream.codec_context.layout = f"{layout.nb_channels} channels" if is_odd else layout.name


def _is_playlist(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a playlist, which FFmpeg must not read."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().replace(b"\r", b"\n")
    return text.startswith(PLAYLISTS) or (text.startswith(b"<?xml") and any(mark in text for mark in PLAYLISTS))


def _probing(head: bytes) -> dict[str, str]:
    """Return FFmpeg's options to probe a file by its first bytes.

    FFmpeg searches 32 packets of a wave file for DTS or AC-3 in place of PCM, which takes longer than decoding ten seconds.
    Eight packets suffice, and a single channel cannot hold either.
    """
    if head[8:12] != b"WAVE":
        return {}
    is_mono = head[12:16] == b"fmt " and head[22:24] == b"\x01\x00"
    return {"max_probe_packets": "1" if is_mono else "8"}


def unforeseen(error: Exception) -> str:
    """Return a clause about an unexpected error, a defect of Voxdex or of a library."""
    return f"reading it failed unexpectedly ({error!r}); please report it"


@contextmanager
def audio_errors(path: Location) -> Iterator[None]:
    """Convert errors of FFmpeg, the system and workers while a recording is read to AudioError."""
    try:
        yield
    except WorkerError as error:
        raise PassingAudioError(str(error)) from error
    except (OSError, ValueError, av.error.FFmpegError) as error:
        is_transient = isinstance(error, FetchError) or (isinstance(error, OSError) and error.errno in TRANSIENT)
        raise (PassingAudioError if is_transient else AudioError)(explain(error, path)) from error


def explain(error: Exception, path: Location) -> str:
    """Return a clause on why a recording cannot be read, from an error of FFmpeg or of the system."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, FetchError):
        return str(error)
    if is_folder(path):
        return "it is a folder; give a file"
    if isinstance(error, PermissionError) and not os.access(path, os.R_OK):
        return "it may not be read; check its permissions"
    if isinstance(error, (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError)):
        return "it is not audio or video that FFmpeg knows, or it is damaged"
    return f"it could not be decoded ({_short(error)})"


def _origin(container: av.container.InputContainer, stream: av.AudioStream) -> Origin:
    tags: dict[str, str] = {}
    for name, value in {**stream.metadata, **container.metadata}.items():
        name, value = _text(name).strip().lower().translate(TAG_MARKS)[:LONGEST_TAG_NAME], _text(value).strip()
        if name and value and name not in TECHNICAL_TAGS and len(tags) < MOST_TAGS:
            tags[name] = value[:LONGEST_TAG]
    codec = stream.codec_context
    return Origin(container.format.name.split(",")[0], codec.name, codec.sample_rate, codec.channels, tags)


def _text(tag: str) -> str:
    """Decode a tag; bytes that are not UTF-8 are read as Windows-1252, which older programs write."""
    try:
        tag.encode()
        return tag
    except UnicodeEncodeError:
        return tag.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


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


def _short(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


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
