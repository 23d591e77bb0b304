"""A model for what is said (SCRAPS): clips and phonemes as unit vectors of one space, and phonemes found in clips."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from voxdex.encoders.batching import by_length, padded
from voxdex.encoders.errors import TextError, check_text, short
from voxdex.encoders.model import CAPTIONS, EMBEDDING, Model, ModelError, inputs_of
from voxdex.encoders.model_card import locate as find_folder
from voxdex.encoders.model_card import read_card
from voxdex.encoders.phonetic.pmi import PhoneticEmbedding, pmi
from voxdex.encoders.phonetic.spotting import locate, match

PHONETIC = "phonetic"
"""The model for what is said that ships."""


@dataclass(frozen=True)
class Phonemes:
    """Phonemes as the model reads them. vector: float32 [dimension]. states: float32 [phonemes, hidden], one for each."""

    phonemes: tuple[str, ...]
    vector: np.ndarray
    states: np.ndarray


class PhoneticModel(Model):
    """As Model, for what is said: its text side eats phonemes, and it finds phonemes in clips. See open_phonetic_model."""

    def listen(self, clips: Iterable[np.ndarray], batch_seconds: float | None = None) -> Iterator[PhoneticEmbedding]:
        """Embeds a stream of clips and tells which phonemes they say, in order; see Model.embed_speech.

        Raises:
            ValueError: a clip is not a row of finite samples of at most `card.max_seconds`.
        """
        yield from self._hear(clips, self._listen, batch_seconds)

    def _listen(self, clips: list[np.ndarray]) -> list[PhoneticEmbedding]:
        vectors, shares = self._speech.run([EMBEDDING, "log_shares"], padded(clips))
        hop = round(self.card.phonetics.frame_seconds * self.card.sample_rate)
        frames = [len(clip) // hop + 1 for clip in clips]
        return [PhoneticEmbedding(vector, share[:count]) for vector, share, count in zip(vectors, shares, frames, strict=True)]

    def pmi(self, spoken: PhoneticEmbedding, sequences: Sequence[str]) -> np.ndarray:
        """How much more probable a clip makes sequences of phonemes (IPA) as all that is said in it; see encoders.phonetic.pmi.

        Returns:
            Nats, float32 [sequences].

        Raises:
            TextError: a sequence has no phoneme.
        """
        ids = [self._ids(sequence) for sequence in sequences]
        return pmi(spoken, ids, np.array(self.card.phonetics.shares))

    def intelligibility(self, pmi: float, phonemes: str) -> float:
        """How clearly phonemes (IPA) are said, 0 to 1, from the evidence for them.

        It is the share of right phonemes that so much evidence for each stands for in clear speech of held-out speakers.

        Raises:
            ModelError: the model was trained without held-out clips.
        """
        if not self.card.phonetics.intelligibility:
            raise ModelError(f"The model in {self.folder} held no clips out in training, and cannot tell how clear speech is.")
        curve, shares = np.array(self.card.phonetics.intelligibility).T
        return float(np.interp(pmi / len(self._ids(phonemes)), curve, shares))

    def match(self, phonemes: str, heard: Sequence[str]) -> np.ndarray:
        """How surely phonemes (IPA) are said anywhere in clips, given what was heard of each, packed; see spotting.

        Raises:
            TextError: there is no phoneme.
        """
        return match(heard, self._ids(phonemes), self.tokenizer.get_vocab_size())

    def locate(self, phonemes: str, heard: str) -> tuple[float, float]:
        """From which second to which of a clip phonemes (IPA) are said most surely; see match."""
        begin, end = locate(heard, self._ids(phonemes), self.tokenizer.get_vocab_size())
        seconds = self.card.phonetics.frame_seconds
        return begin * seconds, end * seconds

    def _ids(self, phonemes: str) -> list[int]:
        return self._read([phonemes])[0].ids

    def _read(self, sequences: Sequence[str]) -> list[Encoding]:
        read = [self.tokenizer.encode(check_text(sequence)) for sequence in sequences]
        for sequence, encoding in zip(sequences, read, strict=True):
            if not encoding.ids:
                raise TextError(f"There is no phoneme in {short(sequence)}: write IPA, as in 'kɪdz'.")
        return read

    def embed_phonemes(self, sequences: Iterable[str]) -> Iterator[Phonemes]:
        """Embeds a stream of phoneme sequences, in order, with a state for each phoneme, which no frames of sound shape.

        Args:
            sequences: IPA, such as "kɪdz ɑːɹ tɔːkɪŋ"; to_phonemes() makes it from text. Stress marks and spaces are ignored;
                a sequence is cut after 256 phonemes.

        Raises:
            TextError: a sequence has no phoneme.
        """
        sequences = iter(sequences)
        while several := list(islice(sequences, 4 * CAPTIONS)):
            yield from by_length(several, self._run_phonemes, most=CAPTIONS)

    def _run_phonemes(self, sequences: list[str]) -> list[Phonemes]:
        read = self._read(sequences)
        phonemes = [tuple(encoding.tokens) for encoding in read]
        vectors, states = self._text.run([EMBEDDING, "states"], inputs_of(read))
        return [
            Phonemes(said, vector, state[: len(said)]) for said, vector, state in zip(phonemes, vectors, states, strict=True)
        ]


def open_phonetic_model(name_or_folder: str | Path = PHONETIC, device: str = "auto", bulk: bool = False) -> PhoneticModel:
    """Opens a model for what is said, by name or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or its text side eats captions.
    """
    folder = find_folder(name_or_folder)
    if read_card(folder).text != "phonemes":
        raise ModelError(f"The model {str(name_or_folder)!r} is for captions, not for what is said. Use `phonetic`.")
    return PhoneticModel(folder, device, bulk)
