"""Patterns of text: which values are like one, and what an engine can be asked for so that it need not list all values.

Paths are stored once more as path_text() writes them, in lower case between two ends, and as grams() for engines that have
words alone. A pattern is then a few texts that such a path holds: "x/99*.wav" those that begin a component with "x/99" and end
with ".wav". Where these do not decide (in "?.wav", "*a*b*"), they leave few paths to look at.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import translate

PATH, PATH_TEXT = "recording", "path_text"
"""The payload key of a clip's path, and of what path_text() makes of it, which only stores see."""
END = "\0"
"""Stands before and behind a path; no path holds it."""
GRAM = 3
"""Characters of a gram. Of 100,000 paths of 60 characters, on Qdrant's own engine, a text index of them with phrases lies in 54
MB of disk and takes 7 KB a clip of memory while it is built; a text that one path holds is found in 1 ms, one that half of
them hold in 0.2 s. The same paths as keywords that are looked through (MatchSubstring, which servers before 1.20 do not have)
lie in 17 MB, take no memory to speak of, and 10 and 50 ms."""
MOST_TEXTS = 4
"""Of a pattern that they do not decide, the longest."""
WILD = re.compile(r"(\*+|\?|\[!?+\]?+[^\]]*+\])")
"""What stands for other characters in a pattern, as in fnmatch."""


@dataclass(frozen=True)
class Form:
    """Texts that a path holds which is like a pattern, as path_text() writes it. is_enough: one that holds them is like it."""

    texts: tuple[str, ...]
    is_enough: bool


def matcher(pattern: str) -> Callable[[str], bool]:
    """What tells whether a value is like a pattern, whatever the case.

    * stands for any text, ? for a character, [ab] and [!ab] for one of some or of others; the value, or what follows a slash in
    it, is to have that form. A pattern without any of these may stand anywhere in it.
    """
    pattern = pattern.lower()
    if not re.search(r"[*?[]", pattern):
        return lambda value: pattern in value.lower()
    whole, tail = (re.compile(translate(form)) for form in (pattern, f"*/{pattern}"))
    return lambda value: bool(whole.match(value.lower()) or tail.match(value.lower()))


def forms(pattern: str) -> list[Form]:
    """The forms of a pattern, one of which each path has that is like it."""
    pattern = pattern.lower()
    if END in pattern:
        return [Form((), is_enough=False)]
    if not re.search(r"[*?[]", pattern):
        return [Form((pattern,) if pattern else (), is_enough=True)]
    first, *rest = WILD.split(pattern)
    starts = (END,) if not first and rest and rest[0].startswith("*") else (END, "/")
    return [_form([start + first, *rest]) for start in starts]


def _form(parts: list[str]) -> Form:
    """The form of texts, at even places, with what is wild between them; the first begins the path or a component of it."""
    parts[-1] += END
    texts = [text for text in parts[::2] if text not in ("", END)]
    is_fixed = [text.startswith(END) or text.endswith(END) for text in texts]
    in_order = all(not _may_overlap(one, other) for place, one in enumerate(texts) for other in texts[place + 1 :])
    is_enough = all(wild.startswith("*") for wild in parts[1::2]) and is_fixed.count(False) <= 1 and in_order
    return Form(tuple(texts if is_enough else sorted(texts, key=len)[-MOST_TEXTS:]), is_enough)


def _may_overlap(one: str, other: str) -> bool:
    """Whether a text can share characters of a path with one that is to follow it; one of them begins or ends the path."""
    if one in other or other in one:
        return True
    return any(one.endswith(other[:size]) for size in range(1, min(len(one), len(other))))


def path_text(path: str) -> str:
    """A path as texts are looked for in it."""
    return f"{END}{path.lower()}{END}"


def grams(text: str) -> str:
    """All runs of GRAM characters of a text, as words: those of a text that it holds follow each other in it.

    Words are of letters and digits alone, which no tokenizer splits; of other characters, and of x, they hold the code.
    """
    codes = [each if re.fullmatch("[a-wyz0-9]", each) else f"x{ord(each):x}x" for each in text]
    return " ".join("".join(codes[start : start + GRAM]) for start in range(len(codes) - GRAM + 1))


def like(patterns: Iterable[str]) -> Callable[[str], bool]:
    """What tells whether a value is like one of some patterns."""
    matchers = [matcher(pattern) for pattern in patterns]
    return lambda value: any(matches(value) for matches in matchers)
