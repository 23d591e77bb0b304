"""An index made again with another model, beside the one there is until it is whole."""

from collections.abc import Callable
from functools import partial

from encoders import Model
from indexer.files import FileState, Walk, is_gone
from indexer.ledger import Ledger
from indexer.metadata import stored_metadata
from indexer.opening import Place, open_listener, reference
from indexer.pipeline import IndexReport, Progress, index
from indexer.store import StoreError


def rebuild(
    place: Place,
    model: Model,
    prune: bool = False,
    everything: bool = False,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> IndexReport:
    """Embeds all that an index knows with another model; the index answers as before until that is done.

    Metadata is kept. Interrupted, it goes on when it is called again.

    Args:
        place: of the index.
        model: what is to embed.
        prune: leave out files that are gone, instead of refusing to lose them.
        everything, on_progress: see `index`.

    Raises:
        StoreError: there is no index, it belongs to this model already, another process has it open, or files of it are gone.
    """
    with place.open() as former:
        if former.space == model.card.space:
            raise StoreError(f"The index {place} holds embeddings of {former.space} already.")
        says, known, paths = former.says, stored_metadata(former), sorted(Ledger(former).paths)
    gone = [path for path in paths if is_gone(path)]
    if gone and not prune:
        raise StoreError(
            f"{len(gone)} of the {len(paths)} files of the index {place} are gone and cannot be embedded again, such as "
            f"{gone[0]}. Bring them back, or leave them out with --prune."
        )
    there = Walk([])
    for path in sorted(set(paths) - set(gone)):
        there.take(path, partial(FileState.of, path))
    with place.beside(model.card.space, reference(model), model.card.dimension) as store:
        listener = open_listener(store, says.model) if says else None
        report = index(there, store, model, known, everything=everything, on_progress=on_progress, listener=listener)
        store.take_over()
    return report
