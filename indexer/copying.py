"""One index into another: from a folder to a server, or back."""

from collections.abc import Callable
from dataclasses import dataclass

from indexer.ledger import Ledger
from indexer.opening import Place
from indexer.store import CLIP, KIND, RECORDING, Store, StoreError
from indexer.summary import remember_overview


@dataclass
class Copied:
    """recordings: of the source; copied: of those, with `clips`; the others were there already. dropped: of the target."""

    recordings: int = 0
    copied: int = 0
    clips: int = 0
    dropped: int = 0


def copy_index(
    source: Store, target: Place, on_recording: Callable[[int], object] = lambda total: None, mirror: bool = False
) -> Copied:
    """Copies what another index does not have, or has otherwise; it is made if it is not there. Interrupted, it goes on.

    Args:
        source: what is copied.
        target: where to.
        mirror: drop recordings that only the target has, at the end.
        on_recording: is called with the number of recordings after each.

    Raises:
        StoreError: the source is empty, or the target holds embeddings of another model or cannot be written.
    """
    total = source.count(RECORDING)
    first = next(source.points({KIND: CLIP}), None)
    if first is None:
        raise StoreError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")
    store = target.open() if target.exists() else target.create(source.space, source.model, len(first.vector), source.says)
    copied = Copied(total)
    with store:
        if store.space != source.space:
            raise StoreError(f"The index {target} holds embeddings of {store.space}, not of {source.space}.")
        if source.says and not store.says:
            store.add_says(source.says)
        store.declare(source.schema())
        there = {point.id: point.payload for point in store.points({KIND: RECORDING})}
        ids = set()
        for recording in source.points({KIND: RECORDING}):
            ids.add(recording.id)
            if there.get(recording.id) != recording.payload:
                clips = list(source.points({KIND: CLIP, "content": recording.payload["content"]}))
                store.upsert([*clips, recording])
                copied.copied += 1
                copied.clips += len(clips)
            on_recording(total)
        if mirror:
            for content in (payload["content"] for id, payload in there.items() if id not in ids):
                store.delete({"content": content})
                copied.dropped += 1
        store.optimise()
        ledger = Ledger(store)
        ledger.remember()
        remember_overview(store, ledger)
    return copied
