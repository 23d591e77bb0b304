"""Find a voice by describing it: the public interface of Voxdex.

```python
from pathlib import Path
from voxdex import EdgeStore, Query, ask, find_recordings, index, open_model, search_index

model = open_model("mini")
with EdgeStore.create(Path("my-index"), model.card.space, "mini", model.card.dimension) as store:
    report = index(find_recordings([Path("audio")]), store, model)
    for hit in search_index(Query(ask("a whispering old man")), store, model):
        print(hit.score, hit.recording, hit.start, hit.end)
```
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxdex.encoders.audio.container import AudioError
    from voxdex.encoders.audio.reader import AudioReader, read_audio
    from voxdex.encoders.model import Model, ModelError, open_model
    from voxdex.indexer.index import index
    from voxdex.indexer.location import LocalIndex, ServerIndex, index_folder, open_index
    from voxdex.indexer.metadata import read_metadata
    from voxdex.indexer.report import IndexReport
    from voxdex.indexer.scan import find_recordings
    from voxdex.indexer.store.base import StoreError
    from voxdex.indexer.store.edge import EdgeStore
    from voxdex.indexer.store.filter_parser import parse_filter
    from voxdex.search.clip_audio import extract_clip
    from voxdex.search.engine import search_index
    from voxdex.search.query import ClipId, Direction, Hit, Query, QueryError, QuerySpec, QueryTerm, Ranking, Sound, ask
    from voxdex.search.query_parser import parse_query
    from voxdex.search.rerank import Reward, rank
    from voxdex.web.client import Client

try:
    __version__ = version("voxdex")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"

MODULES = {
    "encoders.audio.container": "AudioError",
    "encoders.audio.reader": "AudioReader read_audio",
    "encoders.model": "Model ModelError open_model",
    "indexer.index": "index",
    "indexer.location": "LocalIndex ServerIndex index_folder open_index",
    "indexer.metadata": "read_metadata",
    "indexer.report": "IndexReport",
    "indexer.scan": "find_recordings",
    "indexer.store.base": "StoreError",
    "indexer.store.edge": "EdgeStore",
    "indexer.store.filter_parser": "parse_filter",
    "search.clip_audio": "extract_clip",
    "search.engine": "search_index",
    "search.query": "ClipId Direction Hit Query QueryError QuerySpec QueryTerm Ranking Sound ask",
    "search.query_parser": "parse_query",
    "search.rerank": "Reward rank",
    "web.client": "Client",
}
"""The modules that the public names come from, imported when they are first asked for: each of them takes a while."""
NAMES = {name: module for module, names in MODULES.items() for name in names.split()}
__all__ = [
    "AudioError",
    "AudioReader",
    "Client",
    "ClipId",
    "Direction",
    "EdgeStore",
    "Hit",
    "IndexReport",
    "LocalIndex",
    "Model",
    "ModelError",
    "Query",
    "QueryError",
    "QuerySpec",
    "QueryTerm",
    "Ranking",
    "Reward",
    "ServerIndex",
    "Sound",
    "StoreError",
    "__version__",
    "ask",
    "extract_clip",
    "find_recordings",
    "index",
    "index_folder",
    "open_index",
    "open_model",
    "parse_filter",
    "parse_query",
    "rank",
    "read_audio",
    "read_metadata",
    "search_index",
]


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module 'voxdex' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"voxdex.{NAMES[name]}"), name)
    return value
