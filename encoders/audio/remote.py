"""Recordings at URLs of any file system that fsspec supports: s3://, gs://, https:// and others."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from voxdex.encoders.packages import missing_package

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Location = str | Path
"""Location of a recording: a path on this machine, or a URL as text."""
READ_TIMEOUT_SECONDS = 60.0
"""Time without data after which a web server is given up; a download has no overall limit."""
GONE = (404, 410)
"""HTTP statuses for a file that does not exist."""
VERSIONS = "ETag etag md5Hash Content-MD5 LastModified Last-Modified last_modified updated mtime created".split()
"""Names of the file systems' version fields, the most reliable first."""


def is_url(location: Location) -> TypeGuard[str]:
    """Return whether a location is a URL."""
    return isinstance(location, str) and re.match(r"[A-Za-z][\w+.:-]*://", location) is not None


def as_location(text: str) -> Location:
    """Convert user input to a location."""
    return text if is_url(text) else Path(text)


def is_folder(location: Location) -> bool:
    """Return whether a location is a folder on this machine; one that cannot be accessed is not."""
    try:
        return Path(location).is_dir()
    except OSError:
        return False


class FetchError(OSError):
    """A URL that cannot be fetched. The message is a clause without the URL."""


def canonical(url: str) -> str:
    """Return the form of a URL that its file system uses."""
    try:
        with open_filesystem(url) as (files, name):
            return files.unstrip_protocol(name).rstrip("/")
    except OSError:
        return url.rstrip("/")


@contextmanager
def on_disk(location: Location) -> Iterator[Path]:
    """Provide a recording as a file on this machine, downloaded from a URL for the duration of the block.

    Raises:
        OSError: see open_filesystem.
    """
    if not is_url(location):
        yield Path(location)
        return
    with tempfile.TemporaryDirectory(prefix="voxdex-") as folder:
        file = Path(folder) / f"recording{PurePosixPath(urlsplit(location).path).suffix[:16]}"
        with open_filesystem(location) as (files, name):
            files.get_file(name, str(file))
        yield file


def list_files(url: str, on_error: Callable[[OSError], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the URLs of the files under a remote folder, or of a single file, with the file system's information on each.

    Args:
        url: a folder or a file; an HTML page of links is a folder.
        on_error: called for a folder that cannot be listed.

    Raises:
        OSError: see open_filesystem.
    """
    with open_filesystem(url) as (files, root):
        files.invalidate_cache()
        info = files.info(root)
        if info["type"] == "file" and info.get("mimetype") != "text/html":
            yield files.unstrip_protocol(root), info
            return
        for _, _, found in files.walk(root, detail=True, on_error=on_error):
            yield from ((files.unstrip_protocol(info["name"]), info) for _, info in sorted(found.items()))


def remote_stat(url: str) -> tuple[int, int | None]:
    """Return the size of a remote file in bytes, and a number that changes with its content; None if there is none.

    Raises:
        OSError: see open_filesystem.
    """
    with open_filesystem(url) as (files, name):
        return size_and_version(files.info(name))


def size_and_version(info: dict[str, Any]) -> tuple[int, int | None]:
    """Return size and version number from a file system's information on a file; see remote_stat."""
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), None)
    number = int(hashlib.sha256(version.encode()).hexdigest()[:15], 16) if version else None
    return info.get("size") or 0, number


@contextmanager
def open_filesystem(url: str) -> Iterator[tuple["AbstractFileSystem", str]]:
    """Provide the file system of a URL, and the name of the file in it.

    Raises:
        FileNotFoundError: the file does not exist.
        FetchError: any other error.
    """
    try:
        import fsspec

        yield fsspec.url_to_fs(url, **_settings(url))
    except ModuleNotFoundError as error:
        raise FetchError(missing_package("Reading a URL", error.name, "remote")) from error
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in GONE:
            raise FileNotFoundError(url) from error
        raise _failed(cause) from error
    except Exception as error:  # each file system has its own exception classes
        raise _failed(error) from error


def _failed(error: BaseException) -> FetchError:
    return FetchError(f"it cannot be fetched ({str(error).strip() or type(error).__name__})")


def _settings(url: str) -> dict[str, Any]:
    if urlsplit(url).scheme not in ("http", "https"):
        return {}
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=None, sock_connect=READ_TIMEOUT_SECONDS, sock_read=READ_TIMEOUT_SECONDS)
    return {"client_kwargs": {"timeout": timeout}}
