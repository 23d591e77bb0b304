"""The embeddings of an index as a file for other tools."""

import json
from pathlib import Path

import numpy as np

from voxdex.indexer.store.base import CLIP, KIND, Store, StoreError

SUFFIXES = (".npz", ".parquet")


def export_vectors(store: Store, out: Path) -> int:
    """Writes every clip and its embedding; how many there are.

    .npz: `vectors` float32 [clips, dimension], `clips` "recording#start-end", `payloads` as JSON. .parquet: a row a clip, its
    payload flattened to columns ("attributes.gender"), and `vector`; needs the package pyarrow.

    Raises:
        StoreError: the file's suffix is another one, or there are no clips.
    """
    if out.suffix not in SUFFIXES:
        raise StoreError(f"{out} is neither .npz nor .parquet.")
    found = list(store.points({KIND: CLIP}))
    if not found:
        raise StoreError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")
    payloads, vectors = [point.payload for point in found], np.stack([point.vector for point in found])
    if out.suffix == ".parquet":
        _write_parquet(payloads, vectors, out)
    else:
        names = [f"{payload['recording']}#{payload['start']}-{payload['end']}" for payload in payloads]
        texts = [json.dumps(payload, ensure_ascii=False) for payload in payloads]
        np.savez(out, vectors=vectors, clips=np.array(names), payloads=np.array(texts))
    return len(found)


def _write_parquet(payloads: list[dict], vectors: np.ndarray, out: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    rows = [_flat(payload) for payload in payloads]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    width = pyarrow.list_(pyarrow.float32(), vectors.shape[1])
    columns["vector"] = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.ravel()), type=width)
    parquet.write_table(pyarrow.table(columns), out)


def _flat(payload: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in payload.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
