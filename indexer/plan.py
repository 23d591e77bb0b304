"""The plan of an index run: a dry run that compares a scan with an index."""

from dataclasses import dataclass, field

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.errors import Failure
from voxdex.indexer.catalog import Catalog
from voxdex.indexer.scan import ScanResult, hashed_file
from voxdex.indexer.store.base import Store


@dataclass
class IndexPlan:
    """Paths by what a run would do with them.

    new: embedded for the first time. changed: embedded again, if only for phonetic vectors. moved: moved, copied or touched
    files with an indexed content, of which nothing is embedded. unchanged: skipped. missing: indexed, under the scan's roots,
    but no longer existing.
    """

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def plan_index(scan: ScanResult, store: Store | None, *, phonetic: str = "", retry_failed: bool = False) -> IndexPlan:
    """Compare a scan with an index. Files that look new are hashed, but not decoded; nothing is written.

    Args:
        scan: result of find_recordings.
        store: the index; None where there is none yet.
        phonetic: the phonetic space that recordings need; "" for that of the store, if it has one.
        retry_failed: see `index`.
    """
    catalog = Catalog(store, phonetic=phonetic, retry_failed=retry_failed) if store else None
    indexed = set(catalog.paths) if catalog else set()
    hashes = catalog.hashes if catalog else set()
    plan = IndexPlan(failed=list(scan.failed))
    for path, file in scan.recordings.items():
        if catalog and file and catalog.knows(file):
            if failure := catalog.failure_of(path):
                plan.failed.append(Failure(path, failure))
            else:
                plan.unchanged.append(path)
            continue
        try:
            with hashed_file(path) as (_, content, _):
                pass
        except AudioError as error:
            plan.failed.append(Failure(path, str(error)))
            continue
        if content in hashes:
            plan.moved.append(path)
        else:
            (plan.changed if path in indexed else plan.new).append(path)
            hashes.add(content)
    plan.missing = scan.missing(sorted(indexed))
    return plan
