"""The folder of an embedded index: its descriptions, and the repair of what a kill or a power cut left.

    index.json       format, space, model, dimension, phonetic, turn: describes the index, and so selects the shard that answers
    shard-HASH/      the engine's shard of a space, with about.json: the same description of that shard
    shard-HASH.new/  a shard under construction; shard-HASH.old/ is being removed

If index.json is lost, the shard with the highest turn is the index. If about.json is lost, the description is recovered from
the points of the shard.
"""

import difflib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import qdrant_edge as edge

from voxdex.encoders.machine import MORE_MEMORY, is_out_of_memory
from voxdex.encoders.model_card import ModelError, find_models, read_card
from voxdex.encoders.paths import NEW, replace_file, sync, voxdex_home
from voxdex.indexer.store.base import (
    CLIP,
    FORMAT,
    KIND,
    PHONETIC,
    RECORDING,
    PhoneticSpace,
    StoreError,
    as_vector,
    format_error,
)
from voxdex.indexer.store.files import check_free_space, copy_file

INDEX, SHARD_DESCRIPTION = "index.json", "about.json"
SHARD = re.compile(r"shard-[0-9a-f]{12}")
OURS = re.compile(rf"{SHARD.pattern}|snapshot-|index\.json|running\.json")
"""Beginnings of the names of files and folders in the folder of an index."""
OLD = ".old"
SEGMENT_BUILDS = "temp_segments"
"""Folder in which the engine builds segments. It never reads what a kill leaves there."""
PAGES = "segments/*/payload_storage/page_*.dat"
"""Files in which the engine writes payloads, all zeros until there are some."""
FORMER_PHONETIC = "says"
"""Payload key of recordings in format 2; PHONETIC today."""
BLOCK = 1 << 20
"""Bytes that are read at a time."""
ADVICE = "See that there is free disk; if it stays so, bring the folder back from a backup, or delete it and index again."


@dataclass(frozen=True)
class Description:
    """Identity of an index or a shard.

    dimension: of the voice vectors; 0 where it was recovered from a shard without clips. turn: number of the index among those
    of its folder, from 1; 0 for a staged shard.
    """

    space: str
    model: str
    dimension: int
    phonetic: PhoneticSpace | None = None
    turn: int = 1

    @property
    def shard(self) -> str:
        """Name of the shard's folder."""
        return f"shard-{sha256(self.space.encode()).hexdigest()[:12]}"

    def write_shard(self, shard: Path) -> None:
        """Write the description of a shard into its folder."""
        replace_file(shard / SHARD_DESCRIPTION, self._text())

    def write_index(self, folder: Path) -> None:
        """Write the description of a folder's index."""
        replace_file(folder / INDEX, self._text())

    def _text(self) -> str:
        return json.dumps({"format": FORMAT} | asdict(self)) + "\n"


class _LostError(ValueError):
    """A description that is empty, cut or of another shape."""


def _read(file: Path, folder: Path) -> Description:
    """Read the description of the index in a folder, or of one of its shards.

    Raises:
        _LostError: it is missing or incomplete.
        StoreError: it is of another format, or cannot be read at present.
    """
    try:
        text = file.read_bytes().strip(b"\0 \r\n\t")
    except (FileNotFoundError, NotADirectoryError):
        text = b""
    except OSError as error:
        raise StoreError(f"{file} cannot be read ({error.strerror}): mend that and run the same command again.") from error
    if not text:
        raise _LostError
    try:
        raw = json.loads(text)
        if type(raw["format"]) is int and raw["format"] != FORMAT:
            raise format_error(f"index at {folder}", raw["format"])
        phonetic = PhoneticSpace(**raw["phonetic"]) if raw.get("phonetic") else None
        found = Description(raw["space"], raw["model"], raw.get("dimension", 0), phonetic, raw.get("turn", 1))
        found.space.encode()
    except KeyError as error:
        raise _LostError(f"it has no {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _LostError(str(error)) from error
    texts, numbers = [found.space, found.model], [raw["format"], found.dimension, found.turn]
    if phonetic:
        texts, numbers = [*texts, phonetic.space, phonetic.model], [*numbers, phonetic.dimension]
    if not all(type(text) is str and text for text in texts) or not all(type(number) is int for number in numbers):
        raise _LostError("a value is of another type")
    return found


def read_description(folder: Path) -> Description | None:
    """Read the description of a folder's index; None where it must be recovered from a shard's points, or there is no index.

    Raises:
        StoreError: it is of another format, or the folder holds something else that must not be overwritten.
    """
    reason = ""
    try:
        found = _read(folder / INDEX, folder)
        if (folder / found.shard).is_dir():
            return found
        reason = f"{found.shard}, which it names, is not there"
    except _LostError as error:
        reason = str(error)
    shards = [read_shard(shard) for shard in _shards(folder)]
    promoted = [shard for shard in shards if shard and shard.turn]
    if promoted:
        return max(promoted, key=lambda shard: shard.turn)
    if undescribed_shards(folder):
        return None
    if any(shards):
        raise StoreError(
            f"The index at {folder} is lost; there is only what a `reindex` that was stopped has made. "
            "Bring the folder back from a backup, or delete it and index again."
        )
    if reason:
        raise StoreError(
            f"{folder / INDEX} cannot be read as that of an index ({reason}), and there is no other trace of one. "
            "Choose another folder (--index NAME), or move that file away."
        )
    return None


def read_shard(shard: Path) -> Description | None:
    """Read the description of a shard; None where it has none.

    Raises:
        StoreError: it is of another format, or cannot be read at present.
    """
    with suppress(_LostError):
        found = _read(shard / SHARD_DESCRIPTION, shard.parent)
        return found if found.shard == shard.name else None
    return None


def undescribed_shards(folder: Path) -> list[Path]:
    """Return the shards that hold points, but no description."""
    return [shard for shard in _shards(folder) if read_shard(shard) is None and _holds_payload(shard)]


def expect_index(folder: Path) -> None:
    """Raise StoreError where there is no index in a folder. Nothing is written or locked."""
    if read_description(folder) is None and not undescribed_shards(folder):
        others = [file.parent.name for file in folder.parent.glob(f"*/{INDEX}")] if folder.parent.is_dir() else []
        alike = difflib.get_close_matches(folder.name, others, n=1)
        meant = f" Did you mean {alike[0]}?" if alike else ""
        raise StoreError(f"There is no index at {folder}.{meant} Make one: voxdex index FOLDER_OF_RECORDINGS.")


def recover_description(folder: Path) -> Description:
    """Recover the description of a folder's index from the points of its one shard, or rather of a copy of that shard.

    The caller holds the lock.

    Raises:
        StoreError: the points do not tell it, or are of another format.
    """
    expect_index(folder)
    shards = undescribed_shards(folder)
    lost = f"The index at {folder} has lost its {INDEX}"
    if len(shards) > 1:
        raise StoreError(
            f"{lost}, and which of {' and '.join(shard.name for shard in shards)} is the index is unknown. "
            "Move all but one of them to another place and run the same command again."
        )
    [shard] = shards
    check_free_space(folder)
    copy = shard.with_name(shard.name + NEW)
    shutil.rmtree(copy, ignore_errors=True)
    unchanged = f"Nothing was changed: bring {INDEX} back from a backup, or index into another folder (--index NAME)."
    try:
        with engine_errors(folder, f"It has lost its {INDEX}. {unchanged}"):
            copy_shard(shard, copy)
            engine = edge.EdgeShard.load(str(copy))
            found = _description_of(engine, folder)
            engine.close()
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    if found is None or found.shard != shard.name:
        raise StoreError(f"{lost}, and its points do not tell what it was. {unchanged}")
    return found


def _description_of(engine: edge.EdgeShard, folder: Path) -> Description | None:
    clip = next(_scroll(engine, CLIP, with_vector=True), None)
    recordings = [record.payload or {} for record in _scroll(engine, RECORDING)]
    if any(FORMER_PHONETIC in payload for payload in recordings):
        raise format_error(f"index at {folder}", 2)
    payloads = [*([clip.payload or {}] if clip else []), *recordings]
    space = next((payload["space"] for payload in payloads if payload.get("space")), None)
    if space is None:
        return None
    sounds = next((payload[PHONETIC] for payload in recordings if payload.get(PHONETIC)), None)
    phonetic = PhoneticSpace(sounds, *_model_of(sounds, folder)) if sounds else None
    vector = as_vector(clip.vector) if clip else None
    return Description(space, _model_of(space, folder)[0], 0 if vector is None else len(vector), phonetic)


def _scroll(engine: edge.EdgeShard, kind: str, *, with_vector: bool = False) -> Iterator[edge.Record]:
    offset, of_kind = None, edge.Filter(must=[edge.FieldCondition(KIND, match=edge.MatchValue(kind))])
    keys = edge.PayloadSelector.Include(["space", PHONETIC, FORMER_PHONETIC])
    while True:
        request = edge.ScrollRequest(offset=offset, limit=1000, filter=of_kind, with_payload=keys, with_vector=with_vector)
        records, offset = engine.scroll(request)
        yield from records
        if offset is None:
            return


def _model_of(space: str, index: Path) -> tuple[str, int]:
    """Return the name and the dimension of the installed model of a space."""
    for name, folder in find_models().items():
        with suppress(ModelError):
            if (card := read_card(folder)).space == space:
                return name, card.dimension
    raise StoreError(
        f"The index at {index} has lost its {INDEX}, and no installed model embeds into its space, {space}. Put the model's "
        f"folder into {voxdex_home() / 'models'} and run the same command again."
    )


def repairs(folder: Path, index: Description) -> list[Callable[[], object]]:
    """Return the steps, to be taken under the lock, after which a folder holds only its index, described twice.

    A shard that a later `reindex` would continue with is kept, and so is one without a description.
    """
    todo: list[Callable[[], object]] = [partial(_remove, path) for path in leftovers(folder)]
    for shard in _shards(folder):
        about = _readable(shard)
        if shard.name == index.shard:
            if about != index:
                todo.append(partial(index.write_shard, shard))
        elif about and 0 < about.turn < index.turn:
            todo.append(partial(remove_shard, shard))
        elif about and about.turn:  # killed before index.json named it
            todo.append(partial(replace(about, turn=0).write_shard, shard))
    with suppress(_LostError):
        if _read(folder / INDEX, folder) == index:
            return todo
    return [*todo, partial(index.write_index, folder)]


def leftovers(folder: Path) -> list[Path]:
    """Return what killed processes left half made or half removed."""
    ours = [path for path in folder.iterdir() if OURS.match(path.name) and path.suffix in (NEW, OLD)]
    inside = [path for shard in _shards(folder) for path in shard.glob(f"*{NEW}")]
    built = [shard / SEGMENT_BUILDS for shard in _shards(folder) if any((shard / SEGMENT_BUILDS).glob("*"))]
    return ours + inside + built


def remove_leftovers(folder: Path) -> None:
    """Remove leftovers(). The caller holds the lock."""
    for path in leftovers(folder):
        _remove(path)


def next_turn(folder: Path) -> int:
    """Return the turn of a shard that is promoted now."""
    known = [_readable(shard) for shard in _shards(folder)]
    with suppress(_LostError):
        known.append(_read(folder / INDEX, folder))
    return 1 + max((description.turn for description in known if description), default=0)


def remove_others(folder: Path, index: Description) -> None:
    """Remove every shard but that of the index, and their cached data."""
    for shard in _shards(folder):
        if shard.name != index.shard:
            remove_shard(shard)


def remove_shard(shard: Path) -> None:
    """Remove a shard, if it exists, and its cached data; a kill never leaves half of it under its name."""
    remove_files(shard.parent, f"{shard.name}-*")
    if shard.exists():
        old = shard.with_name(shard.name + OLD)
        shutil.rmtree(old, ignore_errors=True)
        shard.replace(old)
        shutil.rmtree(old, ignore_errors=True)


def remove_files(folder: Path, pattern: str) -> None:
    """Remove the files of a pattern durably."""
    files = list(folder.glob(pattern))
    for file in files:
        file.unlink()
    if files:
        sync(folder)


def copy_shard(shard: Path, to: Path) -> None:
    """Copy a shard that no process writes, without what a kill left in it."""
    shutil.copytree(shard, to, copy_function=copy_file, ignore=shutil.ignore_patterns(SEGMENT_BUILDS, f"*{NEW}"))


@contextmanager
def engine_errors(folder: Path, advice: str = ADVICE) -> Iterator[None]:
    """Turn the engine's exceptions (bare Exception or its own panic) into StoreError: its message, and what to do next."""
    try:
        yield
    except StoreError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if is_out_of_memory(error):
            raise StoreError(f"The engine failed on the index at {folder}. {MORE_MEMORY}") from error
        raise StoreError(f"The engine failed on the index at {folder} ({error}). {advice}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("shard-*") if SHARD.fullmatch(path.name) and path.is_dir())


def _holds_payload(shard: Path) -> bool:
    """Return whether a shard ever stored a payload; the engine may find none in a damaged one."""
    for page in shard.glob(PAGES):
        with page.open("rb") as file:
            while block := file.read(BLOCK):
                if block.strip(b"\0"):
                    return True
    return False


def _readable(shard: Path) -> Description | None:
    """Return the description of a shard; None where it has none of this format."""
    with suppress(StoreError):
        return read_shard(shard)
    return None
