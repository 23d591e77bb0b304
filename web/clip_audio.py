"""What is heard and seen of a clip: its sound, cut out of the recording, and its waveform."""

import os
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.reader import AudioError, read_audio
from voxdex.encoders.audio.remote import Location, is_url
from voxdex.search.clip_audio import extract_clips
from voxdex.search.query import ClipRecord

KEPT = 500
"""Clips that stay cut out."""
BARS = 200
"""Of a waveform."""
MOST_AROUND = 60.0
"""Seconds before and after a clip that may be heard too."""
TYPES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".opus": "audio/ogg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".webm": "audio/webm",
}
"""What browsers play, by suffix."""


class ClipAudioCache:
    """Cuts clips out when they are asked for, and keeps the last ones until close()."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="voxdex-clips-")
        self._kept: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def sound(self, clip: ClipRecord, around: float = 0.0) -> Path:
        """A file with a clip's sound in a form that browsers play, and `around` seconds before and after it.

        Raises:
            AudioError: the recording is gone, leads out of its folder, or cannot be read.
        """
        around = min(around, MOST_AROUND)
        key = f"{clip.id}-{around:g}"
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        start, end = max(0.0, clip.start - around), clip.end + around
        file = extract_clips(
            recording_of(clip), start, end, Path(self._folder.name), f"{key}-{threading.get_ident()}", playable=True
        )
        with self._lock:
            self._kept[key] = file
            gone = self._kept.popitem(last=False)[1] if len(self._kept) > KEPT else None
        if gone:
            gone.unlink(missing_ok=True)
        return file

    def close(self) -> None:
        """Removes them."""
        self._folder.cleanup()

    def peaks(self, clip: ClipRecord) -> list[float]:
        """The waveform of a clip in BARS steps, each the loudest sample in it, 0 to 1.

        Raises:
            AudioError: see sound.
        """
        samples = np.abs(read_audio(self.sound(clip)))
        edges = np.linspace(0, len(samples), min(BARS, len(samples)) + 1).astype(int)
        return np.maximum.reduceat(samples, edges[:-1]).clip(0, 1).round(3).tolist()


def recording_of(clip: ClipRecord) -> Location:
    """The recording of a clip, on this machine or elsewhere.

    Raises:
        AudioError: it is gone, or has become a link that leads out of its folder.
    """
    if is_url(clip.recording):
        return clip.recording
    path = Path(clip.recording)
    if Path(os.path.realpath(path)).parent != Path(os.path.realpath(path.parent)):
        raise AudioError("it is a link that leads out of its folder")
    if not path.is_file():
        raise AudioError("it is gone, or its disk is not mounted")
    return path


def is_played(clip: ClipRecord) -> bool:
    """Whether browsers play the recording of a clip as it is; only those of this machine are handed out whole."""
    return not is_url(clip.recording) and Path(clip.recording).suffix.lower() in TYPES
