"""What runs in the process of a Decoder: recordings are decoded, cut into clips and measured."""

import faulthandler
import math
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from encoders import AudioError, AudioReader
from encoders.voice_activity import VoiceActivity
from indexer.clips import Windows
from indexer.decoding import PATIENCE_SECONDS, Decoded, Piece
from indexer.measures import measure
from indexer.speech import SpeechClips


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
    path: str, file: Path, clip_seconds: float, everything: bool, activity: VoiceActivity, patience: Patience
) -> Iterator[Piece | Decoded]:
    """The recording's clips, and at the end Decoded; see Decoder."""
    started, reader = time.process_time(), AudioReader(file)
    blocks = patience.watch(reader)
    clips = Windows(blocks, clip_seconds) if everything else SpeechClips(blocks, clip_seconds, activity)
    failure = ""
    try:
        for clip in clips:
            yield Piece(path, clip, measure(clip.samples))
    except AudioError as error:
        failure = str(error)
    except Exception as error:  # what nobody foresaw is a failure of this recording, so that the others are read
        failure = f"reading it failed in a way that nobody foresaw ({error!r}); please report it"
    work = time.process_time() - started
    yield Decoded(clips.seconds, clips.other_seconds, reader.origin, failure, reader.damage, work)


def main() -> None:
    """Answers recordings on standard input, each as for decode, with events on standard output, while somebody listens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    activity, patience = VoiceActivity(), Patience()
    with suppress(EOFError, BrokenPipeError):
        settings = pickle.load(questions)
        while True:
            for event in decode(*pickle.load(questions), *settings, activity, patience):
                patience.rest()
                pickle.dump(event, answers, pickle.HIGHEST_PROTOCOL)
                answers.flush()
