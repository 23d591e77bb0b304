"""Text patterns: matching of values, and the texts that narrow an engine's search for them.

Paths are stored once more in lower case between two end marks (path_text), and as runs of characters (grams) for engines that
only index words. A pattern then requires a few texts: "x/99*.wav" those with a component that begins with "x/99" and the end
".wav". Where these texts do not decide ("?.wav", "*a*b*"), they leave few paths to compare.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass

PATH, COPIES, PATH_TEXT = "recording", "copies", "path_text"
"""Payload keys of a clip's path, of the other paths of its content, and of their path_text(), which is internal to stores."""
END = "\0"
"""End mark before and after a path; no path contains it."""
GRAM = 3
"""Characters of a gram. Measured with 100,000 paths of 60 characters on Qdrant's engine: a phrase index of grams takes 54 MB of
disk and, during its build, 7 KB of memory per clip; a text in one path is found in 1 ms, a text in half of them in 0.2 s.
Substring match on keywords (servers from 1.20 on) takes 17 MB of disk, hardly any memory, and 10 and 50 ms."""
MOST_TEXTS = 4
"""Maximum number of texts of a pattern that they do not decide; the longest are kept."""
WILD = re.compile(r"(\*+|\?)")
"""Wildcards of a pattern. All other characters stand for themselves."""


@dataclass(frozen=True)
class Form:
    """Texts that the path_text of every matching path contains. is_enough: every path that contains them matches."""

    texts: tuple[str, ...]
    is_enough: bool


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a case-insensitive predicate for a pattern.

    * stands for any text, ? for one character; the value, or its part after a slash, must have that form. A pattern without
    wildcards may stand anywhere in the value.
    """
    pattern = _folded(pattern)
    if not WILD.search(pattern):
        return lambda value: pattern in _folded(value)
    form = "".join({"*": ".*", "?": "."}.get(part[:1], re.escape(part)) for part in WILD.split(pattern))
    matching = re.compile(rf"(?:.*/)?{form}", re.S)
    return lambda value: bool(matching.fullmatch(_folded(value)))


def forms(pattern: str) -> list[Form]:
    """Return the forms of a pattern; each matching path has one of them."""
    pattern = _folded(pattern)
    if END in pattern:
        return [Form((), is_enough=False)]
    if not WILD.search(pattern):
        return [Form((pattern,) if pattern else (), is_enough=True)]
    first, *rest = WILD.split(pattern)
    starts = (END,) if not first and rest and rest[0].startswith("*") else (END, "/")
    return [_form([start + first, *rest]) for start in starts]


def _form(parts: list[str]) -> Form:
    """Return the form of texts (even positions) and wildcards; the first text begins the path or a component of it."""
    parts[-1] += END
    texts = [text for text in parts[::2] if text not in ("", END)]
    is_fixed = [text.startswith(END) or text.endswith(END) for text in texts]
    in_order = all(not _may_overlap(one, other) for position, one in enumerate(texts) for other in texts[position + 1 :])
    is_enough = all(wild.startswith("*") for wild in parts[1::2]) and is_fixed.count(False) <= 1 and in_order
    return Form(tuple(texts if is_enough else sorted(texts, key=len)[-MOST_TEXTS:]), is_enough)


def _may_overlap(one: str, other: str) -> bool:
    """Return whether a text can share characters of a path with the next text; one of them begins or ends the path."""
    if one in other or other in one:
        return True
    return any(one.endswith(other[:size]) for size in range(1, min(len(one), len(other))))


def path_text(path: str) -> str:
    """Return the searchable form of a path: lower case, between end marks."""
    return f"{END}{_folded(path)}{END}"


def _folded(text: str) -> str:
    """Return a text in lower case, and in the composed form of Unicode: file systems have either."""
    return unicodedata.normalize("NFC", text).lower()


def grams(text: str) -> str:
    """Return all runs of GRAM characters of a text, as words; the grams of a substring follow each other in them.

    Words consist of letters and digits, which no tokenizer splits; other characters, and x, are replaced by their codes.
    """
    codes = [each if re.fullmatch("[a-wyz0-9]", each) else f"x{ord(each):x}x" for each in text]
    return " ".join("".join(codes[start : start + GRAM]) for start in range(len(codes) - GRAM + 1))


def any_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a predicate for values that match one of some patterns."""
    matchers = [matcher(pattern) for pattern in patterns]
    return lambda value: any(matches(value) for matches in matchers)
