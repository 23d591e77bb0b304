"""Values of filters and payloads as text: numbers, and dates in ISO 8601 or as tags have them."""

import math
import re
from datetime import UTC, datetime, timedelta


def as_number(text: str) -> float | None:
    """Parse a finite number; None where the text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def as_period(text: str) -> tuple[datetime, datetime] | None:
    """Parse the time span of a date, end excluded: a year, month, day or second in UTC; None where the text is none."""
    parts = re.fullmatch(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d:\d\d:\d\d)Z?)?)?)?", text)
    if not parts:
        return None
    year, month, day, time = parts.groups()
    try:
        begin = datetime.fromisoformat(f"{year}-{month or '01'}-{day or '01'}T{time or '00:00:00'}+00:00")
    except ValueError:
        return None
    try:
        if time or day:
            return begin, begin + (timedelta(seconds=1) if time else timedelta(days=1))
        months = begin.year * 12 + begin.month - 1 + (1 if month else 12)
        return begin, datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)
    except (OverflowError, ValueError):  # the last of all times
        return begin, datetime.max.replace(tzinfo=UTC)


def is_day(text: str) -> bool:
    """Return whether a text is a day or a second of one, as fields of the kind "date" hold."""
    return text.count("-") == 2 and as_period(text) is not None


def as_tag_period(text: str) -> tuple[datetime, datetime] | None:
    """Parse the time span of a date in a form of tags as well: 2019:05:31 10:00:00, 20190531, 31.5.2019; None for none."""
    text = text.strip()
    parts = re.match(r"(\d{4})([-:/.])(\d\d?)(?:\2(\d\d?))?(?![\d.])", text) or re.fullmatch(r"(\d{4})()(\d\d)(\d\d)", text)
    if parts:
        year, _, month, day = parts.groups()
    elif parts := re.fullmatch(r"(\d\d?)\.(\d\d?)\.(\d{4})", text):
        day, month, year = parts.groups()
    else:
        return as_period(text)
    return as_period(f"{year}-{month:0>2}" + (f"-{day:0>2}" if day else ""))
