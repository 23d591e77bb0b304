"""Segmentation of a recording into clips of speech: cut at pauses, without silence, noise and music."""

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
import webrtcvad

from voxdex.encoders.audio.acoustics import voiced_fraction
from voxdex.encoders.audio.track import SAMPLE_RATE, Hole
from voxdex.encoders.audio.vad import CHUNK, SPEECH, SileroVad
from voxdex.indexer.pipeline.clips import Clip, clip_at

FRAME = 480
"""Samples in a frame of the WebRTC detector, 30 ms."""
AGGRESSIVENESS = 2
"""Mode of the WebRTC detector, 0 to 3."""
PAUSE_SECONDS = 1.0
"""Length of a pause that always ends a clip. Shorter pauses only end a clip that would be too long."""
MARGIN_SECONDS = 0.15
"""Silence that a clip keeps before and after speech."""
LEAST_FRAMES = 4
"""Minimum number of frames with possible speech in a clip."""
SETTLING_FRAMES = 3
"""Offset into the longest stretch of possible speech at which Silero VAD is checked first."""
FIRST_CHUNKS = 24
"""Chunks that Silero VAD checks there, 0.8 s, before it checks the whole clip."""
SPEECH_FRACTION = 0.08
"""Minimum fraction of speech in a clip. Instruments that sing pass for speech now and then."""
CERTAIN, RUN = 0.9, 8
"""Speech probability and number of consecutive chunks (a quarter of a second) that are sufficient by themselves."""
FAINT, FAINT_FRACTION, VOICED_FRACTION = 0.15, 0.1, 0.25
"""A clip is whispered speech if at least FAINT_FRACTION of its chunks have the speech probability FAINT, and at most
VOICED_FRACTION of it is voiced. Silero VAD hears few whispers: of 166 recordings of real ones 55 % have clips without this
rule, and 77 % with it. Of 1,264 stretches of music and noises (games' sounds, with cries) 5.0 % pass without it, 6.5 % with."""
LEAD_FRAMES, LEAD_LEVEL = 15, 0.1
"""A clip whose first frames (0.45 s) are all below this part of its loudest frame is looked through for noise before speech."""
QUIETEST = 5e-4
"""Level (full scale is 1) below which samples are not amplified further."""
PEAK_DECAY = 0.97
"""Factor per second by which the tracked peak level decays."""


class SpeechClips:
    """Segments a recording, block by block, into clips with speech.

    The WebRTC detector marks possible speech and pauses; Silero VAD then confirms that a clip has speech, or a whisper. At most
    one clip and one block are held in memory.

    Args:
        clip_seconds: maximum length of a clip.
        vad: Silero VAD of this thread.

    Attributes:
        seconds: duration of what was pushed.
        non_speech_seconds: duration of sound without speech, such as music and noise.
        pending: second from which on further clips may come.
    """

    def __init__(self, clip_seconds: float, vad: SileroVad) -> None:
        self._vad = vad
        self._most = int(clip_seconds * SAMPLE_RATE) // FRAME
        self.seconds = self.non_speech_seconds = 0.0
        self._first = self._quiet = 0
        self._frames: list[np.ndarray] = []
        self._active: list[bool] = []
        self._detector = _Detector()

    @property
    def pending(self) -> float:
        return self._first / SAMPLE_RATE

    def push(self, part: np.ndarray | Hole) -> Iterator[Clip]:
        """Take consecutive float32 samples, mono, 16 kHz, or a hole, which ends a clip; yield the clips that are complete."""
        if isinstance(part, Hole):
            yield from self.finish()
            self.seconds += part.samples / SAMPLE_RATE
            self._begin_stretch(round(self.seconds * SAMPLE_RATE))
            return
        self.seconds += len(part) / SAMPLE_RATE
        margin, pause = (round(seconds * SAMPLE_RATE / FRAME) for seconds in (MARGIN_SECONDS, PAUSE_SECONDS))
        for frame, is_active in self._detector.push(part):
            self._frames.append(frame)
            self._active.append(is_active)
            self._quiet = 0 if is_active else self._quiet + 1
            if self._quiet >= min(pause, len(self._frames)):
                cut = max(0, len(self._frames) - margin)
            elif len(self._frames) == self._most:
                cut = _cut_position(self._frames, self._active)
            else:
                continue
            yield from self._speech(self._first, self._frames[:cut], self._active[:cut], margin)
            self._first, self._frames, self._active = self._first + cut * FRAME, self._frames[cut:], self._active[cut:]

    def finish(self) -> Iterator[Clip]:
        """Yield the last clip."""
        frames, active = [*self._frames, *self._detector.rest()], self._active
        active = active + [False] * (len(frames) - len(active))
        yield from self._speech(self._first, frames, active, round(MARGIN_SECONDS * SAMPLE_RATE / FRAME))
        self._begin_stretch(round(self.seconds * SAMPLE_RATE))

    def _begin_stretch(self, position: int) -> None:
        """Begin a stretch of sound at a position in samples, with a detector of its own."""
        self._first, self._quiet, self._frames, self._active, self._detector = position, 0, [], [], _Detector()

    def _speech(self, start: int, frames: list[np.ndarray], active: list[bool], margin: int) -> Iterator[Clip]:
        """Yield the clip of these frames if it has speech. start: position of their first one in the recording, in samples."""
        voiced = np.flatnonzero(active)
        if len(voiced) < LEAST_FRAMES:
            return
        begin, end = max(0, voiced[0] - margin), voiced[-1] + 1 + margin
        samples = np.concatenate(frames[begin:end])
        sustained, until = _longest(active)
        if least := self._speech_probability(samples, (min(sustained + SETTLING_FRAMES, until - 1) - begin) * FRAME):
            lead = self._lead(samples, margin * FRAME, least)
            self.non_speech_seconds += lead / SAMPLE_RATE
            yield clip_at(start + int(begin) * FRAME + lead, samples[lead:])
        else:
            self.non_speech_seconds += len(samples) / SAMPLE_RATE

    def _lead(self, samples: np.ndarray, margin: int, least: float) -> int:
        """Return how many samples of noise a clip of speech begins with, less a margin; 0 for a short lead.

        Speech begins with a chunk of the probability `least`. The WebRTC detector takes the noise of a room for possible speech
        until it has heard something louder.
        """
        levels = np.sqrt(np.square(samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1))
        if len(levels) <= LEAD_FRAMES or levels[:LEAD_FRAMES].max() > LEAD_LEVEL * levels.max():
            return 0
        louder = samples * (0.5 / max(QUIETEST, np.abs(samples).max()))
        speech = (place for place, probability in enumerate(self._vad.probabilities(louder)) if probability >= least)
        lead = max(0, next(speech, 0) * CHUNK - margin) // FRAME * FRAME
        return lead if lead >= LEAD_FRAMES * FRAME else 0

    def _speech_probability(self, samples: np.ndarray, start: int) -> float:
        """Return from which probability on the chunks of a clip are speech, FAINT in a whisper; 0 where it has no speech.

        The clip is heard soon after `start`, in samples, and where that does not decide it, as a whole.
        """
        louder = samples * (0.5 / max(QUIETEST, np.abs(samples).max()))
        enough = max(2, SPEECH_FRACTION * len(samples) / CHUNK)
        for part in (louder[start : start + FIRST_CHUNKS * CHUNK], louder):
            heard, run = Counter[float](), 0
            for probability in self._vad.probabilities(part):
                heard.update(least for least in (SPEECH, FAINT) if probability >= least)
                run = run + 1 if probability >= CERTAIN else 0
                if heard[SPEECH] >= enough or run >= RUN:
                    return SPEECH
        is_whisper = heard[FAINT] >= max(2, FAINT_FRACTION * len(samples) / CHUNK)
        return FAINT if is_whisper and voiced_fraction(samples) <= VOICED_FRACTION else 0.0


class _Detector:
    """Marks the frames of a stretch of sound that may be speech."""

    def __init__(self) -> None:
        self._vad, self._loudest, self._rest = webrtcvad.Vad(AGGRESSIVENESS), QUIETEST, np.zeros(0, np.float32)

    def push(self, block: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
        """Yield the frames that are complete, and whether each has possible speech."""
        self._loudest = max(QUIETEST, np.abs(block).max(), self._loudest * PEAK_DECAY ** (len(block) / SAMPLE_RATE))
        samples = np.concatenate([self._rest, block])
        whole, self._rest = np.split(samples, [len(samples) // FRAME * FRAME])
        sound = (whole * (16_000 / self._loudest)).astype(np.int16).tobytes()
        for start in range(0, len(whole), FRAME):
            yield whole[start : start + FRAME], self._vad.is_speech(sound[2 * start : 2 * (start + FRAME)], SAMPLE_RATE)

    def rest(self) -> list[np.ndarray]:
        """Return what is left after the last whole frame."""
        return [self._rest] if len(self._rest) else []


def _cut_position(frames: list[np.ndarray], active: list[bool]) -> int:
    """Return the middle of the longest pause in the second half, in frames; without a pause, the quietest position."""
    half = len(active) // 2
    if not all(active[half:]):
        begin, end = _longest(np.logical_not(active[half:]))
        return half + (begin + end + 1) // 2
    energy = [np.square(frame).mean() for frame in frames[half:]]
    smoothed = np.convolve(energy, np.ones(5), "same")
    return half + int(smoothed.argmin())


def _longest(flags: Iterable[bool]) -> tuple[int, int]:
    """Return begin and end of the longest stretch of true flags; there is at least one."""
    stretches = np.flatnonzero(np.diff([False, *flags, False])).reshape(-1, 2)
    begin, end = stretches[np.diff(stretches, axis=1).argmax()]
    return int(begin), int(end)
