"""Hits and other answers as text: for people, tables, playlists and audio editors."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxdex.encoders.tables import csv_text
from voxdex.search.query import ClipRecord, Hit

TOLD = ("gender", "emotion", "pitch", "phonation")
"""Attributes that say most of a voice."""


def heard_as(attributes: Mapping[str, str]) -> str:
    """What a voice sounds like in a few words: "female, sad, low pitch"."""
    words = {name: attributes[name] for name in TOLD if name in attributes}
    if "pitch" in words:
        words["pitch"] += " pitch"
    if words.get("phonation") == "modal":
        del words["phonation"]
    return ", ".join(words.values())


def span(start: float, end: float) -> str:
    """From which second to which."""
    return f"{start:.1f}-{end:.1f}"


def short_name(recording: str) -> str:
    """A name for files about a recording."""
    return Path(recording).stem[:60]


def clip_name(number: int, clip: ClipRecord) -> str:
    """A name for a file of a clip, without its suffix."""
    return f"{number:02d} {short_name(clip.recording)} {clip.start:g}-{clip.end:g}"


def as_playlist(clips: Sequence[ClipRecord], first: int = 1) -> str:
    """An extended M3U, its clips numbered from `first`; VLC plays only the clips, other players their recordings."""
    lines = ["#EXTM3U"]
    for number, clip in enumerate(clips, first):
        lines += [
            f"#EXTINF:{clip.end - clip.start:.3f},#{number} {short_name(clip.recording)} {span(clip.start, clip.end)}",
            f"#EXTVLCOPT:start-time={clip.start:.3f}",
            f"#EXTVLCOPT:stop-time={clip.end:.3f}",
            clip.recording,
        ]
    return "\n".join(lines) + "\n"


def as_labels(hits: Sequence[Hit]) -> dict[str, str]:
    """Label tracks for Audacity, by the recording that they belong to."""
    lines = defaultdict(list)
    for hit in sorted(hits, key=lambda hit: hit.start):
        lines[hit.recording].append(f"{hit.start:.3f}\t{hit.end:.3f}\t#{hit.rank} {hit.score:.3f} {heard_as(hit.attributes)}")
    return {recording: "\n".join(labels) + "\n" for recording, labels in lines.items()}


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table; what is nested is in columns such as attributes.gender."""
    return csv_text([_flat(row) for row in rows])


def as_json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line of JSON each."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _flat(row: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in row.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {f"{above}{name}": value}
    return flat
