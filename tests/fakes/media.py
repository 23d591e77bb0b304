"""Files of several tracks, with late sound, holes and pictures, written by FFmpeg's libraries."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from tests.fakes.sounds import RATE

PICTURES_A_SECOND = Fraction(25)


@dataclass(frozen=True)
class Track:
    """Sound of a track, float32 [channels, samples] at 16 kHz. late: second at which it begins. hole: seconds that are lost."""

    sound: np.ndarray
    late: float = 0.0
    hole: tuple[float, float] | None = None


def write_media(
    path: Path,
    tracks: Sequence[Track],
    codec: str,
    *,
    rate: int = 48_000,
    picture: str = "",
    container: str | None = None,
    options: dict[str, str] | None = None,
    timecode: str = "",
    pictures: Fraction = PICTURES_A_SECOND,
) -> Path:
    """Write tracks, and a picture by the codec `picture` from the beginning to the end of the longest."""
    with av.open(str(path), "w", format=container, options=options or {}) as out:
        film = out.add_stream(picture, rate=pictures, width=64, height=48, pix_fmt="yuv420p") if picture else None
        if timecode:
            out.metadata["timecode"] = timecode
        packets = [packet for track in tracks for packet in _encoded(out, track, codec, rate)]
        seconds = max(track.late + track.sound.shape[1] / RATE for track in tracks)
        if film:
            for number in range(int(seconds * pictures)):
                frame = av.VideoFrame(64, 48, "yuv420p")
                frame.pts, frame.time_base = number, 1 / pictures
                packets += film.encode(frame)
            packets += film.encode(None)
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            out.mux(packet)
    return path


def _encoded(out: av.container.OutputContainer, track: Track, codec: str, rate: int) -> list[av.Packet]:
    """Encode a track, without the packets of its hole."""
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(track.sound)]
    stream = out.add_stream(codec, rate=rate, layout=layout)
    stream.bit_rate = 64_000 * len(track.sound)
    frame = av.AudioFrame.from_ndarray(track.sound.T.reshape(1, -1).astype(np.float32).copy(), format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
    packets = []
    for resampled in (*resampler.resample(frame), *resampler.resample(None)):
        packets += stream.encode(resampled)
    packets += stream.encode(None)
    kept = []
    for packet in packets:
        time = float(packet.pts * packet.time_base)
        if not (track.hole and track.hole[0] <= time < track.hole[1]):
            shift = round(track.late / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            kept.append(packet)
    return kept
