"""The index run: brings an index up to date with the recordings of a scan."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from voxdex.encoders.errors import Failure
from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.indexer.calibration import calibrate, read_calibration
from voxdex.indexer.catalog import Catalog
from voxdex.indexer.metadata import Metadata
from voxdex.indexer.pipeline.embedder import EmbedBackend, EmbedJob
from voxdex.indexer.pipeline.local import embed_locally
from voxdex.indexer.report import IndexReport, Progress, RunStatistics
from voxdex.indexer.roots import add_roots, new_roots, read_roots
from voxdex.indexer.scan import ScanResult, is_gone, lies_under
from voxdex.indexer.statistics import cache_statistics
from voxdex.indexer.store.base import CLIP, RECORDING, Store
from voxdex.indexer.taught import read_taught
from voxdex.indexer.writer import Writer

FLUSH_SECONDS = 10.0
"""Time between flushes to disk, and so the work that a power cut may cost."""
MOST_PRUNED = 0.5
"""Maximum fraction of a root's recordings that is dropped without --prune=all."""
UP_TO_DATE, FIELDS = "up-to-date-{:.16}", "fields"
"""Name of the cached failures of a scan that needed no work, by the scan's digest."""


def index(  # noqa: PLR0913, RUF100  # keyword-only but for four
    scan: ScanResult,
    store: Store,
    model: Model,
    metadata: Metadata | None = None,
    *,
    phonetic_model: PhoneticModel | None = None,
    vad: bool = True,
    prune: bool = False,
    prune_all: bool = False,
    retry_failed: bool = False,
    backend: EmbedBackend = embed_locally,
    on_progress: Callable[[Progress], object] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> IndexReport:
    """Bring an index up to date with the recordings of a scan.

    Recordings that are unchanged, by size and modification time or by content, are not embedded again. A recording is stored
    once all its clips are embedded, so an interrupted run leaves whole recordings only, and the next run continues.

    Args:
        scan: result of find_recordings.
        store: an index of the model's space.
        model: embeds voices.
        metadata: stored with each recording that has a row; stored metadata of the others is kept.
        phonetic_model: embeds phonetic vectors, for an index with a phonetic space. Recordings without them are embedded again.
        vad: make clips of speech only; otherwise of all sound.
        prune: drop recordings under the scan's roots that no longer exist; otherwise they are counted as missing. A root that
            would lose more than half of its recordings is left unchanged and reported as failed.
        prune_all: with `prune`, drop any number of recordings.
        retry_failed: decode recordings again that failed before and have not changed since.
        backend: decodes and embeds, on this machine or elsewhere (see pipeline.ray).
        on_progress: called after each batch, and before search indexes are built.
        should_stop: called at the same times; True ends the run with KeyboardInterrupt.

    Raises:
        StoreError: the engine fails; what was stored before is kept.
        KeyboardInterrupt: should_stop() was true; what was stored before is kept.
    """
    statistics = RunStatistics()
    if not (metadata or retry_failed) and (failed := _failures_if_up_to_date(scan, store)) is not None:
        statistics.total, statistics.failed = len(scan.recordings), failed
        statistics.unchanged = statistics.total - len(failed)
        return statistics.report(store.space, scan.ignored)

    catalog = Catalog(store, retry_failed=retry_failed)
    store.ensure_fields(store.cache_get(FIELDS) or {})  # where the engine has lost some
    if metadata:
        metadata = catalog.join_metadata(metadata, scan.recordings)
    writer = Writer(store, catalog, metadata, scan.transcripts, statistics)
    writer.delete_broken()
    statistics.failed += scan.failed + _absent_roots(scan, catalog, prune=prune)
    statistics.total = len(scan.recordings) + len(statistics.failed)

    changed = []
    for path, file in scan.recordings.items():
        if file and catalog.knows(file):
            writer.keep(path)
        else:
            changed.append(path)
    writer.store_changes()
    statistics.skipped = statistics.unchanged
    statistics.bytes_left = sum(file.size for path in changed if (file := scan.recordings[path]))

    if changed:
        flushed, predictors = time.perf_counter(), (read_calibration(store), tuple(read_taught(store).values()))
        for batch in backend(EmbedJob(changed, catalog.hashes, model, phonetic_model, vad, *predictors)):
            writer.write(batch)
            if time.perf_counter() - flushed > FLUSH_SECONDS:
                store.flush()
                flushed = time.perf_counter()
            on_progress(statistics.progress())
            if should_stop():
                writer.delete_orphans()
                raise KeyboardInterrupt

    _prune(scan, catalog, statistics, prune=prune, prune_all=prune_all)
    writer.store_changes()
    writer.delete_orphans()
    writer.drop_empty_fields()
    add_roots(store, scan.roots)
    if not catalog.is_cached:
        on_progress(statistics.progress(optimising=True))
        if should_stop():
            raise KeyboardInterrupt
        with statistics.storing():
            calibrate(store, model)
            store.optimise()
    _save_caches(scan, store, catalog, is_complete=not statistics.missing)
    return statistics.report(
        store.space,
        scan.ignored,
        unmatched_metadata=len(metadata.unmatched(catalog.paths)) if metadata else 0,
        without_metadata=len(metadata.without_row(catalog.paths)) if metadata else 0,
    )


def _failures_if_up_to_date(scan: ScanResult, store: Store) -> list[Failure] | None:
    """Return the failures of a scan that a former run found up to date; None where anything has changed since."""
    known = None if scan.absent or scan.failed else store.cache_get(UP_TO_DATE.format(scan.digest()))
    if (
        not known
        or new_roots(read_roots(store), scan.roots)
        or known["points"] != [store.count(RECORDING), store.count(CLIP)]
        or known["fields"] != store.schema()
    ):
        return None
    return [Failure(*failure) for failure in known["failures"]]


def _save_caches(scan: ScanResult, store: Store, catalog: Catalog, *, is_complete: bool) -> None:
    """Cache the catalog, the fields, the statistics and, if nothing is missing or unknown, that the scan is up to date."""
    catalog.save_cache()
    store.cache_put(FIELDS, store.schema)
    cache_statistics(store, catalog)

    def state() -> dict[str, Any]:
        points = [store.count(RECORDING), store.count(CLIP)]
        return {"failures": catalog.failures(scan.recordings), "points": points, "fields": store.schema()}

    if is_complete and all(file and catalog.knows(file) for file in scan.recordings.values()):
        store.cache_put(UP_TO_DATE.format(scan.digest()), state)


def _absent_roots(scan: ScanResult, catalog: Catalog, *, prune: bool) -> list[Failure]:
    """Return the roots that do not exist, except those whose recordings are about to be pruned."""
    found = []
    for absent in scan.absent:
        indexed = [path for path in catalog.paths if lies_under(path, absent.path)]
        if not (prune and any(map(is_gone, indexed))):
            kept = "; what the index holds of it is kept" if indexed else ""
            found.append(replace(absent, reason=f"{absent.reason}{kept}"))
    return found


def _prune(scan: ScanResult, catalog: Catalog, statistics: RunStatistics, *, prune: bool, prune_all: bool) -> None:
    """Drop the recordings that no longer exist, or count them as missing."""
    missing = scan.missing(catalog.paths)
    kept_roots = _emptied_roots(scan.roots, catalog.paths, missing) if prune and not prune_all else []
    for path in missing:
        if prune and not any(lies_under(path, root.path) for root in kept_roots):
            catalog.remove_path(path)
            statistics.removed += 1
        else:
            statistics.missing += 1
    statistics.failed += kept_roots
    statistics.total += len(kept_roots)


def _emptied_roots(roots: Sequence[str], paths: Sequence[str], missing: Sequence[str]) -> list[Failure]:
    """Return the roots of which more than half of the indexed recordings are missing, as when their disk is not mounted."""
    found = []
    for root in roots:
        indexed, lost = (sum(lies_under(path, root) for path in some) for some in (paths, missing))
        if lost > MOST_PRUNED * indexed:
            reason = f"{lost} of its {indexed} indexed recordings are gone, and none of them was dropped"
            found.append(Failure(root, f"{reason}: see that its disk is mounted, or drop them with --prune=all"))
    return found
