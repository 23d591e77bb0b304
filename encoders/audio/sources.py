"""Sources of speech in a recording: its tracks, and the channels of a track where they differ."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import av
import numpy as np

from voxdex.encoders.audio.container import audio_streams, is_sought_exactly, open_media
from voxdex.encoders.audio.track import SAMPLE_RATE, Hole, TrackDecoder

FIRST_SECONDS, FURTHER_SECONDS, FURTHER_PLACES = 20.0, 5.0, 6
"""Seconds that are surveyed at the beginning of a recording, and at how many further places how many."""
BLOCK = SAMPLE_RATE // 10
"""Samples of a block, within which channels are compared."""
LEAST_POWER, LEAST_RELATIVE_POWER = 1e-6, 1e-3
"""Power (full scale is 1) above which a channel is active, also relative to the loudest blocks of the track."""
LIVE_FRACTION = 0.06
"""Fraction of the blocks in which a channel is active, below which it counts for nothing."""
SIMILAR, TOGETHER = 0.5, 0.7
"""Correlation of channels with the same sound, and fraction of their active blocks in which both are active."""


@dataclass(frozen=True)
class Source:
    """A track of a recording, or one of its channels.

    track: number among the audio streams, from 0. channel: number among the channels, from 0; None for the mean of all.
    """

    track: int
    channel: int | None = None

    def select(self, block: np.ndarray) -> np.ndarray:
        """Return the source's sound of a block [channels, samples] of its track: [samples]."""
        if self.channel is not None and self.channel < len(block):
            return block[self.channel]
        return block[0] if len(block) == 1 else block.mean(axis=0)


def find_sources(file: Path, streams: Sequence[av.AudioStream]) -> list[Source]:
    """Return the sources of a recording, those with the most speech first, else the one that players choose.

    The mean of a track's channels is one where they have the same sound; else each channel is one.

    Args:
        file: the recording; it is opened again where there is a choice.
        streams: its audio streams, see audio_streams.
    """
    if len(streams) == 1 and streams[0].codec_context.channels < 2:
        return [Source(0)]
    with open_media(file) as container:
        surveyed, best = _survey(container, file), container.streams.best("audio")
        preferred = best.index if best else 0
    sources = [Source(track, channel) for track in range(len(streams)) for channel in choose_channels(surveyed.get(track, ()))]
    if len(sources) > 1:
        fractions = {source: _speech_fraction(source, surveyed.get(source.track, ())) for source in sources}
        sources.sort(key=lambda source: (-fractions[source], streams[source.track].index != preferred))
    return sources


def choose_channels(blocks: Sequence[np.ndarray]) -> tuple[int | None, ...]:
    """Return the channels of a track to read by themselves, one of each group with the same sound; (None,) for the mean of all.

    Args:
        blocks: parts of the track, float32 [channels, samples].
    """
    whole = [block[:, : block.shape[1] // BLOCK * BLOCK] for block in blocks if len(block) == len(blocks[0])]
    cut = [block.reshape(len(block), -1, BLOCK).swapaxes(0, 1) for block in whole if block.size]
    if not cut or len(whole[0]) < 2:
        return (None,)
    sound = np.concatenate(cut)
    products = sound @ sound.swapaxes(1, 2) / BLOCK
    power = np.diagonal(products, axis1=1, axis2=2)
    active = power > max(LEAST_POWER, LEAST_RELATIVE_POWER * np.percentile(power.max(axis=1), 95))
    live = np.flatnonzero(active.mean(axis=0) > LIVE_FRACTION)
    if len(live) < 2:
        return (None,)
    groups: dict[int, list[float]] = {}
    """Correlations of the members of each group with its first channel."""
    for channel in map(int, live):
        for first in groups:
            pair = [first, channel]
            similar = _correlation(products[:, first, channel], power[:, pair], active[:, pair])
            if abs(similar) > SIMILAR:
                groups[first].append(similar)
                break
        else:
            groups[channel] = []
    is_opposite = min(chain.from_iterable(groups.values()), default=0.0) < 0  # the mean would cancel
    return tuple(groups) if len(groups) > 1 or is_opposite else (None,)


def _correlation(product: np.ndarray, power: np.ndarray, active: np.ndarray) -> float:
    """Return the mean correlation of two channels over blocks in which both are active; 0 where they mostly take turns.

    Args:
        product: their mean product, [blocks]. power, active: of both, [blocks, 2].
    """
    both = active.all(axis=1)
    if both.sum() < TOGETHER * active.any(axis=1).sum():
        return 0.0
    return float(np.mean(product[both] / np.sqrt(power[both].prod(axis=1))))


def _survey(container: av.container.InputContainer, file: Path) -> dict[int, list[np.ndarray]]:
    """Return sound of each track, float32 [channels, samples] each, from several places of a recording."""
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    streams, seconds = audio_streams(container), (container.duration or 0) / av.time_base
    places: list[float] = []
    if seconds > 3 * FIRST_SECONDS and is_sought_exactly(file):
        places = np.linspace(0, seconds, FURTHER_PLACES + 2)[1:-1].tolist()
    for number, place in enumerate((0.0, *places)):
        if number:
            container.seek(int(place * av.time_base) + (container.start_time or 0))
        for track, block in _sound(container, streams, FURTHER_SECONDS if number else FIRST_SECONDS):
            found[track].append(block)
    return found


def _sound(
    container: av.container.InputContainer, streams: Sequence[av.AudioStream], seconds: float
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield tracks and their blocks, up to a length of the longest."""
    decoders = {
        stream.index: (track, TrackDecoder(container, stream, is_continuous=False)) for track, stream in enumerate(streams)
    }
    try:
        for packet in container.demux(streams):
            track, decoder = decoders[packet.stream.index]
            for part in decoder.push(packet):
                if not isinstance(part, Hole):
                    yield track, part
            if decoder.seconds > seconds:
                return
        for track, decoder in decoders.values():
            for part in decoder.finish():
                if not isinstance(part, Hole):
                    yield track, part
    except av.error.FFmpegError:
        return  # told of by whoever reads the recording


def _speech_fraction(source: Source, blocks: Sequence[np.ndarray]) -> float:
    """Return the fraction of a source's surveyed sound that is speech."""
    from voxdex.encoders.audio.vad import SPEECH, SileroVad  # most recordings do without

    if not blocks:
        return 0.0
    sound = np.concatenate([source.select(block) for block in blocks])
    louder = sound * (0.5 / max(1e-3, np.abs(sound).max(initial=0.0)))
    return float(np.mean([probability >= SPEECH for probability in SileroVad().probabilities(louder)] or [False]))
