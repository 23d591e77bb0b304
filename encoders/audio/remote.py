"""Recordings that lie elsewhere: URLs of whatever fsspec reaches, s3://, gs://, https:// and so on."""

import hashlib
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

Location = str | Path
"""Where a recording is: a path on this machine, or a URL, which is always text."""
SILENCE_SECONDS = 60.0
"""For which a web server may say nothing; the whole may take as long as it takes."""
GONE = (404, 410)
"""What a web server answers where there is no such file."""
VERSIONS = "ETag etag md5Hash Content-MD5 LastModified Last-Modified last_modified updated mtime created".split()
"""What file systems call that which changes whenever a file does, the surest first."""


def is_url(place: Location) -> bool:
    """Whether a recording lies elsewhere."""
    return isinstance(place, str) and re.match(r"[A-Za-z][\w+.:-]*://", place) is not None


def as_location(text: str) -> Location:
    """What a user calls a recording."""
    return text if is_url(text) else Path(text)


def is_folder(place: Location) -> bool:
    """Whether a place of this machine is a folder; what cannot be looked at is none."""
    try:
        return Path(place).is_dir()
    except OSError:
        return False


class FetchError(OSError):
    """A recording elsewhere cannot be had. The message is one sentence for the user, without the URL."""


def canonical(url: str) -> str:
    """The form of a URL in which its file system names what lies there."""
    try:
        with reached(url) as (files, name):
            return files.unstrip_protocol(name).rstrip("/")
    except OSError:
        return url.rstrip("/")


@contextmanager
def on_disk(place: Location) -> Iterator[Path]:
    """A recording as a file of this machine, fetched for as long as that is needed if it lies elsewhere.

    Raises:
        OSError: see reached.
    """
    if not is_url(place):
        yield Path(place)
        return
    with tempfile.TemporaryDirectory(prefix="voxdex-") as folder:
        file = Path(folder) / f"recording{PurePosixPath(urlsplit(place).path).suffix[:16]}"
        with reached(place) as (files, name):
            files.get_file(name, str(file))
        yield file


def list_files(url: str, on_error: Callable[[OSError], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The URLs of the files under a folder elsewhere, or of the one file there is, with what its file system says of each.

    Args:
        url: of the folder, or of a file; a page of links is a folder.
        on_error: called where a folder under it cannot be listed.

    Raises:
        OSError: see reached.
    """
    with reached(url) as (files, root):
        files.invalidate_cache()
        info = files.info(root)
        if info["type"] == "file" and info.get("mimetype") != "text/html":
            yield files.unstrip_protocol(root), info
            return
        for _, _, found in files.walk(root, detail=True, on_error=on_error):
            yield from ((files.unstrip_protocol(info["name"]), info) for _, info in sorted(found.items()))


def look_at(url: str) -> tuple[int, int | None]:
    """The size of a file elsewhere in bytes, and a number that changes when it does; None where its server tells of none.

    Raises:
        OSError: see reached.
    """
    with reached(url) as (files, name):
        return size_and_version(files.info(name))


def size_and_version(info: dict[str, Any]) -> tuple[int, int | None]:
    """See look_at; of what a file system says of a file."""
    version = next((str(info[key]) for key in VERSIONS if info.get(key)), None)
    number = int(hashlib.sha256(version.encode()).hexdigest()[:15], 16) if version else None
    return info.get("size") or 0, number


@contextmanager
def reached(url: str) -> Iterator[tuple["AbstractFileSystem", str]]:
    """The file system that a URL belongs to, and what the file is called there.

    Raises:
        FileNotFoundError: there certainly is no such file.
        FetchError: anything else that goes wrong with it.
    """
    try:
        import fsspec

        yield fsspec.url_to_fs(url, **_settings(url))
    except ModuleNotFoundError as error:
        raise FetchError(f"URLs need the package {error.name}: pip install 'voxdex[cpu,remote]'") from error
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in GONE:
            raise FileNotFoundError(url) from error
        raise _failed(cause) from error
    except Exception as error:  # each file system raises classes of its own
        raise _failed(error) from error


def _failed(error: BaseException) -> FetchError:
    return FetchError(f"it cannot be fetched ({str(error).strip() or type(error).__name__})")


def _settings(url: str) -> dict[str, Any]:
    if urlsplit(url).scheme not in ("http", "https"):
        return {}
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_SECONDS, sock_read=SILENCE_SECONDS)
    return {"client_kwargs": {"timeout": patience}}
