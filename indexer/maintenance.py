"""An index made again with another model, beside the one there is until it is whole."""

from collections.abc import Callable
from functools import partial

from encoders import Model
from indexer.files import FileState, Walk, is_gone
from indexer.ledger import Ledger
from indexer.metadata import stored_metadata
from indexer.opening import Place, open_listener, reference
from indexer.pipeline import MOST_PRUNED, IndexReport, Progress, index
from indexer.store import Says, Store, StoreError


def rebuild(
    place: Place,
    model: Model,
    prune: bool = False,
    everything: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    prune_all: bool = False,
    drop_failed: bool = False,
    says: Says | None = None,
) -> IndexReport:
    """Embeds all that an index knows anew, with another model or for what is said too; until then it answers as before.

    Metadata is kept. Interrupted, it goes on when it is called again.

    Args:
        place: of the index.
        model: what is to embed.
        prune: leave out files that are gone, instead of refusing to lose them; but not more than half of all.
        everything, on_progress: see `index`.
        prune_all: with `prune`, leave out however many are gone.
        drop_failed: leave out recordings that have clips and now fail, instead of refusing to lose them.
        says: what is to be held of what is said; None holds that if the index did.

    Raises:
        StoreError: there is no index, it is as it would become already, it is open elsewhere, or it would lose recordings.
    """
    with place.open() as former:
        says = says or former.says
        if former.space == model.card.space and former.says == says:
            held = f"{former.space}, and of what is said" if says and former.says else former.space
            raise StoreError(f"The index {place} holds embeddings of {held} already.")
        ledger = Ledger(former)
        known, paths = stored_metadata(former), sorted(ledger.paths)
        sound = set(filter(ledger.has_clips, paths))
    gone = [path for path in paths if is_gone(path)]
    if gone and not prune:
        raise StoreError(
            f"{len(gone)} of the {len(paths)} files of the index {place} are gone and cannot be embedded again, such as "
            f"{gone[0]}. Bring them back, or leave them out with --prune."
        )
    if len(gone) > MOST_PRUNED * len(paths) and not prune_all:
        raise StoreError(
            f"{len(gone)} of the {len(paths)} files of the index {place} are gone, such as {gone[0]}. See that their disk is "
            "mounted, or leave them out with --prune=all."
        )
    there = Walk([])
    for path in sorted(set(paths) - set(gone)):
        there.take(path, partial(FileState.of, path))
    with _successor(place, model, says) as store:
        _forget_others(store, there)
        listener = open_listener(store)
        report = index(
            there, store, model, known,
            everything=everything, on_progress=on_progress, listener=listener, retry_failed=True,
        )  # fmt: skip
        lost = [failure for failure in report.failed if failure.path in sound]
        if lost and not drop_failed:
            raise StoreError(
                f"{len(lost)} of the {len(sound)} recordings that the index {place} holds could not be embedded again, such as "
                f"{lost[0].path}: {lost[0].reason}. It stays as it was. Mend that and run the same command again, which goes "
                "on where this one ended; or leave them out with --drop-failed."
            )
        store.take_over()
    return report


def _successor(place: Place, model: Model, says: Says | None) -> Store:
    """What is to become the index of a place: that one itself, where it only takes what is said in addition."""
    former = place.open()
    if former.adds_says and former.space == model.card.space and not former.says:
        former.add_says(says)
        return former
    former.close()
    return place.beside(model.card.space, reference(model), model.card.dimension, says)


def _forget_others(store: Store, walk: Walk) -> None:
    """Drop what an earlier try has embedded and the former index does not know any more."""
    ledger = Ledger(store)
    for path in ledger.paths:
        if path not in walk.recordings:
            ledger.detach(path)
