"""Where vectors and payloads are kept. One small interface (base.Store); the embedded engine is behind it."""

from pathlib import Path

from voxdex.encoders.model_folder import voxdex_home
from voxdex.indexer.store.base import (
    CLIP,
    HEARD,
    KIND,
    RECORDING,
    Discovery,
    Neighbour,
    Payload,
    Point,
    PointError,
    Says,
    Store,
    StoreError,
)
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filters import EVERYTHING, All, Among, Condition, Filter, FilterError
from voxdex.indexer.store.language import parse_filter, write_filter

DEFAULT_INDEX = "default"

__all__ = [
    "CLIP",
    "DEFAULT_INDEX",
    "EVERYTHING",
    "HEARD",
    "KIND",
    "RECORDING",
    "All",
    "Among",
    "Condition",
    "Discovery",
    "EdgeStore",
    "Filter",
    "FilterError",
    "Neighbour",
    "Payload",
    "Point",
    "PointError",
    "Says",
    "Store",
    "StoreError",
    "index_folder",
    "parse_filter",
    "write_filter",
]


def index_folder(name_or_folder: str) -> Path:
    """A plain name is an index in the user's data folder (VOXDEX_HOME moves it); anything with a slash is a folder."""
    if Path(name_or_folder).name == name_or_folder and name_or_folder not in (".", ".."):
        return voxdex_home() / "indexes" / name_or_folder
    return Path(name_or_folder)
