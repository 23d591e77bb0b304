"""Statistics of an index."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from voxdex.encoders.audio.remote import is_url
from voxdex.encoders.errors import Failure
from voxdex.indexer.catalog import BROKEN, COUNTS, LEFT_OUT, TRANSCRIPTS, Catalog
from voxdex.indexer.roots import read_roots
from voxdex.indexer.scan import missing_files
from voxdex.indexer.store.base import CLIP, RECORDING, Store
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filters import group_fields

SECONDS = ("audio_seconds", "speech_seconds", "non_speech_seconds")
KEYS = ("files", "failure", *COUNTS)
COUNTED, PATHS = "statistics", "paths"
"""Names of the cached counts and of the cached local paths. The paths of a large archive are only cached in a folder."""


@dataclass
class IndexStatistics:
    """The contents of an index.

    recordings: contents that did not fail. files: that hold them. duplicates: files beyond the first of a content. clips:
    of all recordings. without_speech: recordings without clips. repeated_clips, unused_tracks: see DecodeSummary.
    transcripts: recordings with a transcript beside them.
    audio_seconds: of recordings. speech_seconds: of clips. non_speech_seconds: of sound without speech. missing: local
    files that no longer exist, None where that was not checked. bytes: on disk, of an embedded index. phonetic: phonetic
    space, "" for none. formats: recordings by container and codec. roots: paths that runs were given. fields: names that
    filters can use, with their kinds.
    """

    space: str
    model: str
    recordings: int = 0
    files: int = 0
    duplicates: int = 0
    clips: int = 0
    without_speech: int = 0
    repeated_clips: int = 0
    unused_tracks: int = 0
    transcripts: int = 0
    audio_seconds: float = 0.0
    speech_seconds: float = 0.0
    non_speech_seconds: float = 0.0
    missing: int | None = None
    bytes: int = 0
    phonetic: str = ""
    formats: dict[str, int] = field(default_factory=dict)
    roots: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    failed: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)


def index_statistics(store: Store, *, check_files: bool = False) -> IndexStatistics:
    """Return the statistics of an index, most of them from the cache of the run that wrote it.

    Args:
        store: the index.
        check_files: look for missing files even where the store must list every recording for that, as on a server.
    """
    counted, paths = store.cache_get(COUNTED), store.cache_get(PATHS)
    if counted is None or (paths is None and check_files):
        counted, paths = _counted(store.payloads(RECORDING, KEYS))
    failures = {name: [Failure(*failure) for failure in counted[name]] for name in ("failed", "damaged")}
    statistics = IndexStatistics(store.space, store.model, **(counted | failures))
    statistics.phonetic, statistics.clips = store.phonetic.space if store.phonetic else "", store.count(CLIP)
    statistics.roots = read_roots(store)
    schema = store.schema()
    statistics.fields = {name: schema[keys[0]] for name, keys in sorted(group_fields(schema).items())}
    statistics.missing = None if paths is None else len(missing_files(paths))
    if isinstance(store, EdgeStore):
        statistics.bytes = sum(file.stat().st_blocks * 512 for file in store.folder.rglob("*") if file.is_file())
    return statistics


def cache_statistics(store: Store, catalog: Catalog) -> None:
    """Cache the statistics in the store until the index changes."""
    counted = cache(lambda: _counted(catalog.recordings()))  # not computed where it is cached
    store.cache_put(COUNTED, lambda: counted()[0], is_small=True)
    store.cache_put(PATHS, lambda: counted()[1], is_small=True)


def _counted(recordings: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Return fields of IndexStatistics as JSON values, and the local files."""
    counts: Counter[str] = Counter()
    formats: Counter[str] = Counter()
    seconds = dict.fromkeys(SECONDS, 0.0)
    failed, damaged, local = [], [], []
    for recording in recordings:
        paths = [path for path, *_ in recording.get("files") or ()]
        local += [path for path in paths if not is_url(path)]
        if recording["failure"]:
            failed += [(path, recording["failure"]) for path in paths]
        elif paths:
            broken = recording.get(BROKEN) or {}
            failed += [(path, f"{reason}; the clips of what it held before are kept") for path, reason in broken.items()]
            counts.update(
                recordings=1, files=len(paths), duplicates=len(paths) - 1, without_speech=int(recording["clips"] == 0)
            )
            counts.update({name: recording.get(name) or 0 for name in LEFT_OUT})
            counts["transcripts"] += any(lines for lines, *_ in (recording.get(TRANSCRIPTS) or {}).values())
            for name in SECONDS:
                seconds[name] = round(seconds[name] + recording[name], 3)
            origin = recording["origin"]
            formats[f"{origin['format']} {origin['codec']}" if origin else "unknown"] += 1
            if recording["damage"]:
                damaged.append((paths[0], recording["damage"]))
    lists = {"formats": dict(formats.most_common()), "failed": failed, "damaged": damaged}
    return {**counts, **seconds, **lists}, local
