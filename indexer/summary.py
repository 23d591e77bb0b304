"""What is in an index."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from encoders.audio import Failure
from encoders.remote import is_url
from indexer.files import gone_of
from indexer.ledger import ABOUT, Ledger
from indexer.store import CLIP, RECORDING, EdgeStore, Store

SECONDS = ("audio_seconds", "speech_seconds", "other_seconds")
KEYS = ("files", "failure", *ABOUT)
COUNTED, PATHS = "overview", "paths"
"""What the store remembers of it: the counts, and the local files, of a large archive in a folder alone."""


@dataclass
class Overview:
    """recordings: contents with clips or without; files: that hold them; copies: files beyond the first of a content.

    audio_seconds: of all recordings; speech_seconds: of all clips; other_seconds: of sound that is not speech; formats:
    recordings by container and codec; silent: recordings in which nobody speaks. gone: local files that are not there, None
    where that was not looked at.
    bytes: on disk, of an embedded index. says: the space of what is said, "" where the index does not hold that.
    """

    space: str
    model: str
    recordings: int = 0
    files: int = 0
    copies: int = 0
    clips: int = 0
    silent: int = 0
    audio_seconds: float = 0.0
    speech_seconds: float = 0.0
    other_seconds: float = 0.0
    gone: int | None = None
    bytes: int = 0
    says: str = ""
    formats: dict[str, int] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)


def overview(store: Store, check_files: bool = False) -> Overview:
    """Counts what an index holds; most of it is remembered from the run that wrote it.

    Args:
        store: the index.
        check_files: look which files are gone even where every recording must be asked for that, as on a server.
    """
    counted, paths = store.recall(COUNTED), store.recall(PATHS)
    if counted is None or (paths is None and check_files):
        counted, paths = _counted(store.payloads(RECORDING, KEYS))
    found = Overview(store.space, store.model, **counted)
    for failures in (found.failed, found.damaged):
        failures[:] = [Failure(*failure) for failure in failures]
    found.says, found.clips = store.says.space if store.says else "", store.count(CLIP)
    found.gone = None if paths is None else len(gone_of(paths))
    if isinstance(store, EdgeStore):
        found.bytes = sum(file.stat().st_blocks * 512 for file in store.folder.rglob("*") if file.is_file())
    return found


def remember_overview(store: Store, ledger: Ledger) -> None:
    """Lets the store recall at once what overview() would have to count, until something changes."""
    counted = cache(lambda: _counted(ledger.recordings()))  # not at all where it is remembered
    for place, name in enumerate((COUNTED, PATHS)):
        store.remember(name, lambda place=place: counted()[place], is_small=True)


def _counted(recordings: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Fields of Overview, as JSON can hold them, and the local files."""
    counts, formats = Counter(), Counter()
    failed, damaged, local = [], [], []
    for recording in recordings:
        paths = [path for path, *_ in recording["files"]]
        local += [path for path in paths if not is_url(path)]
        if recording["failure"]:
            failed += [(path, recording["failure"]) for path in paths]
            continue
        counts += Counter(recordings=1, files=len(paths), copies=len(paths) - 1, silent=recording["clips"] == 0)
        for name in SECONDS:
            counts[name] = round(counts[name] + recording[name], 3)
        origin = recording["origin"]
        formats[f"{origin['format']} {origin['codec']}" if origin else "unknown"] += 1
        if recording["damage"]:
            damaged.append((paths[0], recording["damage"]))
    return {**counts, "formats": dict(formats.most_common()), "failed": failed, "damaged": damaged}, local
