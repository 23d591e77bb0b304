"""Cue points in broadcast waves: a copy of a wave file with a named region for each mark."""

import shutil
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from voxdex.encoders.audio.container import AudioError
from voxdex.search.editor_formats import Mark

UNKNOWN_SIZE = 0xFFFFFFFF
"""Size in the header of an RF64 file, whose chunk ds64 has the size."""


@dataclass(frozen=True)
class _Chunk:
    """A chunk of a wave file. offset: of its content. size: of its content, in bytes."""

    name: bytes
    offset: int
    size: int


def copy_with_cues(recording: Path, marks: Sequence[Mark], target: Path) -> None:
    """Copy a wave file (RIFF or RF64), with a cue point, a label and a length for each mark after its own chunks.

    Raises:
        AudioError: it is no wave file, or has cue points of its own.
        OSError: the copy cannot be written.
    """
    with recording.open("rb") as file:
        chunks = {chunk.name: chunk for chunk in _chunks(file)}
        if b"fmt " not in chunks or b"data" not in chunks:
            raise AudioError("it is no wave file, and cue points are written into copies of these only")
        if b"cue " in chunks:
            raise AudioError("it has cue points of its own")
        file.seek(chunks[b"fmt "].offset + 4)
        [rate] = struct.unpack("<I", file.read(4))
    shutil.copyfile(recording, target)
    with target.open("r+b") as copy:
        end = max(chunk.offset + chunk.size + chunk.size % 2 for chunk in chunks.values())
        copy.truncate(end)
        copy.seek(end)
        copy.write(_cue_chunks(marks, rate))
        size = copy.tell() - 8
        if size < UNKNOWN_SIZE and b"ds64" not in chunks:
            copy.seek(4)
            copy.write(struct.pack("<I", size))
        elif b"ds64" in chunks:
            copy.seek(chunks[b"ds64"].offset)
            copy.write(struct.pack("<Q", size))


def _chunks(file: BinaryIO) -> Iterator[_Chunk]:
    """Yield the chunks of a wave file; nothing for another file."""
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return
    data_size = 0
    while len(header := file.read(8)) == 8:
        name, size = header[:4], struct.unpack("<I", header[4:])[0]
        offset = file.tell()
        if name == b"ds64":
            data_size = struct.unpack("<QQ", file.read(16))[1]
        if name == b"data" and size == UNKNOWN_SIZE:
            size = data_size
        yield _Chunk(name, offset, size)
        file.seek(offset + size + size % 2)


def _cue_chunks(marks: Sequence[Mark], rate: int) -> bytes:
    """Return the chunks "cue " and "LIST" (adtl) of marks, in samples at a rate in Hz."""
    points, names = b"", b""
    for number, mark in enumerate(marks, start=1):
        first, length = round(mark.start * rate), max(1, round((mark.end - mark.start) * rate))
        points += struct.pack("<II4sIII", number, first, b"data", 0, 0, first)
        names += _chunk(b"labl", struct.pack("<I", number) + mark.name.encode() + b"\0")
        names += _chunk(b"ltxt", struct.pack("<II4sHHHH", number, length, b"rgn ", 0, 0, 0, 0))
    return _chunk(b"cue ", struct.pack("<I", len(marks)) + points) + _chunk(b"LIST", b"adtl" + names)


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
