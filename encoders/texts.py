"""Text that models read, and text in messages."""

import unicodedata

CONTROLS = {"Cc", "Cs", "Zl", "Zp"}
"""Categories of characters that move the cursor, end a line, or are none."""


class TextError(ValueError):
    """Text that no model can read. The message is a sentence for the user."""


def check_text(text: str) -> str:
    """The text, if it is text: without the lone surrogates that stand for bytes or escapes which are none.

    Raises:
        TextError: it has some.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise TextError(f"{short(text)} is not valid text: write it in UTF-8.") from None
    return text


def in_one_line(text: str) -> str:
    """A message with line breaks and other control characters, as names of files may have, as escapes."""
    controls = {char for char in text if unicodedata.category(char) in CONTROLS}
    return text.translate({ord(char): char.encode("unicode_escape").decode() for char in controls})


def short(text: str) -> str:
    """A text for a message, in quotation marks: its beginning, if it is long."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
