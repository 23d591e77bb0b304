"""Text that models read."""


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


def short(text: str) -> str:
    """A text for a message, in quotation marks: its beginning, if it is long."""
    return repr(text if len(text) <= 80 else f"{text[:77]}...")
