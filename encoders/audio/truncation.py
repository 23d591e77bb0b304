"""Whether the end of a file is missing, where its container tells and FFmpeg does not: RIFF, AIFF, Ogg."""

import struct
from pathlib import Path

LONGEST_PAGE = 65_307
"""Bytes of the longest page of an Ogg file."""
UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""What programs write that do not know how much will follow; RF64 files too, which keep their size elsewhere."""


def is_cut_short(path: Path) -> bool:
    """Whether the file ends before what its container has announced."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            file.seek(max(0, size - 2 * LONGEST_PAGE))
            return _last_page_is_cut(file.read())
    if len(head) == 12 and head[:4] in (b"RIFF", b"FORM"):
        (announced,) = struct.unpack("<I" if head[:4] == b"RIFF" else ">I", head[4:8])
        return announced not in UNKNOWN_SIZES and announced + 8 > size
    return False


def _last_page_is_cut(tail: bytes) -> bool:
    """RFC 3533, section 6: 27 bytes, the number of segments last, then the length of each, then the segments."""
    start = tail.rfind(b"OggS")
    segments = tail[start + 26] if start >= 0 and start + 26 < len(tail) else None
    if segments is None:
        return True
    lengths = tail[start + 27 : start + 27 + segments]
    return len(lengths) < segments or start + 27 + segments + sum(lengths) > len(tail)
