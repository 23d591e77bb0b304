"""The collections of a Qdrant server: their names, aliases, descriptions and creation."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from voxdex.indexer.store.base import FORMAT, GRAPH, KIND, Payload, PhoneticSpace, StoreError, format_error
from voxdex.indexer.store.qdrant_connection import QdrantConnection

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,98}[A-Za-z0-9])?")
DESCRIPTION = "index"
"""Kind of the one point that describes a collection: its format, space, model and unindexed fields."""
DESCRIPTION_ID = "0b6f3c1e-7a55-5d0e-8d5c-3f3a7b1c9e42"


@dataclass(frozen=True)
class ClusterLayout:
    """Number of shards of a new collection, and of replicas of each shard; None for the server's default."""

    shards: int | None = None
    replicas: int | None = None


DEFAULT_LAYOUT = ClusterLayout()


def check_name(name: str) -> str:
    """Return the name of an index unchanged.

    Raises:
        StoreError: no server accepts it.
    """
    if not NAME.fullmatch(name):
        shown = name if len(name) <= 40 else f"{name[:40]}..."
        raise StoreError(
            f"{shown!r} is no name for an index on a server: it may have letters from a to z, digits, and between them "
            "'-', '_' and '.', 100 in all."
        )
    return name


def make_collection(
    server: QdrantConnection, name: str, vectors: dict[str, models.VectorParams], layout: ClusterLayout, description: Payload
) -> Payload:
    """Create a collection, or what is missing of it. Every step may be repeated, by two processes at once too.

    Args:
        server: the server.
        name: of the collection.
        vectors: parameters of its vectors, by name.
        layout: shards and replicas.
        description: of a new collection.

    Returns:
        The description of the collection, as it is stored.

    Raises:
        StoreError: the collection is another program's, or the server refuses.
    """
    if name not in list_collections(server):
        server.ask(lambda client: _create(client, name, vectors, layout))
    found = describe(server, name)
    if found is None and server.ask(lambda client: client.scroll(name, limit=1, with_payload=False))[0]:
        found = describe(server, name)  # another process may have just written it
        if found is None:
            raise StoreError(f"The collection {name!r} holds what is not Voxdex's; choose another --collection.")
    if found is not None:
        return found
    description = {KIND: DESCRIPTION, "format": FORMAT} | description
    point = models.PointStruct(id=DESCRIPTION_ID, vector={}, payload=description)
    server.ask(lambda client: client.upsert(name, [point], wait=True))
    return description


def _create(client: QdrantClient, collection: str, vectors: dict[str, models.VectorParams], layout: ClusterLayout) -> None:
    """Create a collection, unless another process has just done so."""
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    try:
        client.create_collection(
            collection,
            vectors_config=vectors,
            hnsw_config=models.HnswConfigDiff(**GRAPH),
            quantization_config=models.ScalarQuantization(scalar=int8),
            shard_number=layout.shards,
            replication_factor=layout.replicas,
        )
    except UnexpectedResponse as error:
        if error.status_code != 409:
            raise


def collection_name(name: str, space: str, phonetic: PhoneticSpace | None) -> str:
    """Return the name of the collection behind an alias."""
    identity = f"{space}\n{phonetic.space}" if phonetic else space
    return f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def list_collections(server: QdrantConnection) -> set[str]:
    """Return the names of all collections, without aliases."""
    return {each.name for each in server.ask(lambda client: client.get_collections()).collections}


def list_aliases(server: QdrantConnection) -> dict[str, str]:
    """Return alias -> collection."""
    return {alias.alias_name: alias.collection_name for alias in server.ask(lambda client: client.get_aliases()).aliases}


def describe(server: QdrantConnection, collection: str) -> Payload | None:
    """Return the description of a collection; None where it has none. Raises StoreError where its format is another one."""
    description = _description(server, collection)
    if type(description.get("format")) is int and description["format"] != FORMAT:
        raise format_error(f"collection {collection!r}", description["format"])
    return description if description.get("format") == FORMAT else None


def staged_collections(server: QdrantConnection, name: str) -> list[str]:
    """Return the collections that were staged for an index of that name."""
    ours = re.compile(rf"{re.escape(name)}-[0-9a-f]{{12}}")
    used = set(list_aliases(server).values())
    names = [each for each in list_collections(server) if ours.fullmatch(each) and each not in used]
    return [each for each in names if _description(server, each).get("format") == FORMAT]


def take_alias(server: QdrantConnection, name: str, collection: str) -> str | None:
    """Point an alias at a collection, in one step; return the former one."""
    former = list_aliases(server).get(name)
    changes: list[models.AliasOperations] = []
    if former:
        changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)))
    new = models.CreateAlias(collection_name=collection, alias_name=name)
    changes.append(models.CreateAliasOperation(create_alias=new))
    if former != collection:
        server.ask(lambda client: client.update_collection_aliases(changes))
    return former


def drop_alias(server: QdrantConnection, name: str) -> None:
    """Delete an alias; its collection stays."""
    change = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
    server.ask(lambda client: client.update_collection_aliases([change]))


def set_description(server: QdrantConnection, collection: str, changes: Mapping[str, Any], key: str | None = None) -> None:
    """Change the description of a collection, or the object at a key of it; concurrent changes of other keys are kept."""
    server.ask(lambda client: client.set_payload(collection, dict(changes), points=[DESCRIPTION_ID], key=key, wait=True))


def _description(server: QdrantConnection, collection: str) -> dict[str, Any]:
    """Return the description of a collection, of any format; {} where it has none."""
    found = server.ask(lambda client: client.retrieve(collection, [DESCRIPTION_ID], with_payload=True))
    return (found[0].payload or {}) if found else {}
