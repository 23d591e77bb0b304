"""A phonetic model (SCRAPS): speech and phonemes in one embedding space, and the posteriorgrams of clips."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tokenizers import Encoding

from voxdex.encoders.errors import TextError, check_text, short
from voxdex.encoders.model import CAPTIONS_AT_ONCE, EMBEDDING, Model, text_inputs
from voxdex.encoders.model_card import ModelError, Phonetics, read_card
from voxdex.encoders.model_card import locate as locate_model
from voxdex.encoders.onnx_session import map_by_length, pad_clips
from voxdex.encoders.phonetic import ctc
from voxdex.encoders.phonetic.ctc import PhoneticEmbedding

PHONETIC = "phonetic"
"""Name of the phonetic model that ships."""


@dataclass(frozen=True)
class PhonemeEmbedding:
    """A sequence of phonemes as the model reads it.

    vector: float32 [dimension], of unit length. states: one for each phoneme, float32 [phonemes, hidden].
    """

    phonemes: tuple[str, ...]
    vector: np.ndarray
    states: np.ndarray


class PhoneticModel(Model):
    """A Model whose text side reads phonemes (IPA), and which finds phonemes in clips. Open it with open_phonetic_model."""

    @property
    def phonetics(self) -> Phonetics:
        """The phonetic fields of model.json."""
        if self.card.phonetics is None:
            raise ModelError(f"{self.folder} has no phonetic fields in its model.json. Export the model again.")
        return self.card.phonetics

    def listen(self, clips: Iterable[np.ndarray], batch_seconds: float | None = None) -> Iterator[PhoneticEmbedding]:
        """Embed a stream of clips and compute their posteriorgrams, in order; see Model.embed_speech.

        Raises:
            ValueError: a clip is not a row of finite samples of at most `card.max_seconds`.
        """
        yield from self._map_clips(clips, self._run_phonetic, batch_seconds)

    def _run_phonetic(self, clips: list[np.ndarray]) -> list[PhoneticEmbedding]:
        vectors, log_probs = self._speech.run([EMBEDDING, "log_probs"], pad_clips(clips))
        hop = round(self.phonetics.frame_seconds * self.card.sample_rate)
        frames = [len(clip) // hop + 1 for clip in clips]
        return [
            PhoneticEmbedding(vector, posteriorgram[:count])
            for vector, posteriorgram, count in zip(vectors, log_probs, frames, strict=True)
        ]

    def pmi(self, spoken: PhoneticEmbedding, sequences: Sequence[str]) -> np.ndarray:
        """Return the pointwise mutual information of a clip with sequences of phonemes (IPA); see ctc.pmi.

        Returns:
            Nats, float32 [sequences].

        Raises:
            TextError: a sequence has no phoneme.
        """
        ids = [self._ids(sequence) for sequence in sequences]
        return ctc.pmi(spoken, ids, np.array(self.phonetics.phoneme_prior))

    def intelligibility(self, pmi: float, phonemes: str) -> float:
        """Return how clearly phonemes (IPA) are spoken, 0 to 1, from their PMI with the clip.

        It is the fraction of correct phonemes that gives the same PMI per phoneme in clear speech of held-out speakers.

        Raises:
            ModelError: the model was trained without held-out clips.
        """
        if not self.phonetics.intelligibility:
            raise ModelError(f"The model in {self.folder} was trained without held-out clips and has no intelligibility scale.")
        curve, fractions = np.array(self.phonetics.intelligibility).T
        return float(np.interp(pmi / len(self._ids(phonemes)), curve, fractions))

    def match(self, phonemes: str, packed: Sequence[str]) -> np.ndarray:
        """Score how probable phonemes (IPA) are anywhere in clips, 0 to 1, from their packed posteriorgrams; see ctc.match.

        Raises:
            TextError: there is no phoneme.
        """
        return ctc.match(packed, self._ids(phonemes), self.tokenizer.get_vocab_size())

    def locate(self, phonemes: str, packed: str) -> tuple[float, float]:
        """Return the span of a clip, in seconds, where phonemes (IPA) are most probable; see ctc.locate."""
        begin, end = ctc.locate(packed, self._ids(phonemes), self.tokenizer.get_vocab_size())
        seconds = self.phonetics.frame_seconds
        return begin * seconds, end * seconds

    def embed_phonemes(self, sequences: Iterable[str]) -> Iterator[PhonemeEmbedding]:
        """Embed a stream of phoneme sequences, in order, with a state for each phoneme.

        Args:
            sequences: IPA, such as "kɪdz ɑːɹ tɔːkɪŋ"; to_phonemes() makes it from text. Stress marks and spaces are ignored;
                a sequence is cut after 256 phonemes.

        Raises:
            TextError: a sequence has no phoneme.
        """
        sequences = iter(sequences)
        while window := list(islice(sequences, 4 * CAPTIONS_AT_ONCE)):
            yield from map_by_length(window, self._run_phonemes, max_items=CAPTIONS_AT_ONCE)

    def _run_phonemes(self, sequences: list[str]) -> list[PhonemeEmbedding]:
        encodings = self._encode(sequences)
        phonemes = [tuple(encoding.tokens) for encoding in encodings]
        vectors, states = self._text.run([EMBEDDING, "states"], text_inputs(encodings))
        return [
            PhonemeEmbedding(names, vector, state[: len(names)])
            for names, vector, state in zip(phonemes, vectors, states, strict=True)
        ]

    def _ids(self, phonemes: str) -> list[int]:
        return self._encode([phonemes])[0].ids

    def _encode(self, sequences: Sequence[str]) -> list[Encoding]:
        encodings = [self.tokenizer.encode(check_text(sequence)) for sequence in sequences]
        for sequence, encoding in zip(sequences, encodings, strict=True):
            if not encoding.ids:
                raise TextError(f"There is no phoneme in {short(sequence)}: write IPA, as in 'kɪdz'.")
        return encodings


def open_phonetic_model(name_or_folder: str | Path = PHONETIC, device: str = "auto", *, bulk: bool = False) -> PhoneticModel:
    """Open a phonetic model by name or by folder; see Model.

    Raises:
        ModelError: there is no such model, its model.json cannot be read, or it is a model for captions.
    """
    folder = locate_model(name_or_folder)
    if read_card(folder).text != "phonemes":
        raise ModelError(f"The model {str(name_or_folder)!r} is for captions, not for spoken text. Use `phonetic`.")
    return PhoneticModel(folder, device, bulk=bulk)
