"""An archive into an index: find, decode, split, embed in batches, store; what changed, what failed.

from voxdex.encoders import open_model
from voxdex.indexer import EdgeStore, index

model = open_model("mini")
with EdgeStore.create(Path("my-index"), model.card.space, "mini", model.card.dimension) as store:
    report = index(find_recordings([Path("audio")]), store, model)
"""

from voxdex.encoders.exports import exports

__all__, __getattr__ = exports(
    __name__,
    {
        "voxdex.encoders.audio": "Failure",
        "voxdex.indexer.clips": "OVERLAP_SECONDS Clip Windows",
        "voxdex.indexer.copying": "Copied copy_index",
        "voxdex.indexer.files": "Walk find_recordings share",
        "voxdex.indexer.foresight": "Foresight foresee",
        "voxdex.indexer.metadata": "Metadata MetadataError read_metadata",
        "voxdex.indexer.opening": "Folder Place Server open_index open_listener spoken",
        "voxdex.indexer.summary": "Overview overview",
        "voxdex.indexer.pipeline": "IndexReport Progress Stages index",
        "voxdex.indexer.maintenance": "rebuild",
        "voxdex.indexer.store": "DEFAULT_INDEX EdgeStore Store StoreError index_folder",
        "voxdex.indexer.vectors": "export_vectors",
    },
)
