"""The names of a package that other packages use, each imported when it is first asked for.

A process that decodes needs a fraction of what the packages hold, and starts in half the time without the rest.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def exports(package: str, modules: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any]]:
    """A package's __all__ and __getattr__.

    Args:
        package: its name.
        modules: of the package or of others, by full name, and the names that are taken from each, in a line.
    """
    places = {name: module for module, names in modules.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(places[name]), name)
        setattr(import_module(package), name, value)
        return value

    return sorted(places), __getattr__
