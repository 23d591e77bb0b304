"""A speaker model: clips to unit vectors that tell people apart, whatever they say and however."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from voxdex.encoders.model import EMBEDDING
from voxdex.encoders.model_card import SPEECH, ModelError, SpeakerThresholds, locate, read_card
from voxdex.encoders.onnx_session import OnnxSession, parse_device

SPEAKER = "speaker"
"""Name of the speaker model that ships."""
LEAST_SECONDS, MOST_SECONDS = 0.5, 6.0
"""Shorter clips are repeated up to this length, and of longer ones the middle is heard."""
AT_ONCE = 64
"""Clips taken from a stream at a time."""


class SpeakerModel:
    """A speech encoder into a space of speakers. The graph is loaded when it is first needed.

    Args:
        folder: a model folder.
        device: see Model.

    Raises:
        ModelError: model.json cannot be read, is of another kind of model, or there is no such device; on first use, the graph
            cannot be opened.
    """

    def __init__(self, folder: Path, device: str = "auto") -> None:
        self.folder, self.card = folder, read_card(folder)
        self._device = parse_device(device)
        if self.card.speakers is None:
            raise ModelError(f"The model in {folder} is not for speakers. Use `{SPEAKER}`.")
        self.thresholds: SpeakerThresholds = self.card.speakers

    @cached_property
    def _speech(self) -> OnnxSession:
        return OnnxSession(self.folder / SPEECH, self._device, bulk=True)

    def embed_speech(self, clips: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Embed a stream of clips, in order.

        Args:
            clips: float32 [samples] each, mono at 16 kHz, not empty.

        Yields:
            float32 [dimension] of unit length for each clip.
        """
        clips = iter(clips)
        while window := list(islice(clips, AT_ONCE)):
            yield from self._speech.map_batches(self._run, window)

    def _run(self, clip: np.ndarray) -> np.ndarray:
        """Embed one clip: the mask of the network sees all its frames, so that padding would change it."""
        waveform = _heard(clip, self.card.sample_rate)[None]
        return self._speech.run([EMBEDDING], {"waveform": waveform})[0][0]


def _heard(clip: np.ndarray, rate: int) -> np.ndarray:
    """Return the part of a clip that is embedded; short clips are repeated."""
    most, least = int(MOST_SECONDS * rate), int(LEAST_SECONDS * rate)
    start = max(0, len(clip) - most) // 2
    return np.resize(clip, least) if len(clip) < least else clip[start : start + most]


def mean_voice(vectors: np.ndarray, weights: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """Return the mean of speaker vectors [clips, dimension], weighted by the clips' lengths, as a vector of unit length."""
    total = np.average(vectors, axis=0, weights=weights)
    return (total / max(float(np.linalg.norm(total)), 1e-9)).astype(np.float32)


def open_speaker_model(name_or_folder: str | Path = SPEAKER, device: str = "auto") -> SpeakerModel:
    """Open a speaker model by name or by folder.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or it is of another kind.
    """
    return SpeakerModel(locate(name_or_folder), device)
