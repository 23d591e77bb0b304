"""Untrusted audio and video files: opened by FFmpeg with a whitelist, their streams, formats, tags and errors."""

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from voxdex.encoders.audio.remote import FetchError, Location, is_folder
from voxdex.encoders.audio.timecode import start_of
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.worker import WorkerError

MOST_TAGS, LONGEST_TAG_NAME, LONGEST_TAG = 40, 100, 1000
"""Maximum number of tags of a file, and maximum lengths of their names and values in characters."""
TAG_MARKS = str.maketrans({'"': "'", "\\": "/"})
"""Characters that are not allowed in names of fields, and their replacements."""
ANY_TAGS: dict[str, Any] = {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "surrogateescape"}
"""Options of av.open to read tags that are not UTF-8, which PyAV 19 reads by default."""
TECHNICAL_TAGS = frozenset("encoder encoded_by handler_name vendor_id major_brand minor_version compatible_brands".split())
"""Tags about the program that wrote a file, which are dropped."""
BROADCAST_TAGS = {"comment": "description", "encoded_by": "originator", "creation_time": "origination_time"}
"""FFmpeg's names of fields of a broadcast wave, and those of its standard (EBU Tech 3285)."""
LONGEST_PAGE = 65_307
"""Maximum size of an Ogg page, in bytes."""
UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Sizes written by streaming programs, and by RF64 files, whose size is elsewhere."""

UNSTATED_LENGTHS = frozenset(
    "aac ac3 eac3 ac4 dts dtshd truehd mlp amr amrnb amrwb loas asf asf_o mpegts mpeg adp gsm sbc g722 rm".split()
)
"""Formats of which FFmpeg only estimates the length of the sound."""
MEDIA_HEADS = (
    b"ID3", b"fLaC", b"OggS", b"RF64", b"caff", b".snd", b"wvpk", b"MAC ", b"#!AMR", b"FLV\x01", b"NIST_1A", b"\x1aE\xdf\xa3",
    bytes.fromhex("3026b2758e66cf11"), bytes.fromhex("060e2b34"), bytes.fromhex("000001ba"),
)  # fmt: skip
"""First bytes of audio and video formats."""
LARGEST_RIFF = 2**32
"""Bytes from which the header of a wave file cannot hold its size."""
SHORT_BROADCAST = 200_000_000
"""Bytes up to which a broadcast is read from its beginning for a clip."""
MP3_HEAD = 2048
"""Bytes within which an MP3 file has its header."""
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""Identity of the object of an ASF file that states its size (Advanced Systems Format, section 3.2)."""
ASF_HEADER, ASF_HEAD = bytes.fromhex("3026b275"), 65_536
"""First bytes of an ASF file, and bytes within which it has that object."""
ASF_BROADCAST = 1
"""Flag of an ASF file whose size was not known when it was begun."""

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
    RIFF and Broadcast Wave, by lower-case name. timecode, timecode_rate: of the first moment; see timecode.start_of.
    """

    format: str
    codec: str
    sample_rate: int
    channels: int
    tags: dict[str, str]
    timecode: str = ""
    timecode_rate: str = ""


class AudioError(VoxdexError):
    """A recording that cannot be read. The message is a clause without the path, for a Failure."""

    @property
    def sentence(self) -> str:
        return f"The recording cannot be used: {self}."


class PassingAudioError(AudioError):
    """A recording that cannot be read for a transient reason: it is not reachable, or its decoder was killed."""


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
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE" and status.st_size > LARGEST_RIFF:
        options["ignore_length"] = "1"
    return av.open(str(file.absolute()), options=options, **ANY_TAGS)


def audio_streams(container: av.container.InputContainer) -> list[av.AudioStream]:
    """Return the audio streams of a file that can be decoded, in its order, with plain channel layouts.

    Raises:
        AudioError: there are none.
    """
    streams = [stream for stream in container.streams if isinstance(stream, av.AudioStream)]
    if not streams:
        raise AudioError("it has no audio stream")
    known = [stream for stream in streams if stream.codec_context is not None and stream.codec_context.sample_rate]
    if not known:
        raise AudioError("its sound is coded in a way that FFmpeg does not know")
    for stream in known:
        _make_layout_plain(stream)
    return known


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


def origin_of(container: av.container.InputContainer, stream: av.AudioStream) -> Origin:
    """Return the format and tags of a file."""
    tags: dict[str, str] = {}
    found = {**stream.metadata, **container.metadata}
    names = BROADCAST_TAGS if "time_reference" in found else {}  # every broadcast wave has one
    for name, value in found.items():
        name = names.get(name, name)
        name, value = _text(name).strip().lower().translate(TAG_MARKS)[:LONGEST_TAG_NAME], _text(value).strip()
        if name and value and name not in TECHNICAL_TAGS and len(tags) < MOST_TAGS:
            tags[name] = value[:LONGEST_TAG]
    codec = stream.codec_context
    name = container.format.name.split(",")[0]
    return Origin(name, codec.name, codec.sample_rate, codec.channels, tags, *start_of(container, stream))


def _text(tag: str) -> str:
    """Decode a tag; bytes that are not UTF-8 are read as Windows-1252, which older programs write."""
    try:
        tag.encode()
        return tag
    except UnicodeEncodeError:
        return tag.encode("utf-8", "surrogateescape").decode("cp1252", "replace")


def claimed_seconds(container: av.container.InputContainer, stream: av.AudioStream, file: Path) -> float:
    """Return the length of the sound as the file states it; 0 where it states none.

    FFmpeg estimates the length of streams without a header from their bit rate, and gives that of the longest stream of ASF.
    """
    if not stream.duration or not stream.time_base or file.stat().st_size > LARGEST_RIFF:
        return 0.0
    name = container.format.name.split(",")[0]
    if name in UNSTATED_LENGTHS or (name == "mp3" and not _states_mp3_length(file)):
        return 0.0
    begin = stream.start_time or 0 if name == "ogg" else 0  # the end of Ogg's sound is stated, not its length
    return float((stream.duration - begin) * stream.time_base)


def _states_mp3_length(file: Path) -> bool:
    """Return whether an MP3 file begins with the number of its frames (Xing, LAME or VBRI header), after ID3 tags."""
    with file.open("rb") as content:
        head = content.read(10)
        if head[:3] == b"ID3" and len(head) == 10:
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            content.seek(10 + size)
        else:
            content.seek(0)
        first = content.read(MP3_HEAD)
    return any(mark in first for mark in (b"Xing", b"Info", b"VBRI"))


def begins_as_media(file: Path) -> bool:
    """Return whether the first bytes of a file are those of a common audio or video format; False where it cannot be read."""
    try:
        with file.open("rb") as content:
            head = content.read(12)
    except OSError:
        return False
    return head.startswith(MEDIA_HEADS) or head[4:8] == b"ftyp" or head[8:12] in (b"WAVE", b"AVI ", b"AIFF", b"AIFC")


def is_sought_exactly(file: Path) -> bool:
    """Return whether FFmpeg finds a second of a file without reading all before it.

    In streams without an index it guesses the place, and in chained ones and in short broadcasts, which may be spliced, times
    occur twice.
    """
    with file.open("rb") as content:
        head = content.read(12)
    if head[:4] in (b"RIFF", b"RF64", b"riff", b"FORM", b"caff", b"fLaC", b"\x1aE\xdf\xa3") or head[4:8] in (b"ftyp", b"moov"):
        return head[8:12] != b"AVI "
    is_broadcast = head[:1] == b"G" or head[4:5] == b"G" or head[:4] in (b"\x00\x00\x01\xba", b"\x06\x0e\x2b\x34")
    return is_broadcast and file.stat().st_size > SHORT_BROADCAST


def is_cut_short(path: Path) -> bool:
    """Return whether a file is shorter than its container announces."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            file.seek(max(0, size - 2 * LONGEST_PAGE))
            return _last_page_is_cut(file.read())
        if head[:4] == ASF_HEADER:
            return _is_asf_cut(head + file.read(ASF_HEAD), size)
    if len(head) == 12 and head[:4] in (b"RIFF", b"FORM"):
        (announced,) = struct.unpack("<I" if head[:4] == b"RIFF" else ">I", head[4:8])
        return announced not in UNKNOWN_SIZES and announced + 8 > size
    return False


def _is_asf_cut(head: bytes, size: int) -> bool:
    """Return whether an ASF file of `size` bytes is shorter than it states."""
    place = head.find(ASF_FILE_PROPERTIES)
    if place < 0 or place + 92 > len(head):
        return False
    (stated,), (flags,) = struct.unpack_from("<Q", head, place + 40), struct.unpack_from("<I", head, place + 88)
    return not flags & ASF_BROADCAST and stated > size


def _last_page_is_cut(tail: bytes) -> bool:
    """Check the last page. RFC 3533, section 6: 27 bytes, ending with the number of segments; their lengths; the segments."""
    start = tail.rfind(b"OggS")
    segments = tail[start + 26] if start >= 0 and start + 26 < len(tail) else None
    if segments is None:
        return True
    lengths = tail[start + 27 : start + 27 + segments]
    return len(lengths) < segments or start + 27 + segments + sum(lengths) > len(tail)


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
    return f"it could not be decoded ({brief(error)})"


def brief(error: Exception) -> str:
    """Return the text of an error without numbers and file names, where it has one."""
    return getattr(error, "strerror", None) or str(error)
