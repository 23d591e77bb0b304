"""Paths of the user's data, checksums, and writes that survive a crash or a power cut."""

import hashlib
import importlib.util
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

NEW = ".new"
"""Suffix of temporary files and folders that are renamed when complete; left behind by killed processes."""


def package_file(package: str, file: str) -> Path | None:
    """Find a file in the folder `model` of an installed package, by the package's name on PyPI; None if there is none."""
    name = package.replace("-", "_")
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    for folder in (found.submodule_search_locations or ()) if found else ():
        if (Path(folder) / "model" / file).is_file():
            return Path(folder) / "model" / file
    return None


def voxdex_home() -> Path:
    """Return the folder of the user's indexes and added models; the environment variable VOXDEX_HOME overrides it."""
    return Path(os.environ.get("VOXDEX_HOME") or platformdirs.user_data_dir("voxdex"))


def file_sha256(path: Path) -> str:
    """Return the SHA-256 checksum of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(file: Path, content: str | bytes, *, durable: bool = True) -> None:
    """Replace the content of a file atomically; see replaced()."""
    with replaced(file, durable=durable) as new:
        new.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def replaced(file: Path, *, durable: bool = True) -> Iterator[Path]:
    """Provide a temporary path beside a file, which replaces the file atomically when the block is left.

    Readers see either the former or the new content, even if a process is killed. If the block raises, nothing is replaced.

    Args:
        file: an existing or a new file, in an existing folder.
        durable: wait until content and name are on disk, so that the same holds for a power cut.
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
    """Rename a file or folder atomically, once all of its content is on disk."""
    for path in [*made.rglob("*"), made] if made.is_dir() else [made]:
        sync(path)
    made.replace(to)
    sync(to.parent)


def make_folder(folder: Path) -> None:
    """Create a folder and those above it, durably."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        sync(each.parent)


def sync(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on disk; the latter not on every system."""
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
    """Read a JSON file; None if it is missing, truncated or invalid."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
