"""A model for what is said (SCRAPS): clips and phonemes as unit vectors of one space, and phonemes found in clips."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from encoders.model import EMBEDDING, Model, ModelError, by_length, padded
from encoders.model_folder import locate as find_folder
from encoders.model_folder import read_card
from encoders.spotting import locate, match, pack

PHONETIC = "phonetic"
"""The model for what is said that ships."""
HOP = 160
FRAMES = 25
"""Frames a second in which phonemes are heard."""


@dataclass(frozen=True)
class Spoken:
    """What a clip says. vector: float32 [dimension]. heard: which phonemes, frame by frame, as spotting.pack writes them."""

    vector: np.ndarray
    heard: str


@dataclass(frozen=True)
class Phonemes:
    """Phonemes as the model reads them. vector: float32 [dimension]. states: float32 [phonemes, hidden], one for each."""

    phonemes: tuple[str, ...]
    vector: np.ndarray
    states: np.ndarray


class PhoneticModel(Model):
    """As Model, for what is said: its text side eats phonemes, and it finds phonemes in clips. See open_phonetic_model."""

    def listen(self, clips: Iterable[np.ndarray], batch_size: int = 4) -> Iterator[Spoken]:
        """Embeds a stream of clips and keeps which phonemes they say, in order; see Model.embed_speech.

        Raises:
            ValueError: a clip is not a row of finite samples of at most `card.max_seconds`.
        """
        self.start()
        clips = iter(clips)
        while several := list(islice(clips, 16 * batch_size)):
            for clip in several:
                self.check(clip)
            yield from by_length(several, batch_size, self._listen, self._at_once)

    def _listen(self, clips: list[np.ndarray]) -> list[Spoken]:
        vectors, shares = self._speech[0].run([EMBEDDING, "log_shares"], padded(clips))
        frames = [math.ceil((len(clip) // HOP + 1) / 4) for clip in clips]
        return [Spoken(vector, pack(share[:count])) for vector, share, count in zip(vectors, shares, frames, strict=True)]

    def match(self, phonemes: str, heard: Sequence[str]) -> np.ndarray:
        """How surely phonemes (IPA) are said in clips, given what was heard of each (see Spoken); see spotting.match.

        Raises:
            ValueError: there is no phoneme.
        """
        return match(heard, self._ids(phonemes), self.tokenizer.get_vocab_size())

    def locate(self, phonemes: str, heard: str) -> tuple[float, float]:
        """From which second to which of a clip phonemes (IPA) are said most surely; see match."""
        begin, end = locate(heard, self._ids(phonemes), self.tokenizer.get_vocab_size())
        return begin / FRAMES, end / FRAMES

    def _ids(self, phonemes: str) -> list[int]:
        ids = self._tokens([phonemes])["input_ids"][0].tolist()
        if not ids:
            raise ValueError(f"There is no phoneme in {phonemes!r}.")
        return ids

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


def open_phonetic_model(
    name_or_folder: str | Path = PHONETIC, device: str = "auto", threads: int | None = None, bulk: bool = False
) -> PhoneticModel:
    """Opens a model for what is said, by name or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or its text side eats captions.
    """
    folder = find_folder(name_or_folder)
    if read_card(folder).text != "phonemes":
        raise ModelError(f"The model {str(name_or_folder)!r} is for captions, not for what is said. Use `phonetic`.")
    return PhoneticModel(folder, device, threads, bulk)
