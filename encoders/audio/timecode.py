"""Timecode of recordings: what a clapperboard, a camera or a broadcast wave says of their first moment."""

from fractions import Fraction

import av
from timecode.timecode import Timecode, TimecodeError

RATES = {
    Fraction(24000, 1001): "23.976",
    Fraction(24): "24",
    Fraction(25): "25",
    Fraction(30000, 1001): "29.97",
    Fraction(30): "30",
    Fraction(48): "48",
    Fraction(50): "50",
    Fraction(60000, 1001): "59.94",
    Fraction(60): "60",
}
"""Frame rates that have a timecode (SMPTE ST 12-1), in frames a second, and their names."""
MILLISECONDS = "ms"
"""Name of the rate of a time of day without frames."""
DAY_SECONDS = 86_400


def start_of(container: av.container.InputContainer, stream: av.AudioStream) -> tuple[str, str]:
    """Return the timecode of a file's first moment and the name of its rate; "" and "" for none.

    A broadcast wave counts samples since midnight, without frames; its timecode has milliseconds.
    """
    found = [each.metadata.get("timecode") for each in container.streams] + [container.metadata.get("timecode")]
    start = next((text for text in found if text), "")
    pictures = (each for each in container.streams if isinstance(each, av.VideoStream) and each.average_rate)
    rate = next((RATES[each.average_rate] for each in pictures if each.average_rate in RATES), "")
    samples = container.metadata.get("time_reference") or stream.metadata.get("time_reference") or ""
    if not (start and rate) and samples.isdecimal() and stream.codec_context.sample_rate:
        milliseconds = round(1000 * int(samples) / stream.codec_context.sample_rate) % (1000 * DAY_SECONDS)
        return str(Timecode(MILLISECONDS, frames=milliseconds + 1)), MILLISECONDS  # the library counts from 1
    try:
        return (str(Timecode(rate, start)), rate) if start and rate else ("", "")
    except (TimecodeError, ValueError):
        return "", ""


def timecode_at(seconds: float, start: str, rate: str) -> str:
    """Return the timecode that is some seconds after another one, or before it where they are negative."""
    frames = Timecode(rate, start).frame_number + round(seconds * frames_per_second(rate))
    return str(Timecode(rate, frames=max(0, frames) + 1))


def seconds_of(timecode: str, rate: str) -> float:
    """Return a timecode as seconds of real time since midnight; what drop-frame numbers leave out is no time."""
    return Timecode(rate, timecode).frame_number / frames_per_second(rate)


def frames_per_second(rate: str) -> float:
    """Return the frames a second of a rate by its name."""
    return next((float(exact) for exact, name in RATES.items() if name == rate), 1000.0)
