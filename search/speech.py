"""Sound files of a question -> embeddings."""

from pathlib import Path

import numpy as np

from encoders import AudioReader, Model
from indexer import Clip, split


def embed_file(model: Model, path: Path) -> tuple[list[Clip], np.ndarray]:
    """The clips of a recording and their embeddings [clips, dimension].

    Raises:
        AudioError: the recording cannot be read.
    """
    clips = list(split(AudioReader(path)))
    return clips, np.stack(list(model.embed_speech(clip.samples for clip in clips)))


def embed_voice(model: Model, path: Path) -> np.ndarray:
    """One unit vector [dimension] for a whole recording: the mean over its clips, weighted by their length.

    Raises:
        AudioError: the recording cannot be read.
    """
    clips, vectors = embed_file(model, path)
    mean = np.average(vectors, axis=0, weights=[clip.end - clip.start for clip in clips])
    return mean / np.linalg.norm(mean)
