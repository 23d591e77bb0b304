"""Optional packages: the sentence about one that is missing, with the command that installs it in the environment at hand."""

import importlib.metadata
import importlib.util
import json
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname


def missing_package(purpose: str, package: str | None, extra: str) -> str:
    """Return a clause on a package that is not installed, and how to install it.

    Args:
        purpose: what needs the package, as in "A server".
        package: name of the package.
        extra: extra of Voxdex that contains the package.
    """
    return f"{purpose} needs the package {package}, which is not installed: {install_command(extra)}"


def install_command(*extras: str) -> str:
    """Return the shell command that installs Voxdex with some extras in the running environment.

    It installs from where Voxdex itself was installed: a folder, in place where Voxdex is so, or the package index.
    """
    source, is_editable = _source()
    has_pip = importlib.util.find_spec("pip") is not None
    pip = [sys.executable, "-m", "pip", "install"] if has_pip else ["uv", "pip", "install", "--python", sys.executable]
    return shlex.join([*pip, *(["-e"] if is_editable else []), f"{source}[{','.join(extras)}]"])


def _source() -> tuple[str, bool]:
    """Return what Voxdex was installed from, and whether in place (PEP 610)."""
    try:
        origin = json.loads(importlib.metadata.distribution("voxdex").read_text("direct_url.json") or "{}")
    except (importlib.metadata.PackageNotFoundError, ValueError):
        origin = {}
    url = urlsplit(origin.get("url", ""))
    folder = url2pathname(url.path)
    if url.scheme == "file" and Path(folder).is_dir():
        return folder, bool(origin.get("dir_info", {}).get("editable"))
    return "voxdex", False
