"""A recording as a stream of clips of speech: cut at pauses, without silence, noise and music."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import webrtcvad

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.audio.vad import CHUNK, SPEECH, SileroVad
from voxdex.indexer.pipeline.clips import Clip, clip_at

FRAME = 480
"""Samples of which the quick detector says whether they may be speech: 30 ms."""
AGGRESSIVENESS = 2
"""Of the quick detector, 0 to 3."""
PAUSE_SECONDS = 1.0
"""Of silence, that always end a clip; shorter ones do where it would be too long."""
MARGIN_SECONDS = 0.15
"""What a clip keeps of the silence around it."""
LEAST_FRAMES = 4
"""Of possible speech in a clip."""
SETTLING_FRAMES = 3
"""So far into the longest stretch of possible speech Silero VAD is soonest sure of it."""
MOMENT = 24
"""Chunks that it listens to there before it listens to all of the clip, 0.8 s."""
SHARE = 0.08
"""Of a clip that must be speech, as instruments that sing are taken for it now and then."""
CERTAIN, RUN = 0.9, 8
"""Speech that is as certain as that, for so many chunks on end, a quarter of a second, is enough as well."""
QUIETEST = 5e-4
"""A level (full scale is 1) that is brought up as far as one below it would be."""
FORGETTING = 0.97
"""What is left after a second of the loudest level heard before."""


class SpeechClips:
    """Cuts a recording, block by block, into clips in which somebody speaks.

    A quick detector finds what may be speech, and pauses; Silero VAD then listens to each clip until it is sure that
    somebody speaks in it. No more than a clip and a block are held in memory.

    Args:
        blocks: float32 samples, mono at 16 kHz, one after another.
        clip_seconds: most that a clip lasts.
        activity: the detector of this thread.

    Attributes, complete after the last clip:
        seconds: how long the recording lasts.
        other_seconds: how much of it is sound, but not speech: music, noise.
    """

    def __init__(self, blocks: Iterable[np.ndarray], clip_seconds: float, activity: SileroVad) -> None:
        self._blocks, self._activity = blocks, activity
        self._most = int(clip_seconds * SAMPLE_RATE) // FRAME
        self.seconds = self.other_seconds = 0.0

    def __iter__(self) -> Iterator[Clip]:
        margin, pause = (round(seconds * SAMPLE_RATE / FRAME) for seconds in (MARGIN_SECONDS, PAUSE_SECONDS))
        first, frames, active, quiet = 0, [], [], 0
        for frame, is_active in self._frames():
            frames.append(frame)
            active.append(is_active)
            quiet = 0 if is_active else quiet + 1
            if quiet >= min(pause, len(frames)):
                cut = len(frames) - margin
            elif len(frames) == self._most:
                cut = _place_to_cut(frames, active)
            else:
                continue
            yield from self._speech(first, frames[:cut], active[:cut], margin)
            first, frames, active = first + max(cut, 0), frames[max(cut, 0) :], active[max(cut, 0) :]
        yield from self._speech(first, frames, active, margin)

    def _frames(self) -> Iterator[tuple[np.ndarray, bool]]:
        """Frames of the recording, the last one shorter, and whether each may be speech."""
        detector, loudest, rest = webrtcvad.Vad(AGGRESSIVENESS), QUIETEST, np.zeros(0, np.float32)
        for block in self._blocks:
            self.seconds += len(block) / SAMPLE_RATE
            loudest = max(QUIETEST, np.abs(block).max(), loudest * FORGETTING ** (len(block) / SAMPLE_RATE))
            rest = np.concatenate([rest, block])
            whole = rest[: len(rest) // FRAME * FRAME]
            sound = (whole * (16_000 / loudest)).astype(np.int16).tobytes()
            for start in range(0, len(whole), FRAME):
                yield whole[start : start + FRAME], detector.is_speech(sound[2 * start : 2 * (start + FRAME)], SAMPLE_RATE)
            rest = rest[len(whole) :]
        if len(rest):
            yield rest, False

    def _speech(self, first: int, frames: list[np.ndarray], active: list[bool], margin: int) -> Iterator[Clip]:
        """The clip of these frames, `first` the number of theirs in the recording, if somebody speaks in it."""
        found = np.flatnonzero(active)
        if len(found) < LEAST_FRAMES:
            return
        begin, end = max(0, found[0] - margin), found[-1] + 1 + margin
        samples = np.concatenate(frames[begin:end])
        sustained, until = _longest(active)
        if self._is_speech(samples, (min(sustained + SETTLING_FRAMES, until - 1) - begin) * FRAME):
            yield clip_at((first + begin) * FRAME, samples)
        else:
            self.other_seconds += len(samples) / SAMPLE_RATE

    def _is_speech(self, samples: np.ndarray, start: int) -> bool:
        """Whether somebody speaks in a clip, as a moment from `start` on tells, or all of it."""
        louder = samples * (0.5 / max(QUIETEST, np.abs(samples).max()))
        enough = max(2, SHARE * len(samples) / CHUNK)
        return self._hears(louder[start : start + MOMENT * CHUNK], enough) or self._hears(louder, enough)

    def _hears(self, samples: np.ndarray, enough: float) -> bool:
        """Whether so many chunks are speech, or a run of them certainly is."""
        heard, run = 0, 0
        for probability in self._activity.probabilities(samples):
            heard += probability >= SPEECH
            run = run + 1 if probability >= CERTAIN else 0
            if heard >= enough or run >= RUN:
                return True
        return False


def _place_to_cut(frames: list[np.ndarray], active: list[bool]) -> int:
    """The middle of the longest pause in the second half, or without one, where it is quietest."""
    half = len(active) // 2
    if not all(active[half:]):
        begin, end = _longest(np.logical_not(active[half:]))
        return half + (begin + end + 1) // 2
    energy = [np.square(frame).mean() for frame in frames[half:]]
    return half + int(np.convolve(energy, np.ones(5), "same").argmin())


def _longest(flags: Sequence[bool]) -> tuple[int, int]:
    """Where the longest stretch of true flags begins and ends; there is one."""
    stretches = np.flatnonzero(np.diff([False, *flags, False])).reshape(-1, 2)
    begin, end = stretches[np.diff(stretches, axis=1).argmax()]
    return int(begin), int(end)
