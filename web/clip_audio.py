"""Audio and waveforms of clips for browsers."""

import os
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.audio.remote import Location, is_url
from voxdex.search.clip_audio import extract_clip
from voxdex.search.query import ClipRecord

MAX_CLIPS = 500
"""Clips in the cache."""
BARS = 200
"""Values of a waveform."""
MAX_CONTEXT_SECONDS = 60.0
"""Longest context before and after a clip, in seconds."""
MEDIA_TYPES = {
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
"""Media types that browsers play, by suffix."""


class ClipAudioCache:
    """Audio files of clips, cut out of their recordings on request; the latest are kept until close()."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="voxdex-clips-")
        self._files: OrderedDict[str, Path] = OrderedDict()
        self._lock = threading.Lock()

    def file(self, clip: ClipRecord, around: float = 0.0) -> Path:
        """Return a file that browsers play, with a clip's audio and `around` seconds before and after it.

        Raises:
            AudioError: the recording is gone, is a link out of its folder, or cannot be read.
        """
        around = min(around, MAX_CONTEXT_SECONDS)
        key = f"{clip.id}-{around:g}"
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        file = cut_out(clip, Path(self._folder.name), f"{key}-{threading.get_ident()}", around)
        with self._lock:
            self._files[key] = file
            oldest = self._files.popitem(last=False)[1] if len(self._files) > MAX_CLIPS else None
        if oldest:
            oldest.unlink(missing_ok=True)
        return file

    def close(self) -> None:
        """Delete all files."""
        self._folder.cleanup()

    def peaks(self, clip: ClipRecord) -> list[float]:
        """Return the waveform of a clip: the loudest sample, 0 to 1, of each of BARS equal parts.

        Raises:
            AudioError: see file.
        """
        samples = np.abs(read_audio(self.file(clip)))
        edges = np.linspace(0, len(samples), min(BARS, len(samples)) + 1).astype(int)
        return np.maximum.reduceat(samples, edges[:-1]).clip(0, 1).round(3).tolist()


def cut_out(clip: ClipRecord, folder: Path, name: str, around: float = 0.0) -> Path:
    """Write a clip's audio, and `around` seconds before and after it, to a file that browsers play.

    Raises:
        AudioError: the recording is gone, is a link out of its folder, or cannot be read.
    """
    start, end = max(0.0, clip.start - around), clip.end + around
    place = {"track": clip.track, "channel": clip.channel}
    return extract_clip(recording_of(clip), start, end, folder=folder, name=name, playable=True, **place)


def recording_of(clip: ClipRecord) -> Location:
    """Return the recording of a clip, on this machine or elsewhere.

    Raises:
        AudioError: the file is gone, or has become a link out of its folder.
    """
    if is_url(clip.recording):
        return clip.recording
    path = Path(clip.recording)
    if Path(os.path.realpath(path)).parent != Path(os.path.realpath(path.parent)):
        raise AudioError("it is a link that leads out of its folder")
    if not path.is_file():
        raise AudioError("it is gone, or its disk is not mounted")
    return path


def is_playable(clip: ClipRecord) -> bool:
    """Return whether browsers play the recording of a clip as it is; only recordings on this machine are sent whole."""
    return not is_url(clip.recording) and Path(clip.recording).suffix.lower() in MEDIA_TYPES
