"""What the process of a Decoder does: a recording is decoded, cut into clips and measured."""

import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from voxdex.encoders.audio.acoustics import measure
from voxdex.encoders.audio.reader import AudioDecoder, AudioError, PassingAudioError, unforeseen
from voxdex.encoders.audio.vad import SileroVad
from voxdex.encoders.machine import peak_memory
from voxdex.indexer.pipeline.clips import Windows
from voxdex.indexer.pipeline.decoder import DecodeSummary, SegmentedClip
from voxdex.indexer.pipeline.segmentation import SpeechClips


def decode(path: str, file: Path, clip_seconds: float, everything: bool) -> Iterator[SegmentedClip | DecodeSummary]:
    """The recording's clips, and at the end DecodeSummary; see Decoder."""
    started, decoder = time.process_time(), AudioDecoder(file)
    clips = Windows(decoder, clip_seconds) if everything else SpeechClips(decoder, clip_seconds, _voice_activity())
    failure, is_passing = "", False
    try:
        for clip in clips:
            yield SegmentedClip(path, clip, measure(clip.samples))
    except AudioError as error:
        failure, is_passing = str(error), isinstance(error, PassingAudioError)
    except Exception as error:  # what nobody foresaw is a failure of this recording, so that the others are read
        failure, is_passing = unforeseen(error), True
    work = time.process_time() - started
    peak = None if sys.platform == "win32" else peak_memory()
    yield DecodeSummary(clips.seconds, clips.other_seconds, decoder.origin, failure, is_passing, decoder.damage, work, peak)


@cache
def _voice_activity() -> SileroVad:
    return SileroVad()
