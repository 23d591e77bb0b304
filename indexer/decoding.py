"""Recordings into clips in a process of its own, beside the embedding; what hangs or crashes takes only that process along."""

import faulthandler
import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import AudioError, AudioReader
from encoders.audio import Origin
from encoders.voice_activity import VoiceActivity
from indexer.clips import Clip, Windows
from indexer.measures import Measures, measure
from indexer.speech import SpeechClips

PATIENCE_SECONDS = 60.0
"""How long a decoder may take over one block of sound."""
HUNG = 1
"""Exit status of a process that ran out of patience."""


@dataclass(frozen=True)
class Piece:
    """A clip of the recording at `path`, and what was measured of it."""

    path: str
    clip: Clip
    measures: Measures


@dataclass(frozen=True)
class Decoded:
    """A recording has been decoded to its end.

    audio_seconds: how long it lasts; other_seconds: how much of that is sound, but not speech. failure: why it has no
    clips. damage: what is missing of it. work_seconds: processor time it took.
    """

    audio_seconds: float = 0.0
    other_seconds: float = 0.0
    origin: Origin | None = None
    failure: str = ""
    damage: str | None = None
    work_seconds: float = 0.0


class Decoder:
    """A process that decodes one recording after another; it is started when it is first needed, and again after it died.

    Args:
        clip_seconds: most that a clip lasts.
        everything: make clips of all sound, not of speech alone.
    """

    def __init__(self, clip_seconds: float, everything: bool) -> None:
        self._settings = (clip_seconds, everything)
        self._process: subprocess.Popen | None = None

    def read(self, path: str) -> Iterator[Piece | Decoded]:
        """The recording's clips, and at the end Decoded."""
        process = self._process = self._process or self._start()
        try:
            pickle.dump(path, process.stdin)
            process.stdin.flush()
            while True:
                event = pickle.load(process.stdout)
                yield event
                if isinstance(event, Decoded):
                    return
        except (EOFError, OSError, pickle.UnpicklingError):
            status = process.wait()
            self._process = None
            hung = f"its decoder was stopped after {PATIENCE_SECONDS:.0f} s in which nothing came of it"
            yield Decoded(failure=hung if status == HUNG else f"its decoder crashed on it (status {status})")

    def close(self) -> None:
        """Ends the process, whatever it does."""
        if self._process:
            self._process.kill()
            self._process.communicate()

    def _start(self) -> subprocess.Popen:
        here = str(Path(__file__).parent.parent)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH")))),
            "OPENBLAS_NUM_THREADS": "1",  # its products are small, and waiting threads would starve the embedding
        }
        process = subprocess.Popen(
            [sys.executable, "-c", "from indexer.decoding import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        pickle.dump(self._settings, process.stdin)
        return process


class Patience:
    """Ends this process when nothing has come of its work for too long; waiting for a reader of its answers is no work."""

    def __init__(self) -> None:
        self._nowhere = os.open(os.devnull, os.O_WRONLY)
        self._renewed = -math.inf

    def watch(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks, each of them a sign of life."""
        try:
            self._renew()
            for block in blocks:
                yield block
                self._renew()
        finally:
            self.rest()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed > PATIENCE_SECONDS / 6:
            faulthandler.dump_traceback_later(PATIENCE_SECONDS, exit=True, file=self._nowhere)
            self._renewed = time.monotonic()

    def rest(self) -> None:
        """Waits for ever, until the next block."""
        faulthandler.cancel_dump_traceback_later()
        self._renewed = -math.inf


def decode(
    path: Path, clip_seconds: float, everything: bool, activity: VoiceActivity, patience: Patience
) -> Iterator[Piece | Decoded]:
    """The recording's clips, and at the end Decoded."""
    started, reader = time.process_time(), AudioReader(path)
    blocks = patience.watch(reader)
    clips = Windows(blocks, clip_seconds) if everything else SpeechClips(blocks, clip_seconds, activity)
    failure = ""
    try:
        for clip in clips:
            yield Piece(str(path), clip, measure(clip.samples))
    except AudioError as error:
        failure = str(error)
    except Exception as error:  # what nobody foresaw is a failure of this recording, so that the others are read
        failure = f"reading it failed in a way that nobody foresaw ({error!r}); please report it"
    work = time.process_time() - started
    yield Decoded(clips.seconds, clips.other_seconds, reader.origin, failure, reader.damage, work)


def main() -> None:
    """Answers paths on standard input with events on standard output, until there are no more or nobody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    activity, patience = VoiceActivity(), Patience()
    with suppress(EOFError, BrokenPipeError):
        settings = pickle.load(questions)
        while True:
            for event in decode(Path(pickle.load(questions)), *settings, activity, patience):
                patience.rest()
                pickle.dump(event, answers, pickle.HIGHEST_PROTOCOL)
                answers.flush()
