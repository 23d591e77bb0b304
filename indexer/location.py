"""Locations of indexes, and the models that belong to them."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from voxdex.encoders.model import Model, open_model
from voxdex.encoders.model_card import default_model, find_models, locate, read_card
from voxdex.encoders.packages import missing_package
from voxdex.encoders.paths import voxdex_home
from voxdex.encoders.phonetic.model import PHONETIC, PhoneticModel, open_phonetic_model
from voxdex.encoders.speaker import SpeakerModel
from voxdex.indexer.store.base import PhoneticSpace, Store, StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.qdrant_address import is_exposed

if TYPE_CHECKING:
    from voxdex.indexer.store.qdrant_collections import ClusterLayout
    from voxdex.indexer.store.qdrant_connection import QdrantConnection
    from voxdex.indexer.store.qdrant_server import ServerStore

DEFAULT_INDEX = "default"
SEARCH_PATIENCE, RUN_PATIENCE = 2, 600
"""Seconds to wait for an unavailable server: by searches, and by runs, which outlast the restart of a cluster."""


def index_folder(name_or_folder: str) -> Path:
    """Return the folder of an index: for a name, in the user's data folder (see VOXDEX_HOME); for a path, the path itself."""
    if Path(name_or_folder).name == name_or_folder and name_or_folder not in (".", ".."):
        return indexes_folder() / name_or_folder
    return Path(name_or_folder)


def indexes_folder() -> Path:
    """Return the folder of the indexes with a name, in the user's data folder."""
    return voxdex_home() / "indexes"


class IndexLocation(Protocol):
    """The location of an index that may not exist yet. Every method raises StoreError where it cannot be reached."""

    def exists(self) -> bool:
        """Return whether there is an index."""

    def open(self) -> Store:
        """Open the existing index for writing."""

    def read(self, *, for_long: bool = False) -> Store:
        """Open the existing index for reading, also beside a run that writes it; see EdgeStore.read."""

    def create(self, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> Store:
        """Create an empty index; with `phonetic`, one with phonetic vectors as well."""

    def create_staging(self, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> Store:
        """Create or resume the store that is to replace the existing index; see Store.promote."""

    def revision(self) -> tuple[Any, ...]:
        """Return a value that changes when a run changes the index or another one takes its place; () where there is none."""

    def delete(self) -> None:
        """Delete the existing index."""

    @property
    def speakers(self) -> "IndexLocation":
        """Location of the speakers of the index; see indexer.speakers."""


@dataclass(frozen=True)
class LocalIndex:
    """An embedded index, in a folder."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return EdgeStore.exists(self.path)

    def open(self) -> EdgeStore:
        return EdgeStore.open(self.path)

    def read(self, *, for_long: bool = False) -> EdgeStore:
        return EdgeStore.read(self.path, for_long=for_long)

    def create(self, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> EdgeStore:
        return EdgeStore.create(self.path, space, model, dimension, phonetic)

    def create_staging(self, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> EdgeStore:
        return EdgeStore.create_staging(self.path, space, model, dimension, phonetic)

    def revision(self) -> tuple[int, ...]:
        return EdgeStore.revision(self.path)

    def delete(self) -> None:
        with self.open():  # no other process has it open
            pass
        shutil.rmtree(self.path)

    @property
    def speakers(self) -> "LocalIndex":
        return LocalIndex(self.path / "speakers")


@dataclass(frozen=True)
class ServerIndex:
    """An index on a Qdrant server or cluster.

    url: address of the server, or of each node of a cluster; the first node that answers is used. shards, replicas: of a new
    index, in a cluster; None for the server's default. patience: seconds to wait for an unavailable server. on_wait: called
    with the reason of each wait, and with None when the server answers again.
    """

    url: str | tuple[str, ...]
    name: str
    api_key: str | None = field(default=None, repr=False)
    shards: int | None = None
    replicas: int | None = None
    patience: float = SEARCH_PATIENCE
    on_wait: Callable[[str | None], object] = field(default=lambda _: None, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.name} on {self.url if isinstance(self.url, str) else self.url[0]}"

    @property
    def shows_key(self) -> bool:
        """Whether the key can be read on its way to the server: without TLS, and not on this machine."""
        urls = [self.url] if isinstance(self.url, str) else self.url
        return bool(self.api_key) and any(map(is_exposed, urls))

    def exists(self) -> bool:
        stores, server = self._connect()
        with closing(server):
            return stores.exists(server, self.name)

    def open(self) -> "ServerStore":
        return self._opened(lambda stores, server: stores.open(server, self.name))

    def read(self, *, for_long: bool = False) -> "ServerStore":
        del for_long  # a server answers readers and writers alike
        return self.open()

    def create(self, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> "ServerStore":
        return self._opened(
            lambda stores, server: stores.create(server, self.name, space, model, dimension, phonetic, self._layout())
        )

    def create_staging(self, space: str, model: str, dimension: int, phonetic: PhoneticSpace | None = None) -> "ServerStore":
        return self._opened(
            lambda stores, server: stores.create_staging(server, self.name, space, model, dimension, phonetic, self._layout())
        )

    def revision(self) -> tuple[Any, ...]:
        with self.open() as store:
            return store.revision()

    def delete(self) -> None:
        self.open().delete_index()

    @property
    def speakers(self) -> "ServerIndex":
        return replace(self, name=f"{self.name}-speakers")

    def _layout(self) -> "ClusterLayout":
        from voxdex.indexer.store.qdrant_collections import ClusterLayout

        return ClusterLayout(self.shards, self.replicas)

    def _opened(self, make: "Callable[[type[ServerStore], QdrantConnection], ServerStore]") -> "ServerStore":
        stores, server = self._connect()
        try:
            return make(stores, server)
        except BaseException:
            server.close()
            raise

    def _connect(self) -> "tuple[type[ServerStore], QdrantConnection]":
        try:
            from voxdex.indexer.store.qdrant_connection import connect
            from voxdex.indexer.store.qdrant_server import ServerStore
        except ModuleNotFoundError as error:
            raise StoreError(f"{missing_package('A server', error.name, 'server')}.") from error
        return ServerStore, connect(self.url, self.api_key, self.patience, self.on_wait)


def phonetic_space() -> PhoneticSpace:
    """Return the phonetic space of the model that ships.

    Raises:
        ModelError: the model is not installed.
    """
    folder = locate(PHONETIC)
    card = read_card(folder)
    return PhoneticSpace(card.space, PHONETIC, card.dimension)


def open_phonetic_encoder(store: Store, device: str = "auto") -> PhoneticModel | None:
    """Open the phonetic model of an index; None where it has no phonetic vectors.

    Raises:
        ModelError: there is no such model, or it is for captions.
        StoreError: the index holds phonetic vectors of another version of that model.
    """
    if store.phonetic is None:
        return None
    model = open_phonetic_model(store.phonetic.model, device, bulk=True)
    if store.phonetic.space != model.card.space:
        raise StoreError(
            f"The index holds phonetic vectors of {store.phonetic.space}, not of {model.card.space}. "
            "Index into a new one (--index NAME)."
        )
    return model


def open_index(
    location: IndexLocation, model: str | None = None, device: str = "auto", phonetic: PhoneticSpace | None = None
) -> tuple[Store, Model]:
    """Open an index for writing, or create it, and open its model.

    Args:
        location: of the index.
        model: name or folder of a model; None for the index's own, or default_model() for a new index.
        device: see open_model. For a new index the model is started before anything is created.
        phonetic: phonetic space to add to the index; None for none.

    Raises:
        ModelError: there is no such model, or it does not start on the device.
        StoreError: the index cannot be opened or created, holds embeddings of another model, or cannot hold phonetic vectors.
    """
    if not location.exists():
        encoder = open_model(model or default_model(), device, bulk=True)
        encoder.start()
        return location.create(encoder.card.space, model_reference(encoder), encoder.card.dimension, phonetic), encoder
    store = location.open()
    try:
        encoder = open_model(model or store.model, device, bulk=True)
        if encoder.card.space != store.space:
            raise StoreError(
                f"The index {location} holds embeddings of {store.space}, not of {encoder.card.space}. "
                "Index into a new one (--index NAME), or build this one again with that model: voxdex reindex --model."
            )
        if phonetic and not store.phonetic:
            store.add_phonetic(phonetic)
    except BaseException:
        store.close()
        raise
    return store, encoder


def model_reference(model: Model | PhoneticModel | SpeakerModel) -> str:
    """Return the name of an installed model, or its folder; an index stores it."""
    return model.folder.name if model.folder in find_models().values() else str(model.folder.absolute())
