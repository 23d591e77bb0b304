"""Paths of the user's data, checksums, and writes that survive a crash or a power cut."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

NEW = ".new"
"""The end of the name of what is yet to get its own; left behind where a process was killed."""


def voxdex_home() -> Path:
    """Return the folder of the user's indexes and added models; the environment variable VOXDEX_HOME overrides it."""
    return Path(os.environ.get("VOXDEX_HOME") or platformdirs.user_data_dir("voxdex"))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(file: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace a file in one step; see replaced()."""
    with replaced(file, durable=durable) as new:
        new.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def replaced(file: Path, *, durable: bool = True) -> Iterator[Path]:
    """The path to write a file's new content to, in the same folder; it gets the file's name once the block is left.

    Whoever reads the file meanwhile, and whatever is killed, finds either the former content or the new one. Nothing is
    replaced where the block raises.

    Args:
        file: in a folder that exists; it may be new itself.
        durable: wait until the content, and then its name, are on disk, so that a power cut changes nothing either.
    """
    new = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}{NEW}")
    try:
        yield new
        if durable:
            move(new, file)
        else:
            new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def move(made: Path, to: Path) -> None:
    """Give a file, or a folder, its name in one step, once all of it is on disk."""
    for path in [*made.rglob("*"), made] if made.is_dir() else [made]:
        sync(path)
    made.replace(to)
    sync(to.parent)


def make_folder(folder: Path) -> None:
    """Make a folder that outlasts a power cut, and those above it."""
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync(place.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on disk; not every system can do the latter."""
    if not path.is_dir():
        with path.open("r+b") as file:
            os.fsync(file.fileno())
        return
    with suppress(OSError):
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read_json(file: Path) -> Any:
    """What a file of JSON holds; None where it is missing, cut or no JSON."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
