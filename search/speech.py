"""Sound files of a question -> embeddings."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import AudioReader, Model
from indexer import Windows

log = logging.getLogger("voxdex")


@dataclass(frozen=True)
class EmbeddedRecording:
    """spans: start and end of each clip in seconds. vectors: float32 [clips, dimension] of unit length."""

    spans: list[tuple[float, float]]
    vectors: np.ndarray

    @property
    def voice(self) -> np.ndarray:
        """One unit vector [dimension] for the whole recording: the mean over its clips, weighted by their length."""
        mean = np.average(self.vectors, axis=0, weights=[max(end - start, 1e-3) for start, end in self.spans])
        return mean / np.linalg.norm(mean)


def embed_recording(model: Model, path: Path) -> EmbeddedRecording:
    """Cuts a recording into clips and embeds them; no more than some clips are held in memory. Logs damage as a warning.

    Raises:
        AudioError: the recording cannot be read.
    """
    reader, spans = AudioReader(path), []

    def samples() -> Iterator[np.ndarray]:
        for clip in Windows(reader, model.card.max_seconds):
            spans.append((clip.start, clip.end))
            yield clip.samples

    vectors = np.stack(list(model.embed_speech(samples())))
    if reader.damage:
        log.warning("Damaged: %s: %s.", path, reader.damage)
    return EmbeddedRecording(spans, vectors)
