"""Answers in other formats: text for people, JSON documents, tables, playlists, and label tracks."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from voxdex.encoders.errors import in_one_line
from voxdex.encoders.tables import csv_text
from voxdex.search.query import ClipRecord, Facet, Hit, QuerySpec

SUMMARY_ATTRIBUTES = ("gender", "emotion", "pitch", "phonation")
"""Attributes in a summary of a voice, in their order."""


LONG = 3600.0
"""Seconds from which on times are given in hours."""


def summarise(attributes: Mapping[str, str]) -> str:
    """Summarise the predicted labels of a voice: "female, sad, low pitch"."""
    labels = {name: attributes[name] for name in SUMMARY_ATTRIBUTES if name in attributes}
    if "pitch" in labels:
        labels["pitch"] += " pitch"
    if labels.get("phonation") == "modal":
        del labels["phonation"]
    return ", ".join(labels.values())


def span(start: float, end: float, digits: int = 1) -> str:
    """Format a span of a recording: in seconds, "3.5-7.0", or in hours, "1:02:03.5-1:02:07.0", where it ends after LONG."""
    return "-".join(f"{time:.{digits}f}" if end < LONG else as_hours(time, digits) for time in (start, end))


def as_hours(seconds: float, digits: int = 1) -> str:
    """Format a time as h:mm:ss, with decimals."""
    ticks = round(seconds * 10**digits)
    minutes, ticks = divmod(ticks, 60 * 10**digits)
    width = digits + 3 if digits else 2
    return f"{minutes // 60}:{minutes % 60:02d}:{ticks / 10**digits:0{width}.{digits}f}"


def short_name(recording: str) -> str:
    """Return the recording's name without folder and suffix, at most 60 characters."""
    return Path(recording).stem[:60]


def clip_name(number: int, clip: ClipRecord) -> str:
    """Return a name for the file of a clip, without a suffix, that every file system takes."""
    name = re.sub(r'[\x00-\x1f\x7f<>:"/\\|?*]', "_", short_name(clip.recording))
    return f"{number:02d} {name} {clip.start:g}-{clip.end:g}"


def search_document(
    spec: QuerySpec, hits: Sequence[Hit], *, clips: int, facets: Sequence[Facet] = (), notes: Sequence[str] = ()
) -> dict[str, Any]:
    """Build the JSON document of a search: the query, notes on it, its hits, and the facets if there are any.

    The query has the form that POST /api/search takes. `clips` is the number of clips that meet its filters.
    """
    document = {
        "query": {"caption": spec.captions[0] if len(spec.captions) == 1 else None} | spec.document(),
        "notes": list(notes),
        "clips": clips,
        "hits": [asdict(hit) for hit in hits],
    }
    counts = {facet.field: {"hits": dict(facet.hits), "all": dict(facet.total)} for facet in facets}
    return document | ({"facets": counts} if facets else {})


def as_playlist(clips: Sequence[ClipRecord], first: int = 1) -> str:
    """Write an extended M3U, with the clips numbered from `first`. VLC plays the clips, other players their recordings."""
    lines = ["#EXTM3U"]
    for number, clip in enumerate(clips, first):
        title = f"#{number} {in_one_line(short_name(clip.recording))} {span(clip.start, clip.end)}"
        lines += [
            f"#EXTINF:{clip.end - clip.start:.3f},{title}",
            f"#EXTVLCOPT:start-time={clip.start:.3f}",
            f"#EXTVLCOPT:stop-time={clip.end:.3f}",
            in_one_line(clip.recording),
        ]
    return "\n".join(lines) + "\n"


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as CSV; nested values are in columns such as attributes.gender.

    Text that spreadsheets would run as a formula follows an apostrophe.
    """
    return csv_text([{name: _inert(value) for name, value in _flat(row).items()} for row in rows])


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and re.match(r"[=+@\t\r]|-(?!\d)", value) else value


def as_json_lines(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows as JSON Lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in row.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
