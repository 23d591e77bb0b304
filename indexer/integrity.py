"""The integrity of an index: what its points, its fields and the files they are of should be, and are not."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.errors import Failure, VoxdexError
from voxdex.encoders.paths import file_sha256
from voxdex.indexer.scan import FileState
from voxdex.indexer.store.base import CLIP, KIND, RECORDING, Point, Store
from voxdex.indexer.store.filters import LAYERS, key_in
from voxdex.indexer.store.values import is_day
from voxdex.indexer.transcripts import TRANSCRIPT, TRANSCRIPT_TEXT

LENGTH_TOLERANCE = 1e-2
"""Difference from 1 that the length of a stored vector may have; phonetic vectors are float16."""


@dataclass(frozen=True)
class CheckReport:
    """What is wrong with an index.

    recordings, clips: that were looked at. broken: of recordings whose clips are missing, too many or unusable, by content.
    fields: payload keys that filters should know, and do not, with their kinds. changed: of files that are gone, or have
    changed since they were indexed.
    """

    recordings: int
    clips: int
    broken: Mapping[str, Failure]
    fields: Mapping[str, str]
    changed: list[Failure]

    @property
    def is_sound(self) -> bool:
        """Whether the index is as it was written; files may have changed since."""
        return not (self.broken or self.fields)


def check_index(store: Store, *, hashed: bool = False) -> CheckReport:
    """Look at every point of an index, and at the files that it is of.

    Args:
        store: the index.
        hashed: read all files, and compare what they contain with what was indexed.

    Raises:
        StoreError: the engine fails.
    """
    recordings = {point.payload["content"]: point.payload for point in store.points({KIND: RECORDING})}
    clips: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    kinds: dict[str, str] = {}
    paths: dict[str, str] = {}
    for clip in store.points({KIND: CLIP}):
        content = str(clip.payload.get("content", ""))
        clips[content] += 1
        paths.setdefault(content, str(clip.payload.get("recording", "")))
        _add_kinds(kinds, clip.payload)
        if reason := _fault_of(clip, has_phonetic=bool(recordings.get(content, {}).get("phonetic"))):
            reasons.setdefault(content, reason)
    for content, recording in recordings.items():
        paths.setdefault(content, str(recording.get("recording", "")))
        if clips[content] != (expected := recording.get("clips") or 0):
            reasons.setdefault(content, f"{clips[content]} of its {expected} clips are there")
    for content in clips.keys() - recordings.keys():
        reasons.setdefault(content, "its clips are there, and it is not")
    known = store.schema()
    return CheckReport(
        len(recordings),
        clips.total(),
        {content: Failure(paths[content], reason) for content, reason in sorted(reasons.items())},
        {key: kind for key, kind in sorted(kinds.items()) if key not in known},
        list(_changed_files(recordings.values(), hashed=hashed)),
    )


def _fault_of(clip: Point, *, has_phonetic: bool) -> str:
    """Return what is wrong with a clip; "" for nothing."""
    start, end = clip.payload.get("start"), clip.payload.get("end")
    if not (isinstance(start, (int, float)) and isinstance(end, (int, float)) and 0 <= start < end):
        return f"a clip has the times {start} to {end}"
    vectors = {"vector": clip.vector} | ({"phonetic vector": clip.phonetic_vector} if has_phonetic else {})
    for name, vector in vectors.items():
        if vector is None:
            return f"a clip has lost its {name}"
        if not abs(float(np.linalg.norm(vector)) - 1) <= LENGTH_TOLERANCE:  # NaN as well
            return f"a clip has a {name} that is none"
    return ""


def _add_kinds(kinds: dict[str, str], payload: Mapping[str, Any]) -> None:
    """Add the payload keys that filters can name, with the kinds of their values; a key with text once is text."""
    values = {key: payload[key] for key in ("recording", "start", "end", "duration", "track", "channel") if key in payload}
    for layer in (*LAYERS, "probabilities"):
        values |= {key_in(layer, name): value for name, value in (payload.get(layer) or {}).items()}
    if (payload.get(TRANSCRIPT) or {}).get("text"):
        kinds[TRANSCRIPT_TEXT] = "words"
    for key, value in values.items():
        if isinstance(value, str):
            is_date = key.startswith("metadata.") and is_day(value) and kinds.get(key, "date") == "date"
            kinds[key] = "date" if is_date else "text"
        elif isinstance(value, (int, float)):
            kinds.setdefault(key, "number")


def _changed_files(recordings: Iterable[Mapping[str, Any]], *, hashed: bool) -> Iterator[Failure]:
    """Yield the indexed files that are gone or have changed."""
    for recording in recordings:
        for path, size, mtime in recording.get("files") or ():
            try:
                state = FileState.of(path)
            except (OSError, VoxdexError):
                yield Failure(path, "it is gone, or cannot be read")
                continue
            if (state.size, state.mtime) != (size, mtime):
                yield Failure(path, "it has changed since it was indexed")
            elif hashed and not is_url(path) and file_sha256(Path(path)) != recording["content"]:
                yield Failure(path, "its content is not what was indexed, though its size and time are: see to its disk")
