"""Transcripts beside recordings: subtitles, TextGrids, CTM files and the JSON of Whisper, as lines with times."""

import json
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from voxdex.encoders.audio.reader import MEDIA_SUFFIXES
from voxdex.encoders.audio.remote import on_disk
from voxdex.encoders.tables import decoded

TRANSCRIPT = "transcript"
"""Payload key of a clip: {"text", "lines": [[start, end, text], ...]}, in seconds of the recording."""
TRANSCRIPT_TEXT = "transcript.text"
"""Payload key of the text, which the engine's full-text index covers."""
FORMATS = (".json", ".ctm", ".textgrid", ".vtt", ".srt")
"""Suffixes of transcripts. Of several of one language the first is read: those before subtitles may have times of words."""
LANGUAGE = re.compile(r"[A-Za-z]{2,4}([-_]\w{2,8})*")
"""A suffix before that of the format, as in talk.en.srt and talk.pt-BR.vtt."""
LEAST_SECONDS = 0.3
"""Part of a line, or half of it where that is shorter, that must lie in a clip."""
WORD_TIERS, OTHER_TIERS = re.compile(r"word|\bort", re.I), re.compile("phon|seg|syll|mau|kan|tone|pitch", re.I)
"""Names of the tiers of a TextGrid that hold words, and of those that hold no text."""
OWN_LABEL = re.compile(r"#\d+ ")
"""Beginning of the subtitles that `search --labels-to` writes, which are no transcript."""
SILENCE = frozenset({"", "sil", "sp", "spn", "<p:>", "<p>", "<eps>", "<sil>", "#", "_"})
"""Labels of pauses."""
log = logging.getLogger("voxdex")


class TranscriptError(ValueError):
    """A file that holds no transcript of its format. The message is a clause."""


@dataclass(frozen=True)
class Line:
    """A line or a word of a transcript. start, end: seconds in the recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Transcript:
    """The lines of a recording, one language after another."""

    lines: Sequence[Line]

    def payload(self, start: float, end: float) -> dict[str, Any]:
        """Return the value of TRANSCRIPT for the clip from `start` to `end`, in seconds."""
        begins, ends = self._times
        overlaps = np.minimum(ends, end) - np.maximum(begins, start)
        found = [self.lines[row] for row in np.flatnonzero(overlaps >= np.minimum(LEAST_SECONDS, (ends - begins) / 2)).tolist()]
        return {
            "text": " ".join(line.text for line in found),
            "lines": [[round(line.start, 3), round(line.end, 3), line.text] for line in found],
        }

    @cached_property
    def _times(self) -> tuple[np.ndarray, np.ndarray]:
        return np.array([line.start for line in self.lines]), np.array([line.end for line in self.lines])


def match_transcripts(files: Iterable[str], recordings: Iterable[str]) -> dict[str, list[str]]:
    """Match files to the recordings beside which they lie: recording -> its transcripts; see FORMATS and LANGUAGE.

    talk.srt, talk.wav.srt, talk.en.srt and talk.wav.en.srt are transcripts of talk.wav.
    """
    found: dict[str, list[str]] = defaultdict(list)
    files = list(files)
    by_name: dict[str, list[str]] = defaultdict(list)
    for recording in recordings if files else ():
        for name in (recording, _without_suffix(recording)):
            by_name[name].append(recording)
    for file in files:
        for recording in next((by_name[name] for name in _recording_names(file) if name in by_name), ()):
            found[recording].append(file)
    return found


def read_transcript(files: Sequence[str]) -> Transcript:
    """Read the transcripts of a recording; without lines if none of the files holds any.

    A file that cannot be read is left out, with a warning.
    """
    by_language: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files, key=lambda file: FORMATS.index(suffix_of(file))):
        by_language[_language(file)].append(file)
    return Transcript([line for language in sorted(by_language) for line in _first_lines(by_language[language])])


def _first_lines(files: Sequence[str]) -> list[Line]:
    """Return the lines of the first file that holds any."""
    for file in files:
        try:
            if lines := _clean(_read_lines(file)):
                return lines
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read as a transcript (%s).", file, error)
    return []


def _read_lines(file: str) -> list[Line]:
    with on_disk(file) as local:
        text = decoded(local.read_bytes(), fallback="cp1252").replace("\r\n", "\n").replace("\r", "\n")
        return list(READERS[suffix_of(file)](text, local))


def _clean(lines: Iterable[Line]) -> list[Line]:
    """Return lines in the order of time, on one line each, without pauses and immediate repetitions."""
    found: list[Line] = []
    for line in sorted(lines, key=lambda line: line.start):
        text = re.sub("[\x00\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", " ".join(line.text.split()))
        if text.lower() not in SILENCE and not (found and found[-1].text == text and line.start <= found[-1].end):
            found.append(Line(max(0.0, line.start), max(line.start, line.end, 0.0), text))
    return found


def _subtitles(text: str, _: Path) -> Iterator[Line]:
    """Yield the lines of SubRip or WebVTT subtitles."""
    import pysubs2

    try:
        subtitles = pysubs2.SSAFile.from_string(text)
    except pysubs2.Pysubs2Error as error:
        if not text.strip():
            return
        raise TranscriptError(f"it holds no subtitles: {error}") from error
    events = [event for event in subtitles if not event.is_comment]
    if not all(OWN_LABEL.match(event.plaintext) for event in events):
        yield from (Line(event.start / 1000, event.end / 1000, event.plaintext) for event in events)


def _ctm(text: str, file: Path) -> Iterator[Line]:
    """Yield the words of a CTM file: recording, channel, start, duration, word; those of other recordings are left out."""
    rows = [row.split() for row in text.splitlines() if row.strip() and not row.startswith(";;")]
    if any(len(row) < 5 for row in rows):
        raise TranscriptError("a line of a CTM file has a recording, a channel, a start, a duration and a word")
    mine = [row for row in rows if PurePath(row[0]).stem == file.name.split(".")[0]]
    for _, _, start, seconds, word, *_ in mine or rows:
        yield Line(float(start), float(start) + float(seconds), word)


def _text_grid(_: str, file: Path) -> Iterator[Line]:
    """Yield the intervals of the tiers with words of a TextGrid, or else of all tiers with text."""
    from praatio import textgrid
    from praatio.utilities.errors import PraatioException

    try:
        grid = textgrid.openTextgrid(
            str(file), includeEmptyIntervals=False, reportingMode="silence", duplicateNamesMode="rename"
        )
    except (PraatioException, IndexError, AttributeError, TypeError) as error:
        raise TranscriptError(f"it holds no TextGrid: {error}") from error
    tiers = [tier for tier in grid.tiers if isinstance(tier, textgrid.IntervalTier)]
    words = [tier for tier in tiers if WORD_TIERS.search(tier.name)]
    for tier in words or [tier for tier in tiers if not OTHER_TIERS.search(tier.name)]:
        for start, end, label in tier.entries:
            yield Line(float(start), float(end), label)


def _whisper(text: str, _: Path) -> Iterator[Line]:
    """Yield the words, or else the segments, of the JSON of Whisper, faster-whisper, WhisperX or whisper.cpp.

    Other JSON holds no lines: programs keep much beside recordings.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    for segment in _objects(document.get("segments")):
        words = list(_objects(segment.get("words")))
        parts = words if words and all(map(_is_timed, words)) else [segment]
        yield from (Line(float(part["start"]), float(part["end"]), _text(part)) for part in parts if _is_timed(part))
    for part in _objects(document.get("transcription")):
        offsets = part.get("offsets")
        if isinstance(offsets, dict) and all(isinstance(offsets.get(key), (int, float)) for key in ("from", "to")):
            yield Line(offsets["from"] / 1000, offsets["to"] / 1000, _text(part))


def _objects(value: Any) -> Iterator[Mapping[str, Any]]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())


def _is_timed(part: Mapping[str, Any]) -> bool:
    return all(isinstance(part.get(key), (int, float)) for key in ("start", "end"))


def _text(part: Mapping[str, Any]) -> str:
    return str(part.get("word") or part.get("text") or "")


READERS: dict[str, Callable[[str, Path], Iterator[Line]]] = {
    ".json": _whisper,
    ".ctm": _ctm,
    ".textgrid": _text_grid,
    ".vtt": _subtitles,
    ".srt": _subtitles,
}
"""Reads the lines of a file from its text, or from the file, by suffix."""


def _recording_names(file: str) -> Iterator[str]:
    """Yield the possible names of a transcript's recording, with or without its suffix."""
    name = _without_suffix(file)
    yield name
    if _language(file):
        yield _without_suffix(name)


def _language(file: str) -> str:
    """Return the language in the name of a transcript, "" for none."""
    ending = PurePath(_without_suffix(file)).suffix[1:]
    return ending if LANGUAGE.fullmatch(ending) and f".{ending.lower()}" not in MEDIA_SUFFIXES else ""


def suffix_of(path: str) -> str:
    """Return the suffix of a path in lower case, with its dot."""
    return PurePath(path).suffix.lower()


def _without_suffix(path: str) -> str:
    return path.removesuffix(PurePath(path).suffix)
