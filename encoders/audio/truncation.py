"""Detection of truncated RIFF, AIFF and Ogg files, which FFmpeg reads without an error."""

import struct
from pathlib import Path

LONGEST_PAGE = 65_307
"""Maximum size of an Ogg page, in bytes."""
UNKNOWN_SIZES = (0, 0xFFFFFFFF)
"""Sizes written by streaming programs, and by RF64 files, whose size is elsewhere."""


def is_cut_short(path: Path) -> bool:
    """Return whether a file is shorter than its container announces."""
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
    """Check the last page. RFC 3533, section 6: 27 bytes, ending with the number of segments; their lengths; the segments."""
    start = tail.rfind(b"OggS")
    segments = tail[start + 26] if start >= 0 and start + 26 < len(tail) else None
    if segments is None:
        return True
    lengths = tail[start + 27 : start + 27 + segments]
    return len(lengths) < segments or start + 27 + segments + sum(lengths) > len(tail)
