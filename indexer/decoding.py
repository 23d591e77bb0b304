"""Recordings into clips in a process of its own, beside the embedding; what hangs or crashes takes only that process along."""

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from encoders.audio import Origin
from indexer.clips import Clip
from indexer.measures import Measures

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

    def read(self, path: str, file: Path) -> Iterator[Piece | Decoded]:
        """The clips of the recording at `path`, which lies in a file of this machine, and at the end Decoded."""
        process = self._process = self._process or self._start()
        try:
            pickle.dump((path, file), process.stdin)
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
            # glibc is to keep what a clip needed for the next one; fetched page by page it takes a tenth of the time
            "MALLOC_MMAP_THRESHOLD_": str(1 << 26),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
        }
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from indexer.decoder_process import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        pickle.dump(self._settings, process.stdin)
        return process
