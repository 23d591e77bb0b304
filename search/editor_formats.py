"""Clips in the formats of editing programs: timelines by OpenTimelineIO, and markers of each recording."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from xml.etree import ElementTree

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.audio.timecode import MILLISECONDS, RATES, frames_per_second, seconds_of, timecode_at
from voxdex.encoders.errors import VoxdexError
from voxdex.encoders.packages import missing_package
from voxdex.search.formats import as_hours, summarise
from voxdex.search.query import ClipRecord, Hit

TIMELINES = (".otio", ".edl", ".xml", ".fcpxml")
"""Suffixes of timelines: OpenTimelineIO, CMX 3600, the XML of Final Cut Pro 7 that Premiere and Resolve read, Final Cut Pro."""
ADAPTERS = {".otio": "otio_json", ".edl": "cmx_3600", ".xml": "fcp_xml"}
"""OpenTimelineIO's names of the formats that it writes. Its adapter for Final Cut Pro writes no timelines of sound alone."""
AnyClip = TypeVar("AnyClip", bound=ClipRecord)
USUAL_RATE = 25.0
"""Frames a second of a timeline of recordings without a frame rate."""


class EditorFormatError(VoxdexError):
    """Clips that cannot be written in a format."""


@dataclass(frozen=True)
class Mark:
    """A named span of a recording, in seconds, and the timecode of its start in seconds; see ClipRecord."""

    name: str
    start: float
    end: float
    timecode: float | None = None


def check_packages(suffix: str) -> None:
    """Look for the packages that a timeline of a suffix needs, before it is written.

    Raises:
        EditorFormatError: one is missing.
    """
    if suffix in ADAPTERS and find_spec("opentimelineio") is None:
        raise EditorFormatError(f"{missing_package(f'Writing {suffix}', 'opentimelineio', 'editors')}.")


def with_handles(clips: Sequence[AnyClip], seconds: float) -> list[AnyClip]:
    """Return clips that begin earlier and end later by some seconds, though not before their recording begins."""
    found: list[AnyClip] = []
    for clip in clips:
        before = min(seconds, clip.start)
        timecode = clip.timecode
        if timecode and before:
            timecode = timecode_at(-before, timecode, clip.timecode_rate or MILLISECONDS)
        found.append(replace(clip, start=clip.start - before, end=clip.end + seconds, timecode=timecode))
    return found


def as_timeline(clips: Sequence[ClipRecord], suffix: str, *, name: str = "Voxdex", rate: float | None = None) -> str:
    """Write clips one after another as a timeline with one track, at their own timecode.

    Args:
        clips: in the order of the timeline.
        suffix: of TIMELINES.
        name: of the timeline.
        rate: frames a second; None for that of the first clip that has one, or USUAL_RATE.

    Raises:
        EditorFormatError: the packages of the extra `editors` are missing, or the format cannot hold these clips.
    """
    own = (frames_per_second(clip.timecode_rate) for clip in clips if clip.timecode_rate not in (None, MILLISECONDS))
    rate = rate or next(own, USUAL_RATE)
    if suffix == ".fcpxml":
        return _as_fcpxml(clips, name, rate)
    check_packages(suffix)
    import opentimelineio as otio
    from opentimelineio.opentime import RationalTime, TimeRange

    def time(seconds: float) -> Any:
        return RationalTime(round(seconds * rate), rate)

    kinds = otio.schema.TrackKind
    track = otio.schema.Track("Clips", kind=kinds.Video if suffix == ".edl" else kinds.Audio)  # an EDL needs a picture track
    for number, clip in enumerate(clips, 1):
        first = _first_second(clip)
        span = TimeRange(time(first + clip.start), time(max(clip.end - clip.start, 1 / rate)))
        media = otio.schema.ExternalReference(address_of(clip.recording), TimeRange(time(first), time(clip.end)))
        media.name = Path(clip.recording).name
        marker = otio.schema.Marker(name=name_of(clip, number), marked_range=TimeRange(span.start_time, time(0)))
        about = {"id": clip.id, "attributes": dict(clip.attributes), "track": clip.track, "channel": clip.channel}
        track.append(otio.schema.Clip(media.name, media, span, metadata={"voxdex": about}, markers=[marker]))
    timeline = otio.schema.Timeline(name, global_start_time=time(0))
    timeline.tracks.append(track)
    options: dict[str, Any] = {"rate": rate} if suffix == ".edl" else {}
    try:
        return str(otio.adapters.write_to_string(timeline, ADAPTERS[suffix], **options))
    except Exception as error:  # each adapter raises exceptions of its own
        raise EditorFormatError(f"These clips cannot be written as {suffix} ({error}).") from error


def _as_fcpxml(clips: Sequence[ClipRecord], name: str, rate: float) -> str:
    """Write a timeline of Final Cut Pro, version 1.8 of its XML."""
    exact = next((each for each in RATES if abs(float(each) - rate) < 0.01), Fraction(rate).limit_denominator(1001))

    def time(seconds: float) -> str:
        length = round(seconds * exact) / exact
        return f"{length.numerator}/{length.denominator}s" if length else "0s"

    root = ElementTree.Element("fcpxml", version="1.8")
    resources = ElementTree.SubElement(root, "resources")
    frame = f"{exact.denominator}/{exact.numerator}s"
    ElementTree.SubElement(resources, "format", id="r1", name="FFVideoFormatRateUndefined", frameDuration=frame)
    project = ElementTree.SubElement(ElementTree.SubElement(root, "event", name=name), "project", name=name)
    length = time(sum(clip.end - clip.start for clip in clips))
    sequence = ElementTree.SubElement(project, "sequence", format="r1", tcStart="0s", tcFormat="NDF", duration=length)
    spine = ElementTree.SubElement(sequence, "spine")
    assets: dict[str, str] = {}
    offset = 0.0
    for number, clip in enumerate(clips, 1):
        first, seconds = _first_second(clip), clip.end - clip.start
        title, asset = Path(clip.recording).name, f"r{len(assets) + 2}"
        if clip.recording not in assets:
            end = max(each.end for each in clips if each.recording == clip.recording)
            about = {"hasAudio": "1", "start": time(first), "duration": time(end), "format": "r1"}
            about |= {"id": asset, "name": title, "src": address_of(clip.recording)}
            ElementTree.SubElement(resources, "asset", about)
        about = {"name": title, "ref": assets.setdefault(clip.recording, asset), "format": "r1", "audioRole": "dialogue"}
        about |= {"offset": time(offset), "start": time(first + clip.start), "duration": time(seconds)}
        item = ElementTree.SubElement(spine, "asset-clip", about)
        ElementTree.SubElement(item, "marker", {"start": about["start"], "duration": frame, "value": name_of(clip, number)})
        offset += seconds
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}\n'


def _first_second(clip: ClipRecord) -> float:
    """Return the timecode of the first moment of a clip's recording, in seconds; 0 without one."""
    return 0.0 if clip.timecode is None else seconds_of(clip.timecode, clip.timecode_rate or MILLISECONDS) - clip.start


def marks_by_recording(clips: Sequence[ClipRecord]) -> dict[str, list[Mark]]:
    """Return the marks of clips, in order of time, by recording."""
    found: dict[str, list[Mark]] = {}
    for number, clip in sorted(enumerate(clips, 1), key=lambda each: each[1].start):
        timecode = seconds_of(clip.timecode, clip.timecode_rate or MILLISECONDS) if clip.timecode else None
        found.setdefault(clip.recording, []).append(Mark(name_of(clip, number), clip.start, clip.end, timecode))
    return found


def name_of(clip: ClipRecord, number: int) -> str:
    """Return the name of a clip in an editing program: its rank or number, score and labels."""
    rank, score = (f"#{clip.rank}", f" {clip.score:.3f}") if isinstance(clip, Hit) else (f"#{number}", "")
    return f"{rank}{score} {summarise(clip.attributes)}".strip()


def address_of(recording: str) -> str:
    """Return the URL of a recording."""
    return recording if is_url(recording) else Path(recording).absolute().as_uri()


def as_audacity(marks: Sequence[Mark]) -> str:
    """Write a label track of Audacity."""
    return "".join(f"{mark.start:.3f}\t{mark.end:.3f}\t{mark.name}\n" for mark in marks)


def as_reaper(marks: Sequence[Mark]) -> str:
    """Write regions as REAPER's region manager imports them (CSV)."""
    lines = ["#,Name,Start,End,Length"]
    for number, mark in enumerate(marks, 1):
        times = ",".join(as_hours(seconds, 3) for seconds in (mark.start, mark.end, mark.end - mark.start))
        lines.append(f'R{number},"{mark.name}",{times}')
    return "\n".join(lines) + "\n"


def as_pro_tools(marks: Sequence[Mark]) -> str:
    """Write memory locations in the form of Pro Tools' session text, with times in minutes and seconds."""
    lines = ["M A R K E R S  L I S T I N G", "#   \tLOCATION     \tTIME REFERENCE    \tUNITS    \tNAME\tCOMMENTS"]
    for number, mark in enumerate(marks, 1):
        minutes, seconds = divmod(mark.start, 60)
        place, length = f"{minutes:.0f}:{seconds:06.3f}", f"{mark.end - mark.start:.3f} s"
        lines.append(f"{number:<4}\t{place:<13}\t{mark.start:<18.3f}\tSeconds  \t{mark.name}\t{length}")
    return "\n".join(lines) + "\n"


def as_premiere(marks: Sequence[Mark]) -> str:
    """Write markers as Premiere Pro's marker panel exports them (tab-separated), at the timecode of USUAL_RATE."""
    lines = ["Marker Name\tDescription\tIn\tOut\tDuration\tMarker Type"]
    for mark in marks:
        first = mark.timecode if mark.timecode is not None else mark.start
        times = (_frames(seconds) for seconds in (first, first + mark.end - mark.start, mark.end - mark.start))
        lines.append("\t".join((mark.name, "", *times, "Comment")))
    return "\n".join(lines) + "\n"


def as_resolve(marks: Sequence[Mark]) -> str:
    """Write timeline markers as DaVinci Resolve imports them from an EDL, at the timecode of USUAL_RATE."""
    lines = ["TITLE: Voxdex", "FCM: NON-DROP FRAME", ""]
    for number, mark in enumerate(marks, 1):
        first = mark.timecode if mark.timecode is not None else mark.start
        begin, end = _frames(first), _frames(first + 1 / USUAL_RATE)
        length = max(1, round((mark.end - mark.start) * USUAL_RATE))
        lines += [
            f"{number:03d}  001      V     C        {begin} {end} {begin} {end}  ",
            f" |C:ResolveColorBlue |M:{mark.name.replace('|', '/')} |D:{length}",
            "",
        ]
    return "\n".join(lines)


def as_subtitles(marks: Sequence[Mark], form: str) -> str:
    """Write subtitles. form: "srt" or "vtt"."""
    import pysubs2

    events = [pysubs2.SSAEvent(pysubs2.make_time(s=mark.start), pysubs2.make_time(s=mark.end), mark.name) for mark in marks]
    subtitles = pysubs2.SSAFile()
    subtitles.events = events
    return str(subtitles.to_string(form))


def as_xmp(marks: Sequence[Mark]) -> str:
    """Write an XMP sidecar with a track of markers (Adobe's dynamic media schema), in milliseconds."""
    spaces = {
        "x": "adobe:ns:meta/",
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "xmpDM": "http://ns.adobe.com/xmp/1.0/DynamicMedia/",
    }
    for prefix, address in spaces.items():
        ElementTree.register_namespace(prefix, address)
    rdf, media = f"{{{spaces['rdf']}}}", f"{{{spaces['xmpDM']}}}"
    root = ElementTree.Element(f"{{{spaces['x']}}}xmpmeta")
    about = ElementTree.SubElement(ElementTree.SubElement(root, f"{rdf}RDF"), f"{rdf}Description", {f"{rdf}about": ""})
    tracks = ElementTree.SubElement(ElementTree.SubElement(about, f"{media}Tracks"), f"{rdf}Bag")
    item = ElementTree.SubElement(tracks, f"{rdf}li", {f"{rdf}parseType": "Resource"})
    for name, text in (("trackName", "Voxdex"), ("trackType", "Comment"), ("frameRate", "f1000")):
        ElementTree.SubElement(item, media + name).text = text
    sequence = ElementTree.SubElement(ElementTree.SubElement(item, f"{media}markers"), f"{rdf}Seq")
    for mark in marks:
        entry = ElementTree.SubElement(sequence, f"{rdf}li", {f"{rdf}parseType": "Resource"})
        times = (("startTime", mark.start), ("duration", mark.end - mark.start))
        for name, text in (*((name, str(round(1000 * seconds))) for name, seconds in times), ("name", mark.name)):
            ElementTree.SubElement(entry, media + name).text = text
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


MARKERS: Mapping[str, tuple[str, Callable[[Sequence[Mark]], str]]] = {
    "audacity": (".txt", as_audacity),
    "srt": (".srt", lambda marks: as_subtitles(marks, "srt")),
    "vtt": (".vtt", lambda marks: as_subtitles(marks, "vtt")),
    "reaper": (".csv", as_reaper),
    "pro-tools": (".txt", as_pro_tools),
    "premiere": (".csv", as_premiere),
    "resolve": (".edl", as_resolve),
    "xmp": (".xmp", as_xmp),
}
"""Formats of the markers of one recording: the suffix of their files, and what writes them."""


def _frames(seconds: float) -> str:
    """Return the timecode of a time at USUAL_RATE."""
    frames = math.floor(seconds * USUAL_RATE + 0.5)
    whole, part = divmod(frames, int(USUAL_RATE))
    return f"{whole // 3600 % 24:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}:{part:02d}"
