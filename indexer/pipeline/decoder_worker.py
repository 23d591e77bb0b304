"""The process of a Decoder: decodes a recording, segments its sources and measures their clips."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

from voxdex.encoders.audio.acoustics import measure
from voxdex.encoders.audio.container import AudioError, PassingAudioError, unforeseen
from voxdex.encoders.audio.reader import AudioDecoder
from voxdex.encoders.audio.sources import Source
from voxdex.encoders.audio.vad import SileroVad
from voxdex.encoders.machine import peak_memory
from voxdex.indexer.pipeline.clips import Clip, Segmenter, Windows
from voxdex.indexer.pipeline.decoder import DecodeSummary, Segmentation, SegmentedClip
from voxdex.indexer.pipeline.overlap import Overlaps
from voxdex.indexer.pipeline.segmentation import SpeechClips


def decode(path: str, file: Path, segmentation: Segmentation) -> Iterator[SegmentedClip | DecodeSummary]:
    """Yield the clips of the recording at `path`, from a local file, and its DecodeSummary at the end."""
    started, decoder = time.process_time(), AudioDecoder(file, is_first_only=not segmentation.vad)
    segmenters: dict[Source, Segmenter] = {}
    overlaps = Overlaps()
    failure, is_passing = "", False
    try:
        for clip in _clips(decoder, segmentation, segmenters, overlaps):
            yield SegmentedClip(path, clip, measure(clip.samples))
    except AudioError as error:
        failure, is_passing = str(error), isinstance(error, PassingAudioError)
    except Exception as error:  # an unforeseen error fails this recording only
        failure, is_passing = unforeseen(error), True
    yield DecodeSummary(
        audio_seconds=max((each.seconds for each in segmenters.values()), default=0.0),
        non_speech_seconds=min((each.non_speech_seconds for each in segmenters.values()), default=0.0),
        repeated_clips=overlaps.copies,
        unused_tracks=0 if segmentation.vad else max(0, decoder.tracks - 1),
        origin=decoder.origin,
        failure=failure,
        is_passing=is_passing,
        damage=decoder.damage,
        work_seconds=time.process_time() - started,
        peak_bytes=None if sys.platform == "win32" else peak_memory(),
    )


def _clips(
    decoder: AudioDecoder, segmentation: Segmentation, segmenters: dict[Source, Segmenter], overlaps: Overlaps
) -> Iterator[Clip]:
    """Yield the clips of all sources; the same speech in several sources once."""
    for source, part in decoder:
        segmenter = segmenters.get(source) or segmenters.setdefault(source, _segmenter(segmentation))
        for clip in segmenter.push(part):
            if len(decoder.sources) == 1:
                yield _placed(clip, source, decoder)
            else:
                overlaps.add(_placed(clip, source, decoder), decoder.sources.index(source))
        if len(segmenters) == len(decoder.sources) > 1:
            yield from overlaps.take(min(each.pending for each in segmenters.values()))
    for source, segmenter in segmenters.items():
        for clip in segmenter.finish():
            overlaps.add(_placed(clip, source, decoder), decoder.sources.index(source))
    yield from overlaps.take(float("inf"))


def _placed(clip: Clip, source: Source, decoder: AudioDecoder) -> Clip:
    """Return a clip with the numbers of its track and channel."""
    track = source.track + 1 if decoder.tracks > 1 else None
    return replace(clip, track=track, channel=None if source.channel is None else source.channel + 1)


def _segmenter(segmentation: Segmentation) -> Segmenter:
    return SpeechClips(segmentation.clip_seconds, _vad()) if segmentation.vad else Windows(segmentation.clip_seconds)


@cache
def _vad() -> SileroVad:
    return SileroVad()
