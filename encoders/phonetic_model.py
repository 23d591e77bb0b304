"""A model for what is said (SCRAPS): clips, windows of clips and phonemes as unit vectors of one space."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime as ort

from encoders.model import EMBEDDING, Model, ModelError, by_length, padded
from encoders.model_folder import WINDOWS, locate, read_card
from encoders.runtime import open_session

PHONETIC = "phonetic"
"""The model for what is said that ships."""
WINDOW_SECONDS = (0.7, 1.4, 2.8, 5.6)
"""How long the windows of a clip are; each begins half a window after the one before it."""


@dataclass(frozen=True)
class Spoken:
    """What a clip says, whole and in parts.

    vectors: float32 [1 + windows, dimension], first that of the whole clip. spans: float32 [1 + windows, 2], from when to when
    each lasts, in seconds.
    """

    vectors: np.ndarray
    spans: np.ndarray


@dataclass(frozen=True)
class Phonemes:
    """Phonemes as the model reads them. vector: float32 [dimension]. states: float32 [phonemes, hidden], one for each."""

    phonemes: tuple[str, ...]
    vector: np.ndarray
    states: np.ndarray


class PhoneticModel(Model):
    """As Model, for what is said: its text side eats phonemes, and it embeds windows of clips. See open_phonetic_model."""

    @cached_property
    def _windows(self) -> ort.InferenceSession:
        return open_session(self.folder / WINDOWS, self._device, 1)[0]

    def embed_windows(self, clips: Iterable[np.ndarray], batch_size: int = 4) -> Iterator[Spoken]:
        """Embeds a stream of clips and of their windows of WINDOW_SECONDS, in order; see Model.embed_speech.

        Raises:
            ValueError: a clip is not a row of finite samples of at most `card.max_seconds`.
        """
        self.start()
        clips = iter(clips)
        while several := list(islice(clips, 16 * batch_size)):
            for clip in several:
                self.check(clip)
            yield from by_length(several, batch_size, self._run_windows, self._at_once)

    def _run_windows(self, clips: list[np.ndarray]) -> list[Spoken]:
        wholes, frames = self._speech[0].run([EMBEDDING, "frames"], padded(clips))
        windows = [windows_of(len(clip)) for clip in clips]
        most = max(map(len, windows))
        table = np.zeros((len(clips), most, 2), dtype=np.int64)
        for row, found in enumerate(windows):
            table[row, : len(found)] = found
        parts = self._windows.run([EMBEDDING], {"frames": frames, "windows": table})[0] if most else table
        spoken = []
        for row, (clip, found) in enumerate(zip(clips, windows, strict=True)):
            vectors = np.concatenate([wholes[row : row + 1], parts[row, : len(found)]]).astype(np.float32)
            spans = np.concatenate([[[0, len(clip)]], found]) / self.card.sample_rate
            spoken.append(Spoken(vectors, spans.astype(np.float32)))
        return spoken

    def embed_phonemes(self, sequences: Iterable[str], batch_size: int = 64) -> Iterator[Phonemes]:
        """Embeds a stream of phoneme sequences, in order, with a state for each phoneme, which no frames of sound shape.

        Args:
            sequences: IPA, such as "kɪdz ɑːɹ tɔːkɪŋ"; see encoders.espeak.to_phonemes for text. Stress marks and spaces count
                for nothing; what is over 256 phonemes is cut.

        Raises:
            ValueError: a sequence has no phoneme.
        """
        sequences = iter(sequences)
        while several := list(islice(sequences, 4 * batch_size)):
            yield from by_length(several, batch_size, self._run_phonemes)

    def _run_phonemes(self, sequences: list[str]) -> list[Phonemes]:
        tokens = self._tokens(sequences)
        for sequence, mask in zip(sequences, tokens["attention_mask"], strict=True):
            if not mask.any():
                raise ValueError(f"There is no phoneme in {sequence!r}.")
        vectors, states = self._text.run([EMBEDDING, "states"], tokens)
        read = [self.tokenizer.encode(sequence).tokens for sequence in sequences]
        return [
            Phonemes(tuple(phonemes), vector, state[: len(phonemes)])
            for phonemes, vector, state in zip(read, vectors, states, strict=True)
        ]

    def intelligibility(self, cosine: float) -> float:
        """How clearly something is said, 0 to 1, from the cosine of a clip and its phonemes.

        It is the share of right phonemes that such a cosine stands for in clear speech of held-out speakers.
        """
        cosines, shares = np.array(self.card.intelligibility).T
        return float(np.interp(cosine, cosines, shares))


def windows_of(samples: int, sample_rate: int = 16_000) -> np.ndarray:
    """Windows of a clip of so many samples: first sample and the one after the last, int64 [windows, 2]."""
    found = []
    for seconds in WINDOW_SECONDS:
        length = int(seconds * sample_rate)
        if length < samples:
            starts = np.arange(0, samples - length // 2, length // 2)
            starts = np.unique(np.minimum(starts, samples - length))
            found.append(np.stack([starts, starts + length], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 2), dtype=np.int64)


def open_phonetic_model(
    name_or_folder: str | Path = PHONETIC, device: str = "auto", threads: int | None = None, bulk: bool = False
) -> PhoneticModel:
    """Opens a model for what is said, by name or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or its text side eats captions.
    """
    folder = locate(name_or_folder)
    if read_card(folder).text != "phonemes":
        raise ModelError(f"The model {str(name_or_folder)!r} is for captions, not for what is said. Use `phonetic`.")
    return PhoneticModel(folder, device, threads, bulk)
