"""Errors that a user sees as a sentence, and the record of an input that failed."""

import unicodedata
from dataclasses import dataclass
from typing import ClassVar

CONTROL_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode categories of control characters, lone surrogates, and line and paragraph separators."""


class VoxdexError(Exception):
    """Base class of all errors that a user may see. The message names the fault, its file and the next step, in sentences.

    http_status: status code of the HTTP answer to a request that raises it.
    """

    http_status: ClassVar[int] = 400

    @property
    def sentence(self) -> str:
        """The message as one or more complete sentences."""
        return str(self)


class TextError(VoxdexError):
    """Text that cannot be encoded."""


class NetworkError(VoxdexError):
    """An architecture that cannot be built."""


class SourceError(VoxdexError):
    """Initial weights or a teacher that cannot be found or loaded."""


class DeviceError(VoxdexError):
    """A requested device that is not available."""


class DivergenceError(VoxdexError):
    """A training loss that is not finite."""


@dataclass(frozen=True)
class Failure:
    """An input that could not be processed: its path or URL, and the reason as a clause."""

    path: str
    reason: str


def check_text(text: str) -> str:
    """Return the text unchanged.

    Raises:
        TextError: it contains lone surrogates, which stand for bytes or escapes that are not valid UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TextError(f"{short(text)} is not valid text: write it in UTF-8.") from None
    return text


def in_one_line(text: str) -> str:
    """Escape line breaks and other control characters, which names of files may contain."""
    controls = {char for char in text if unicodedata.category(char) in CONTROL_CATEGORIES}
    return text.translate({ord(char): char.encode("unicode_escape").decode() for char in controls})


def short(text: str) -> str:
    """Quote a text for a message, cut after 80 characters."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
