"""The roots of an index: the folders, files and URLs that its runs were given, so that a later run needs no paths."""

from collections.abc import Iterable, Sequence

from voxdex.indexer.scan import lies_under
from voxdex.indexer.store.base import KIND, Point, Store, identity

ROOTS = "roots"
"""Kind of the point that holds the roots."""


def read_roots(store: Store) -> list[str]:
    """Return the roots of an index, in the order in which they were first indexed; [] where they are unknown."""
    return [root for point in store.retrieve([_id(store)]) for root in point.payload[ROOTS]]


def new_roots(known: Sequence[str], roots: Iterable[str]) -> list[str]:
    """Return those of some roots that are not within known ones."""
    return [root for root in dict.fromkeys(roots) if not any(lies_under(root, each) for each in known)]


def add_roots(store: Store, roots: Iterable[str]) -> None:
    """Remember further roots of an index; those within a known one are left out."""
    known = read_roots(store)
    if new := new_roots(known, roots):
        payload = {KIND: ROOTS, ROOTS: [*known, *new], "space": store.space}
        store.upsert([Point(_id(store), None, payload)])


def _id(store: Store) -> str:
    return identity(f"{ROOTS}@{store.space}")
