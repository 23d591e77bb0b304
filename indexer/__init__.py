"""An archive into an index: find, decode, split, embed in batches, store; what changed, what failed.

from encoders import open_model
from indexer import EdgeStore, index

model = open_model("mini")
with EdgeStore.create(Path("my-index"), model.card.space, "mini", model.card.dimension) as store:
    report = index(find_recordings([Path("audio")]), store, model)
"""

from encoders.audio import Failure
from indexer.clips import OVERLAP_SECONDS, Clip, Windows
from indexer.copying import Copied, copy_index
from indexer.files import Walk, find_recordings, share
from indexer.foresight import Foresight, foresee
from indexer.metadata import Metadata, MetadataError, read_metadata
from indexer.opening import Folder, Place, Server, open_index, open_listener, spoken
from indexer.overview import Overview, overview
from indexer.pipeline import IndexReport, Progress, Stages, index
from indexer.rebuild import rebuild
from indexer.store import DEFAULT_INDEX, EdgeStore, Store, StoreError, index_folder
from indexer.vectors import export_vectors

__all__ = [
    "DEFAULT_INDEX",
    "OVERLAP_SECONDS",
    "Clip",
    "Copied",
    "EdgeStore",
    "Failure",
    "Folder",
    "Foresight",
    "IndexReport",
    "Metadata",
    "MetadataError",
    "Overview",
    "Place",
    "Progress",
    "Server",
    "Stages",
    "Store",
    "StoreError",
    "Walk",
    "Windows",
    "copy_index",
    "export_vectors",
    "find_recordings",
    "foresee",
    "index",
    "index_folder",
    "open_index",
    "open_listener",
    "overview",
    "read_metadata",
    "rebuild",
    "share",
    "spoken",
]
