"""Filterable fields of a collection: its payload indexes, and the limits of the server for them."""

import logging
import re
from collections.abc import Mapping, Sequence
from functools import cached_property

from qdrant_client import models

from voxdex.indexer.store.base import INTERNAL, Payload, rare_tags
from voxdex.indexer.store.qdrant_collections import describe, set_description
from voxdex.indexer.store.qdrant_connection import QdrantConnection
from voxdex.indexer.store.qdrant_terms import FIELD_INDEXES, KINDS, Limits

log = logging.getLogger("voxdex")

FIELDS = "fields"
"""Key of the description: fields without a payload index, with their kinds."""
SELDOM = re.compile(r"(probabilities|tags)\.|(start|end)$")
"""Fields that filters rarely name; the first to go without an index on a server that limits indexes."""


class CollectionFields:
    """The fields of a collection by payload key. Concurrent writers add fields without overwriting each other's.

    Args:
        server: the connection.
        collection: name of the collection.
        description: payload of the point that describes it.
    """

    def __init__(self, server: QdrantConnection, collection: str, description: Payload) -> None:
        self._server, self._collection, self._description = server, collection, description

    def schema(self) -> dict[str, str]:
        """Return the kind of each field, "text", "number", "date" or "words", by payload key."""
        indexed = {
            key: KINDS[info.data_type.value]
            for key, info in self._info.payload_schema.items()
            if key not in INTERNAL and info.data_type.value in KINDS
        }
        unindexed = {key: kind for key, kind in (self._description.get(FIELDS) or {}).items() if kind}
        return unindexed | indexed

    @property
    def limits(self) -> Limits:
        """Limits of the server's strict mode for this collection."""
        return Limits.of(self._info.config.strict_mode_config)

    def index_internal(self) -> None:
        """Create the payload indexes of internal keys."""
        for key in INTERNAL:
            if key not in self._info.payload_schema:
                self._index(key, key if key in FIELD_INDEXES else "text")

    def ensure(self, fields: Mapping[str, str]) -> None:
        """Add the fields that are missing, of given kinds, with payload indexes as far as the server allows them."""
        if all(key in self.schema() for key in fields):
            return
        self._reload()  # another process may have added some
        new = {key: kind for key, kind in fields.items() if key not in self.schema()}
        self._add_unindexed({key: new.pop(key) for key in rare_tags(new, self._info.payload_schema)})
        if self.limits.indexes is not None:
            room = max(0, self.limits.indexes - len(self._info.payload_schema))
            often = [key for key in new if not SELDOM.match(key)][:room]
            if left := {key: kind for key, kind in new.items() if key not in often}:
                self._add_unindexed(left)
                log.warning(
                    "The server allows %d payload indexes; filters on fields without one are slow or refused: %s.",
                    self.limits.indexes, ", ".join(sorted(left)),
                )  # fmt: skip
            new = {key: new[key] for key in often}
        for key, kind in new.items():
            self._index(key, kind)
        self._reload()

    def remove(self, keys: Sequence[str]) -> None:
        """Remove fields and their payload indexes."""
        for key in filter(self._info.payload_schema.__contains__, keys):
            self._remove_index(key)
        if unindexed := set(keys).intersection(self._description.get(FIELDS) or {}):
            set_description(self._server, self._collection, dict.fromkeys(unindexed), FIELDS)
        if keys:
            self._reload()

    def _add_unindexed(self, fields: Mapping[str, str]) -> None:
        if fields:
            set_description(self._server, self._collection, fields, FIELDS)

    def _index(self, key: str, kind: str) -> None:
        self._server.ask(lambda client: client.create_payload_index(self._collection, key, FIELD_INDEXES[kind], wait=True))

    def _remove_index(self, key: str) -> None:
        self._server.ask(lambda client: client.delete_payload_index(self._collection, key, wait=True))

    @cached_property
    def _info(self) -> models.CollectionInfo:
        return self._server.ask(lambda client: client.get_collection(self._collection))

    def _reload(self) -> None:
        """Read the fields that other processes have added."""
        vars(self).pop("_info", None)
        self._description = describe(self._server, self._collection) or self._description
