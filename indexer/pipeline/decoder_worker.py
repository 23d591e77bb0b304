"""The process of a Decoder: decodes a recording, segments it and measures its clips."""

import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from voxdex.encoders.audio.acoustics import measure
from voxdex.encoders.audio.container import AudioError, PassingAudioError, unforeseen
from voxdex.encoders.audio.reader import AudioDecoder
from voxdex.encoders.audio.vad import SileroVad
from voxdex.encoders.machine import peak_memory
from voxdex.indexer.pipeline.clips import Windows
from voxdex.indexer.pipeline.decoder import DecodeSummary, Segmentation, SegmentedClip
from voxdex.indexer.pipeline.segmentation import SpeechClips


def decode(path: str, file: Path, segmentation: Segmentation) -> Iterator[SegmentedClip | DecodeSummary]:
    """Yield the clips of the recording at `path`, from a local file, and its DecodeSummary at the end."""
    started, decoder = time.process_time(), AudioDecoder(file)
    seconds = segmentation.clip_seconds
    clips = SpeechClips(decoder, seconds, _vad()) if segmentation.vad else Windows(decoder, seconds)
    failure, is_passing = "", False
    try:
        for clip in clips:
            yield SegmentedClip(path, clip, measure(clip.samples))
    except AudioError as error:
        failure, is_passing = str(error), isinstance(error, PassingAudioError)
    except Exception as error:  # an unforeseen error fails this recording only
        failure, is_passing = unforeseen(error), True
    yield DecodeSummary(
        audio_seconds=clips.seconds,
        non_speech_seconds=clips.non_speech_seconds,
        origin=decoder.origin,
        failure=failure,
        is_passing=is_passing,
        damage=decoder.damage,
        work_seconds=time.process_time() - started,
        peak_bytes=None if sys.platform == "win32" else peak_memory(),
    )


@cache
def _vad() -> SileroVad:
    return SileroVad()
