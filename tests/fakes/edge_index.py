"""A small embedded index, and damage to its files."""

import json
import shutil
import uuid
from pathlib import Path

import numpy as np

from voxdex.encoders.model_card import find_models, read_card
from voxdex.indexer.store.base import FORMAT, Point
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.files import copy_file
from voxdex.indexer.store.shards import SHARD_DESCRIPTION, Description

MINI = read_card(find_models()["mini"])
PHONETIC = read_card(find_models()["phonetic"])
OTHER = "other@1:000000000000"
IDENTITY = {"format": FORMAT, "space": MINI.space, "model": "mini"}
WHOLE = (json.dumps(IDENTITY | {"phonetic": None}) + "\n").encode()


def point(number: int, space: str = MINI.space, dimension: int = 256, **payload) -> Point:
    payload = {"kind": "clip", "recording": f"/tapes/{number}.wav", "content": str(number), "space": space} | payload
    vector = np.eye(dimension, dtype=np.float32)[number] if payload["kind"] == "clip" else None
    return Point(str(uuid.uuid5(uuid.NAMESPACE_URL, f"{number} {space} {payload['kind']}")), vector, payload)


def recording(number: int, **payload) -> Point:
    return point(number, **{"kind": "recording", "phonetic": "", "metadata": {"speaker": "Anna"}} | payload)


def points(store: EdgeStore) -> dict:
    return {point.id: point.payload for kind in ("clip", "recording") for point in store.points({"kind": kind})}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def damage(file: Path, content: bytes | None) -> None:
    """Overwrite a file, or remove it where `content` is None."""
    if content is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(content)


def copy_tree(folder: Path, target: Path) -> Path:
    """Copy an index, or a part of it, with the holes in its sparse files."""
    return shutil.copytree(folder, target, copy_function=copy_file)


def shard(folder: Path, space: str = MINI.space) -> Path:
    return folder / Description(space, "", 0).shard


def remove_shard_descriptions(folder: Path) -> None:
    """Leave shards without descriptions, as an earlier version wrote them."""
    for about in folder.glob(f"shard-*/{SHARD_DESCRIPTION}"):
        about.unlink()
