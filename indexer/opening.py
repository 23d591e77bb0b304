"""The index that a name or folder stands for, with the model that belongs to it."""

from pathlib import Path

from encoders import Model, default_model, find_models, open_model
from indexer.store import EdgeStore, StoreError


def open_index(folder: Path, model: str | None = None, device: str = "auto") -> tuple[EdgeStore, Model]:
    """Opens an index for writing, or makes a new one, with the model that embeds for it.

    Args:
        folder: where the index is or will be.
        model: name or folder of a model; None takes the index's own, or default_model() for a new one.
        device: see open_model; the model is started on it before anything is made.

    Raises:
        ModelError: there is no such model, or it does not start on the device.
        StoreError: the index cannot be opened or made, or holds embeddings of another model.
    """
    if not EdgeStore.exists(folder):
        encoder = open_model(model or default_model(), device)
        encoder.start()
        return EdgeStore.create(folder, encoder.card.space, reference(encoder), encoder.card.dimension), encoder
    about = EdgeStore.read_about(folder)
    encoder = open_model(model or about["model"], device)
    if encoder.card.space != about["space"]:
        raise StoreError(
            f"The index at {folder} holds embeddings of {about['space']}, not of {encoder.card.space}. "
            "Index into a new one (--index NAME), or make this one again with that model: voxdex reindex --model."
        )
    encoder.start()
    return EdgeStore.open(folder), encoder


def reference(model: Model) -> str:
    """What an index remembers its model by: its name, or its folder."""
    return model.folder.name if model.folder in find_models().values() else str(model.folder.absolute())
