"""The folder of an embedded index: what describes it, and what is put right in it after a kill or a power cut.

    index.json       format, space, model, dimension, says, turn: the description of the index, and so the shard that answers
    shard-HASH/      the engine's shard of a space, with about.json: the same, said of that shard
    shard-HASH.new/  a shard that is being made; shard-HASH.old/ is being removed

Where index.json is lost, the shard that took over last tells what it held; of a shard without about.json its points do.
"""

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
    other_format,
)
from voxdex.indexer.store.files import copy_file, see_to_room

INDEX, SHARD_ABOUT = "index.json", "about.json"
SHARD = re.compile(r"shard-[0-9a-f]{12}")
OURS = re.compile(rf"{SHARD.pattern}|index\.json|running\.json")
"""How the names of files and folders begin that are made in the folder of an index."""
OLD = ".old"
TEMPORARY = "temp_segments"
"""Where the engine builds segments; what a kill leaves there it never looks at again."""
PAGES = "segments/*/payload_storage/page_*.dat"
"""Where the engine writes payloads: files of zeros until there are some."""
LOOKED_AT = 1 << 20
"""Bytes of those that are looked at at a time."""
ADVICE = "See that there is free disk; if it stays so, bring the folder back from a backup, or delete it and index again."


@dataclass(frozen=True)
class Description:
    """What an index, or a shard, is.

    dimension: of the embeddings of voices; 0 where an earlier version did not note it.
    turn: which of the folder's indexes it is, counted from 1; 0 for a shard that is yet to take over.
    """

    space: str
    model: str
    dimension: int
    says: PhoneticSpace | None = None
    turn: int = 1

    @property
    def shard(self) -> str:
        """The name of the shard's folder."""
        return f"shard-{sha256(self.space.encode()).hexdigest()[:12]}"

    def note(self, shard: Path) -> None:
        """Write down in the folder of a shard what it is."""
        replace_file(shard / SHARD_ABOUT, self._text())

    def note_index(self, folder: Path) -> None:
        """Write down what the index of a folder is."""
        replace_file(folder / INDEX, self._text())

    def _text(self) -> str:
        return json.dumps({"format": FORMAT} | asdict(self)) + "\n"


class _LostError(ValueError):
    """A description that is empty, cut or of another shape."""


def _read(file: Path, folder: Path) -> Description:
    """Read a description of the index in a folder, or of one of its shards.

    Raises:
        _LostError: it is not there, or not whole.
        StoreError: it is of another version, or cannot be read just now.
    """
    try:
        text = file.read_bytes().strip(b"\0 \r\n\t")
    except (FileNotFoundError, NotADirectoryError):
        text = b""
    except OSError as error:
        raise StoreError(f"{file} cannot be read ({error.strerror}). See to that and run the same command again.") from error
    if not text:
        raise _LostError
    try:
        raw = json.loads(text)
        if type(raw["format"]) is int and raw["format"] != FORMAT:
            raise StoreError(other_format(f"index at {folder}", raw["format"]))
        says = PhoneticSpace(**raw["says"]) if raw.get("says") else None
        found = Description(raw["space"], raw["model"], raw.get("dimension", 0), says, raw.get("turn", 1))
        found.space.encode()
    except KeyError as error:
        raise _LostError(f"it has no {error}") from error
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _LostError(str(error)) from error
    texts, numbers = [found.space, found.model], [raw["format"], found.dimension, found.turn]
    if says:
        texts, numbers = [*texts, says.space, says.model], [*numbers, says.dimension]
    if not all(type(text) is str and text for text in texts) or not all(type(number) is int for number in numbers):
        raise _LostError("a value is of another type")
    return found


def described(folder: Path) -> Description | None:
    """What the index of a folder is; None where nothing but the points of a shard can tell, or there is none.

    Raises:
        StoreError: it is of another version, or what is there is no index and must not be overwritten.
    """
    reason = ""
    try:
        found = _read(folder / INDEX, folder)
        if (folder / found.shard).is_dir():
            return found
        reason = f"{found.shard}, which it names, is not there"
    except _LostError as error:
        reason = str(error)
    shards = [of_shard(shard) for shard in _shards(folder)]
    took_over = [shard for shard in shards if shard and shard.turn]
    if took_over:
        return max(took_over, key=lambda shard: shard.turn)
    if untold(folder):
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


def of_shard(shard: Path) -> Description | None:
    """What a shard says that it is; None where it does not.

    Raises:
        StoreError: it is of another version, or cannot be read just now.
    """
    with suppress(_LostError):
        found = _read(shard / SHARD_ABOUT, shard.parent)
        return found if found.shard == shard.name else None
    return None


def untold(folder: Path) -> list[Path]:
    """The shards that hold something, but not what they are: earlier versions did not write that into them."""
    return [shard for shard in _shards(folder) if of_shard(shard) is None and _holds_payload(shard)]


def expect_index(folder: Path) -> None:
    """Raise StoreError where there is no index in a folder. Nothing is written, and nothing locked."""
    if described(folder) is None and not untold(folder):
        raise StoreError(f"There is no index at {folder}. Make one: voxdex index FOLDER_OF_RECORDINGS.")


def tell(folder: Path) -> Description:
    """What the index of a folder is by the points of its one shard, which is left as it is: a copy is looked at.

    Only the process that holds the lock may ask.

    Raises:
        StoreError: they cannot tell.
    """
    expect_index(folder)
    shards = untold(folder)
    lost = f"The index at {folder} has lost its {INDEX}"
    if len(shards) > 1:
        raise StoreError(
            f"{lost}, and which of {' and '.join(shard.name for shard in shards)} is the index cannot be told. "
            "Move all but one of them to another place and run the same command again."
        )
    [shard] = shards
    see_to_room(folder)
    copy = shard.with_name(shard.name + NEW)
    shutil.rmtree(copy, ignore_errors=True)
    unchanged = f"Nothing was changed: bring {INDEX} back from a backup, or index into another folder (--index NAME)."
    try:
        with explained(folder, f"It has lost its {INDEX}. {unchanged}"):
            copy_shard(shard, copy)
            engine = edge.EdgeShard.load(str(copy))
            found = _told_by(engine, folder)
            engine.close()
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    if found is None or found.shard != shard.name:
        raise StoreError(f"{lost}, and its points do not tell what it was. {unchanged}")
    return found


def _told_by(engine: edge.EdgeShard, folder: Path) -> Description | None:
    clip = next(_scroll(engine, CLIP, with_vector=True), None)
    recordings = [record.payload for record in _scroll(engine, RECORDING)]
    payloads = [*([clip.payload] if clip else []), *recordings]
    space = next((payload["space"] for payload in payloads if payload.get("space")), None)
    if space is None:
        return None
    heard = next((payload[PHONETIC] for payload in recordings if payload.get(PHONETIC)), None)
    says = PhoneticSpace(heard, *_model_of(heard, folder)) if heard else None
    return Description(space, _model_of(space, folder)[0], len(as_vector(clip.vector)) if clip else 0, says)


def _scroll(engine: edge.EdgeShard, kind: str, with_vector: bool = False) -> Iterator[edge.Record]:
    offset, of_kind = None, edge.Filter(must=[edge.FieldCondition(KIND, match=edge.MatchValue(kind))])
    keys = edge.PayloadSelector.Include(["space", PHONETIC])
    while True:
        request = edge.ScrollRequest(offset=offset, limit=1000, filter=of_kind, with_payload=keys, with_vector=with_vector)
        records, offset = engine.scroll(request)
        yield from records
        if offset is None:
            return


def _model_of(space: str, index: Path) -> tuple[str, int]:
    """The name of the model that embeds into a space, and its dimension."""
    for name, folder in find_models().items():
        with suppress(ModelError):
            if (card := read_card(folder)).space == space:
                return name, card.dimension
    raise StoreError(
        f"The index at {index} has lost its {INDEX}, and no model here embeds into its space, {space}. Put the model's folder "
        f"into {voxdex_home() / 'models'} and run the same command again."
    )


def repairs(folder: Path, index: Description) -> list[Callable[[], object]]:
    """What is to be done, under the lock, so that a folder holds nothing but its index, described twice.

    A shard that a later `reindex` would go on with stays, as does one of which nothing is known.
    """
    todo: list[Callable[[], object]] = [partial(_remove, path) for path in leftovers(folder)]
    for shard in _shards(folder):
        about = _known(shard)
        if shard.name == index.shard:
            if about != index:
                todo.append(partial(index.note, shard))
        elif about and 0 < about.turn < index.turn:
            todo.append(partial(remove_shard, shard))
        elif about and about.turn:  # killed before index.json named it
            todo.append(partial(replace(about, turn=0).note, shard))
    with suppress(_LostError):
        if _read(folder / INDEX, folder) == index:
            return todo
    return [*todo, partial(index.note_index, folder)]


def leftovers(folder: Path) -> list[Path]:
    """What processes that were killed left half-made or half-removed."""
    ours = [path for path in folder.iterdir() if OURS.match(path.name) and path.suffix in (NEW, OLD)]
    inside = [path for shard in _shards(folder) for path in shard.glob(f"*{NEW}")]
    built = [shard / TEMPORARY for shard in _shards(folder) if any((shard / TEMPORARY).glob("*"))]
    return ours + inside + built


def remove_leftovers(folder: Path) -> None:
    """Remove leftovers(), under the lock."""
    for path in leftovers(folder):
        _remove(path)


def next_turn(folder: Path) -> int:
    """The turn of a shard that takes over now."""
    known = [_known(shard) for shard in _shards(folder)]
    with suppress(_LostError):
        known.append(_read(folder / INDEX, folder))
    return 1 + max((description.turn for description in known if description), default=0)


def remove_others(folder: Path, index: Description) -> None:
    """Remove every shard but that of the index, and what was derived from them."""
    for shard in _shards(folder):
        if shard.name != index.shard:
            remove_shard(shard)


def remove_shard(shard: Path) -> None:
    """Remove a shard, if it is there, so that none is ever half there under its name, and what was derived from it."""
    forget(shard.parent, f"{shard.name}-*")
    if shard.exists():
        old = shard.with_name(shard.name + OLD)
        shutil.rmtree(old, ignore_errors=True)
        shard.replace(old)
        shutil.rmtree(old, ignore_errors=True)


def forget(folder: Path, pattern: str) -> None:
    """Remove files for good, before what they were derived from changes."""
    files = list(folder.glob(pattern))
    for file in files:
        file.unlink()
    if files:
        sync(folder)


def copy_shard(shard: Path, to: Path) -> None:
    """Copy a shard that no process writes, without what a kill left in it."""
    shutil.copytree(shard, to, copy_function=copy_file, ignore=shutil.ignore_patterns(TEMPORARY, f"*{NEW}"))


@contextmanager
def explained(folder: Path, advice: str = ADVICE) -> Iterator[None]:
    """Turn what the engine raises, bare Exception or a panic of its own, into StoreError: its words, and what to do."""
    try:
        yield
    except StoreError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise StoreError(f"The engine failed on the index at {folder} ({error}). {advice}") from error


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("shard-*") if SHARD.fullmatch(path.name) and path.is_dir())


def _holds_payload(shard: Path) -> bool:
    """Whether anything was ever stored in a shard; the engine itself may find nothing in one that is damaged."""
    for page in shard.glob(PAGES):
        with page.open("rb") as file:
            while block := file.read(LOOKED_AT):
                if block.strip(b"\0"):
                    return True
    return False


def _known(shard: Path) -> Description | None:
    """What a shard says that it is, where this version can read that."""
    with suppress(StoreError):
        return of_shard(shard)
    return None
