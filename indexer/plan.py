"""What indexing would do, without doing it."""

from dataclasses import dataclass, field

from voxdex.encoders.audio.reader import AudioError
from voxdex.encoders.errors import Failure
from voxdex.indexer.catalog import Catalog
from voxdex.indexer.scan import ScanResult, hashed_file
from voxdex.indexer.store.base import Store


@dataclass
class IndexPlan:
    """Files by what would become of them, as paths.

    new: embedded for the first time. changed: embedded again, if only for what is said. known: moved, copied or merely
    touched: their content is indexed, and nothing is embedded. unchanged: left alone. gone: indexed, under the walk's roots,
    and no longer there.
    """

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def plan_index(walk: ScanResult, store: Store | None, says: str = "", retry_failed: bool = False) -> IndexPlan:
    """Compares a walk with an index, None where there is none yet; files that look new are read, but not decoded.

    Args:
        walk: what was found.
        store: the index.
        says: the space of what is said that is asked for; "" for the store's own, if it has one.
        retry_failed: see `index`.
    """
    ledger = Catalog(store, says, retry_failed) if store else None
    indexed = set(ledger.paths) if ledger else set()
    found, contents = IndexPlan(failed=list(walk.failed)), ledger.contents if ledger else set()
    for name, file in walk.recordings.items():
        if ledger and file and ledger.knows(file):
            failure = ledger.failure_of(name)
            found.failed.append(Failure(name, failure)) if failure else found.unchanged.append(name)
            continue
        try:
            with hashed_file(name) as (_, content, _):
                pass
        except AudioError as error:
            found.failed.append(Failure(name, str(error)))
            continue
        if content in contents:
            found.known.append(name)
        else:
            (found.changed if name in indexed else found.new).append(name)
            contents.add(content)
    found.gone = walk.missing(sorted(indexed))
    return found
