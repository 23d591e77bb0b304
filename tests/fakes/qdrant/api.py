"""The REST interface of a Qdrant server over Qdrant's own engine (see engine).

The answers are those of Qdrant 1.18, and so are the errors. What Voxdex has no use for (snapshots, sparse vectors, groups,
shards of a cluster) is not found.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.fakes.qdrant.engine import Collection
from tests.fakes.qdrant.limits import Limits
from tests.fakes.qdrant.terms import Json, Refused, unreadable

MEMORY = Path("/dev/shm")
"""A file system in memory, where payload indexes are created twenty times as fast."""
ROOM = 1 << 30
"""Free bytes that it must have."""
PREFIX = "qdrant-double-"
"""Prefix of folders of collections, before the id of their process."""
FORBIDDEN = '<>:"/\\|?*\0\x1f'
"""Characters not allowed in names of collections."""
FULL = "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
Way = tuple[str, str]
"""Read requests of a collection: the method, and the end of the path."""
Act = Callable[[Collection, Json], Any]
UPDATES: dict[str, tuple[Way, Act]] = {
    "upsert": (("PUT", "/points"), Collection.upsert),
    "delete": (("POST", "/points/delete"), Collection.delete),
    "set_payload": (("POST", "/points/payload"), Collection.set_payload),
    "overwrite_payload": (("PUT", "/points/payload"), Collection.overwrite_payload),
    "delete_payload": (("POST", "/points/payload/delete"), Collection.delete_payload),
    "clear_payload": (("POST", "/points/payload/clear"), Collection.clear_payload),
    "update_vectors": (("PUT", "/points/vectors"), Collection.update_vectors),
    "delete_vectors": (("POST", "/points/vectors/delete"), Collection.delete_vectors),
}
"""Changes of points, by their names in a batch."""
WRITES: dict[Way, Act] = {**dict(UPDATES.values()), ("PUT", "/index"): Collection.create_index}
READS: dict[Way, Act] = {
    ("POST", "/points"): Collection.retrieve,
    ("POST", "/points/scroll"): Collection.scroll,
    ("POST", "/points/count"): Collection.count,
    ("POST", "/points/query"): Collection.query,
    ("POST", "/points/query/batch"): Collection.query_batch,
    ("POST", "/facet"): Collection.facet,
}


@dataclass(frozen=True)
class Request:
    """A request. path: without the query. timeout: in seconds, or None."""

    method: str
    path: str
    body: Any
    timeout: int | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def writes(self) -> bool:
        """Whether the request writes."""
        end = "/" + self.path.removeprefix("/collections/").partition("/")[2]
        return self.method != "GET" and (self.method, end) not in READS


class Cluster:
    """State shared by the nodes of a server: collections and aliases."""

    def __init__(self) -> None:
        spacious = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
        place = MEMORY if spacious else Path(tempfile.gettempdir())
        sweep(place)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
        self.lock = threading.RLock()
        self.collections: dict[str, Collection] = {}
        self._aliases: dict[str, str] = {}
        self._limits: dict[str, Limits] = {}
        self._made = 0

    def named(self, name: str) -> Collection:
        """The collection with a name or an alias."""
        if found := self.collections.get(self._aliases.get(name, name)):
            return found
        raise missing(name)

    def exists(self, name: str) -> bool:
        return self._aliases.get(name, name) in self.collections

    def create(self, name: str, wish: Json) -> bool:
        if reason := fault_of(name):
            raise Refused(422, f"Validation error in path parameters: [name: {reason}]")
        self._expect_free(name)
        if name in self._aliases:
            reason = f"Can't create collection with name {name}. Alias with the same name already exists"
            raise Refused(400, f"Wrong input: {reason}")
        self._made += 1
        self.collections[name] = Collection.create(self._folder / str(self._made), wish)
        self._limits[name] = Limits()
        return True

    def delete(self, name: str) -> bool:
        """Remove a collection, by its name only, with its aliases: whether it existed."""
        self._aliases = {alias: target for alias, target in self._aliases.items() if target != name}
        self._limits.pop(name, None)
        if collection := self.collections.pop(name, None):
            collection.drop()
        return collection is not None

    def change_aliases(self, actions: list[Json]) -> bool:
        """Apply all changes, or none."""
        changed = dict(self._aliases)
        for action in actions:
            match action:
                case {"create_alias": {"collection_name": target, "alias_name": alias}}:
                    if target not in self.collections:
                        raise missing(target)
                    self._expect_free(alias)
                    changed[alias] = target
                case {"delete_alias": {"alias_name": alias}}:
                    changed.pop(alias, None)
                case {"rename_alias": {"old_alias_name": former, "new_alias_name": alias}}:
                    if former not in changed:
                        raise Refused(404, f"Not found: Alias {former} does not exists!")
                    changed[alias] = changed.pop(former)
                case _:
                    raise unreadable(action)
        self._aliases = changed
        return True

    def aliases(self, name: str | None = None) -> Json:
        """All aliases, or those of a collection."""
        kept = [(alias, target) for alias, target in self._aliases.items() if name in (None, target)]
        return {"aliases": [{"alias_name": alias, "collection_name": target} for alias, target in kept]}

    def close(self) -> None:
        with self.lock:
            for name in list(self.collections):
                self.delete(name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def answer(self, request: Request, limits: Json, full: bool) -> Any:
        """The result of a request as JSON.

        Args:
            request: what is asked.
            limits: strict mode of a collection that it makes.
            full: whether there is no room for what it writes.
        """
        method, path, body = request.method, request.path, request.body
        match method, *(unquote(part) for part in path.strip("/").split("/")):
            case "GET", "collections":
                return {"collections": [{"name": name} for name in self.collections]}
            case "GET", "aliases":
                return self.aliases()
            case "POST", "collections", "aliases":
                return self.change_aliases(body["actions"])
            case "GET", "collections", name, "exists":
                return {"exists": self.exists(name)}
            case "GET", "collections", name, "aliases":
                return self.aliases(name)
            case "GET", "collections", name:
                return self.named(name).info()
            case "PUT", "collections", name:
                strict = {"enabled": True, **limits} if limits else {}
                return self.create(name, {**body, "strict_mode_config": strict | (body.get("strict_mode_config") or {})})
            case "PATCH", "collections", name:
                return self.named(name).change(body)
            case "DELETE", "collections", name:
                return self.delete(name)
            case "DELETE", "collections", name, "index", key:
                collection = self.named(name)
                expect_room(full)
                return collection.drop_index(key)
            case "GET", "collections", name, "points", id:
                return self.named(name).point(int(id) if id.isdecimal() else id)
            case "POST", "collections", name, "points", "batch":
                changes = [change for each in body["operations"] for change in each.items()]
                return [self._change(name, UPDATES[what][0], wish, full) for what, wish in changes]
            case _, "collections", name, *rest if (way := (method, "/" + "/".join(rest))) in READS:
                collection = self.named(name)
                self._limits_of(name).check(collection, way[1], body, writes=False, timeout=request.timeout)
                return READS[way](collection, body)
            case _, "collections", name, *rest if (way := (method, "/" + "/".join(rest))) in WRITES:
                return self._change(name, way, body, full)
        raise Refused(404, "")

    def _change(self, name: str, way: Way, wish: Json, full: bool) -> Any:
        """Apply a write request to a collection."""
        collection = self.named(name)
        self._limits_of(name).check(collection, way[1], wish, writes=True)
        expect_room(full)
        return WRITES[way](collection, wish)

    def _limits_of(self, name: str) -> Limits:
        return self._limits[self._aliases.get(name, name)]

    def _expect_free(self, name: str) -> None:
        if name in self.collections:
            raise Refused(409, f"Wrong input: Collection `{name}` already exists!")


def sweep(place: Path) -> None:
    """Remove the collections of processes that have ended."""
    for folder in place.glob(f"{PREFIX}*"):
        try:
            os.kill(int(folder.name.removeprefix(PREFIX).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ValueError):
            continue  # of another process


def missing(name: str) -> Refused:
    return Refused(404, f"Not found: Collection `{name}` doesn't exist!")


def fault_of(name: str) -> str | None:
    """The reason why a name is invalid, or None. The wording for the length is approximate."""
    if not 1 <= len(name) <= 255:
        return f'value "{name}" invalid, must be from 1 to 255 characters'
    return next((f'collection name cannot contain "{each}" char' for each in FORBIDDEN if each in name), None)


def expect_room(full: bool) -> None:
    if full:
        raise Refused(500, FULL)
