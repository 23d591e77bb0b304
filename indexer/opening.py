"""Where an index is, and the model that belongs to it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from encoders import Model, default_model, find_models, open_model
from encoders.phonetic_model import PhoneticModel, open_phonetic_model
from indexer.store import EdgeStore, Says, Store, StoreError

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

    from indexer.store.server import ServerStore


class Place(Protocol):
    """Where an index is or will be. Every method raises StoreError where it cannot be reached."""

    def exists(self) -> bool:
        """Whether there is an index."""

    def open(self) -> Store:
        """Opens the index that there is."""

    def create(self, space: str, model: str, dimension: int) -> Store:
        """Makes a new, empty index."""

    def beside(self, space: str, model: str, dimension: int) -> Store:
        """What is to take over from the index that there is."""


@dataclass(frozen=True)
class Folder:
    """An embedded index."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return EdgeStore.exists(self.path)

    def open(self) -> EdgeStore:
        return EdgeStore.open(self.path)

    def create(self, space: str, model: str, dimension: int) -> EdgeStore:
        return EdgeStore.create(self.path, space, model, dimension)

    def beside(self, space: str, model: str, dimension: int) -> EdgeStore:
        return EdgeStore.beside(self.path, space, model, dimension)


@dataclass(frozen=True)
class Server:
    """An index on a Qdrant server or cluster. shards, replicas: of a new one, in a cluster; None leaves it to the server."""

    url: str
    name: str
    api_key: str | None = field(default=None, repr=False)
    shards: int | None = None
    replicas: int | None = None

    def __str__(self) -> str:
        return f"{self.name} on {self.url}"

    def exists(self) -> bool:
        stores, client = self._connect()
        return stores.exists(client, self.name)

    def open(self) -> Store:
        stores, client = self._connect()
        return stores.open(client, self.name)

    def create(self, space: str, model: str, dimension: int) -> Store:
        stores, client = self._connect()
        return stores.create(client, self.name, space, model, dimension, self.shards, self.replicas)

    def beside(self, space: str, model: str, dimension: int) -> Store:
        stores, client = self._connect()
        return stores.beside(client, self.name, space, model, dimension, self.shards, self.replicas)

    def _connect(self) -> "tuple[type[ServerStore], QdrantClient]":
        try:
            from indexer.store.server import ServerStore, connect
        except ModuleNotFoundError as error:
            raise StoreError(f"A server needs the package {error.name}: pip install '.[cpu,server]'.") from error
        return ServerStore, connect(self.url, self.api_key)


def open_listener(store: Store, model: str | None = None, device: str = "auto") -> PhoneticModel | None:
    """The model for what is said of an index that holds that; with a model, it holds that from now on.

    Args:
        store: the index.
        model: name or folder of a model for what is said; None takes the index's own, if it has one.
        device: see open_model.

    Raises:
        ModelError: there is no such model, or it is for captions.
        StoreError: the index holds what is said as another model hears it, or cannot add that to the clips it has.
    """
    wanted = model or (store.says.model if store.says else None)
    if wanted is None:
        return None
    listener = open_phonetic_model(wanted, device, bulk=True)
    if store.says is None:
        store.add_says(Says(listener.card.space, reference(listener), listener.card.dimension))
    elif store.says.space != listener.card.space:
        raise StoreError(
            f"The index holds what is said as {store.says.space} hears it, not {listener.card.space}. "
            "Index into a new one (--index NAME)."
        )
    return listener


def open_index(place: Place, model: str | None = None, device: str = "auto") -> tuple[Store, Model]:
    """Opens an index for writing, or makes a new one, with the model that embeds for it.

    Args:
        place: where the index is or will be.
        model: name or folder of a model; None takes the index's own, or default_model() for a new one.
        device: see open_model; of a new index the model is started on it before anything is made.

    Raises:
        ModelError: there is no such model, or it does not start on the device.
        StoreError: the index cannot be opened or made, or holds embeddings of another model.
    """
    if not place.exists():
        encoder = open_model(model or default_model(), device, bulk=True)
        encoder.start()
        return place.create(encoder.card.space, reference(encoder), encoder.card.dimension), encoder
    store = place.open()
    try:
        encoder = open_model(model or store.model, device, bulk=True)
        if encoder.card.space != store.space:
            raise StoreError(
                f"The index {place} holds embeddings of {store.space}, not of {encoder.card.space}. "
                "Index into a new one (--index NAME), or make this one again with that model: voxdex reindex --model."
            )
    except BaseException:
        store.close()
        raise
    return store, encoder


def reference(model: Model) -> str:
    """What an index remembers its model by: its name, or its folder."""
    return model.folder.name if model.folder in find_models().values() else str(model.folder.absolute())
