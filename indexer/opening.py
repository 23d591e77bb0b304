"""Where an index is, and the model that belongs to it."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from encoders import Model, default_model, find_models, open_model
from encoders.model_folder import locate, read_card
from encoders.phonetic_model import PHONETIC, PhoneticModel, open_phonetic_model
from indexer.store import EdgeStore, Says, Store, StoreError
from indexer.store.addresses import is_exposed

if TYPE_CHECKING:
    from indexer.store.connection import Connection
    from indexer.store.server import ServerStore

PATIENCE_ASKING, PATIENCE_WRITING = 2, 600
"""Seconds for which a server that is away is waited for: by who asks, and by a run, which outlasts the restart of a cluster."""


class Place(Protocol):
    """Where an index is or will be. Every method raises StoreError where it cannot be reached."""

    def exists(self) -> bool:
        """Whether there is an index."""

    def open(self) -> Store:
        """Opens the index that there is."""

    def create(self, space: str, model: str, dimension: int, says: Says | None = None) -> Store:
        """Makes a new, empty index; with `says`, one that holds what is said as well."""

    def beside(self, space: str, model: str, dimension: int, says: Says | None = None) -> Store:
        """What is to take over from the index that there is."""

    def revision(self) -> tuple[Any, ...]:
        """What changes when a run has changed the index, or another has taken its place; () where there is none."""


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

    def create(self, space: str, model: str, dimension: int, says: Says | None = None) -> EdgeStore:
        return EdgeStore.create(self.path, space, model, dimension, says)

    def beside(self, space: str, model: str, dimension: int, says: Says | None = None) -> EdgeStore:
        return EdgeStore.beside(self.path, space, model, dimension, says)

    def revision(self) -> tuple[int, ...]:
        return EdgeStore.revision(self.path)


@dataclass(frozen=True)
class Server:
    """An index on a Qdrant server or cluster.

    url: the server's address, or those of a cluster's nodes, of which the first that answers is asked. shards, replicas: of a
    new index, in a cluster; None leaves it to the server. patience: seconds for which a server that is away is waited for.
    on_wait: is told what is waited for, and None when there is an answer again.
    """

    url: str | tuple[str, ...]
    name: str
    api_key: str | None = field(default=None, repr=False)
    shards: int | None = None
    replicas: int | None = None
    patience: float = PATIENCE_ASKING
    on_wait: Callable[[str | None], object] = field(default=lambda reason: None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} on {self.url if isinstance(self.url, str) else self.url[0]}"

    @property
    def shows_key(self) -> bool:
        """Whether its key can be read on its way to the server: without TLS, and not on this machine."""
        urls = [self.url] if isinstance(self.url, str) else self.url
        return bool(self.api_key) and any(map(is_exposed, urls))

    def exists(self) -> bool:
        stores, server = self._connect()
        with closing(server):
            return stores.exists(server, self.name)

    def open(self) -> "ServerStore":
        return self._opened(lambda stores, server: stores.open(server, self.name))

    def create(self, space: str, model: str, dimension: int, says: Says | None = None) -> "ServerStore":
        made = (self.name, space, model, dimension, says, self.shards, self.replicas)
        return self._opened(lambda stores, server: stores.create(server, *made))

    def beside(self, space: str, model: str, dimension: int, says: Says | None = None) -> "ServerStore":
        made = (self.name, space, model, dimension, says, self.shards, self.replicas)
        return self._opened(lambda stores, server: stores.beside(server, *made))

    def revision(self) -> tuple[Any, ...]:
        with self.open() as store:
            return store.revision()

    def _opened(self, make: "Callable[[type[ServerStore], Connection], ServerStore]") -> "ServerStore":
        stores, server = self._connect()
        try:
            return make(stores, server)
        except BaseException:
            server.close()
            raise

    def _connect(self) -> "tuple[type[ServerStore], Connection]":
        try:
            from indexer.store.connection import connect
            from indexer.store.server import ServerStore
        except ModuleNotFoundError as error:
            raise StoreError(f"A server needs the package {error.name}: pip install '.[cpu,server]'.") from error
        return ServerStore, connect(self.url, self.api_key, self.patience, self.on_wait)


def spoken() -> Says:
    """What an index is to hold of what is said: the embeddings of the model for it that ships.

    Raises:
        ModelError: it is not there.
    """
    folder = locate(PHONETIC)
    card = read_card(folder)
    return Says(card.space, PHONETIC, card.dimension)


def open_listener(store: Store, device: str = "auto") -> PhoneticModel | None:
    """The model for what is said of an index that holds that, else None.

    Raises:
        ModelError: there is no such model, or it is for captions.
        StoreError: the index holds what is said as another version of that model hears it.
    """
    if store.says is None:
        return None
    listener = open_phonetic_model(store.says.model, device, bulk=True)
    if store.says.space != listener.card.space:
        raise StoreError(
            f"The index holds what is said as {store.says.space} hears it, not {listener.card.space}. "
            "Index into a new one (--index NAME)."
        )
    return listener


def open_index(place: Place, model: str | None = None, device: str = "auto", says: Says | None = None) -> tuple[Store, Model]:
    """Opens an index for writing, or makes a new one, with the model that embeds for it.

    Args:
        place: where the index is or will be.
        model: name or folder of a model; None takes the index's own, or default_model() for a new one.
        device: see open_model; of a new index the model is started on it before anything is made.
        says: what is to be held of what is said from now on; None leaves it as it is.

    Raises:
        ModelError: there is no such model, or it does not start on the device.
        StoreError: the index cannot be opened or made, holds embeddings of another model, or cannot hold what is said.
    """
    if not place.exists():
        encoder = open_model(model or default_model(), device, bulk=True)
        encoder.start()
        return place.create(encoder.card.space, reference(encoder), encoder.card.dimension, says), encoder
    store = place.open()
    try:
        encoder = open_model(model or store.model, device, bulk=True)
        if encoder.card.space != store.space:
            raise StoreError(
                f"The index {place} holds embeddings of {store.space}, not of {encoder.card.space}. "
                "Index into a new one (--index NAME), or make this one again with that model: voxdex reindex --model."
            )
        if says and not store.says:
            store.add_says(says)
    except BaseException:
        store.close()
        raise
    return store, encoder


def reference(model: Model) -> str:
    """What an index remembers its model by: its name, or its folder."""
    return model.folder.name if model.folder in find_models().values() else str(model.folder.absolute())
