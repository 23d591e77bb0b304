"""An archive into an index: find, decode, split, embed in batches, store; what changed, what failed.

from encoders import open_model
from indexer import EdgeStore, index

model = open_model("mini")
with EdgeStore.create(Path("my-index"), model.card.space, "mini", model.card.dimension) as store:
    report = index(find_recordings([Path("audio")]), store, model)
"""

from encoders.exports import exports

__all__, __getattr__ = exports(
    __name__,
    {
        "encoders.audio": "Failure",
        "indexer.clips": "OVERLAP_SECONDS Clip Windows",
        "indexer.copying": "Copied copy_index",
        "indexer.files": "Walk find_recordings share",
        "indexer.foresight": "Foresight foresee",
        "indexer.metadata": "Metadata MetadataError read_metadata",
        "indexer.opening": "Folder Place Server open_index open_listener spoken",
        "indexer.summary": "Overview overview",
        "indexer.pipeline": "IndexReport Progress Stages index",
        "indexer.maintenance": "rebuild",
        "indexer.store": "DEFAULT_INDEX EdgeStore Store StoreError index_folder",
        "indexer.vectors": "export_vectors",
    },
)
