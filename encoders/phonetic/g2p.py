"""Grapheme-to-phoneme conversion and synthetic speech with espeak-ng (package espeakng-loader), and the phoneme tokenizer."""

import ctypes
import logging
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
import tokenizers
from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import NFD, Replace

from voxdex.encoders.errors import VoxdexError, check_text
from voxdex.encoders.packages import missing_package
from voxdex.encoders.tables import ManifestError

SYNCHRONOUS, CHARS_UTF8, POSITION_CHARACTER = 2, 1, 1
RATE, PITCH, RANGE = 1, 3, 4
"""Constants of espeak-ng's speak_lib.h."""
ALIASES = {"en": "en-us", "english": "en-us", "fr": "fr-fr", "nl-be": "nl"}
"""Common codes of languages, and espeak-ng's codes for them."""
_LOCK = Lock()
"""Guards espeak-ng, which is not thread-safe."""


class EspeakError(VoxdexError):
    """espeak-ng is missing, or lacks a language or voice."""


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice. rate: words a minute. pitch, range: 0 to 99, with the voice's default at 50."""

    name: str
    espeak: str
    rate: int = 170
    pitch: int = 50
    range: int = 50


class Espeak:
    """The espeak-ng library as a synthesiser.

    Raises:
        EspeakError: it is not installed or does not start.
    """

    def __init__(self) -> None:
        loader = _loader()
        self._library = ctypes.CDLL(loader.get_library_path())
        self.sample_rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, loader.get_data_path().encode(), 0)
        if self.sample_rate <= 0:
            raise EspeakError("espeak-ng does not start; install espeakng-loader again.")
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._blocks: list[np.ndarray] = []
        self._callback = callback(self._collect)
        self._library.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: Voice) -> np.ndarray:
        """Synthesise a text: int16 samples at `sample_rate`.

        Raises:
            EspeakError: there is no such voice.
        """
        if self._library.espeak_SetVoiceByName(voice.espeak.encode()) != 0:
            raise EspeakError(f"espeak-ng has no voice {voice.espeak}.")
        for parameter, value in ((RATE, voice.rate), (PITCH, voice.pitch), (RANGE, voice.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._blocks.clear()
        spoken = text.encode()
        self._library.espeak_Synth(spoken, len(spoken) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
        return np.concatenate(self._blocks)


def to_phonemes(texts: Sequence[str], language: str = "en-us") -> list[str]:
    """Convert texts to IPA as espeak-ng pronounces them: words separated by spaces, without stress marks.

    Args:
        texts: in one language.
        language: an espeak-ng code: "en-us", "en-gb", "de", "nl", "pl" ...; "en" is American English. Text after the code, as
            in "en, German accent", is ignored.

    Raises:
        EspeakError: a package is missing, or espeak-ng does not know the language.
        TextError: a text is not valid text.
    """
    texts = [" ".join(check_text(text).replace("\x00", " ").split()) for text in texts]
    with _LOCK:
        return [" ".join(phonemes.split()) for phonemes in _backend(_code(language)).phonemize(texts)]


def phonemes_of(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return the phonemes of each row of a manifest: its `phonemes`, else those of its `transcript` in its `language` (en-us).

    Raises:
        ManifestError: a row has neither. EspeakError: a transcript cannot be converted.
    """
    found = [row.get("phonemes", "") for row in rows]
    by_language = defaultdict(list)
    for i, row in enumerate(rows):
        if not found[i]:
            if not row.get("transcript"):
                raise ManifestError(f"{row['path']} has neither a transcript nor phonemes in the manifest.")
            by_language[row.get("language") or "en-us"].append(i)
    for language, chosen in by_language.items():
        for i, phonemes in zip(chosen, to_phonemes([rows[i]["transcript"] for i in chosen], language), strict=True):
            found[i] = phonemes
    return found


def _code(language: str) -> str:
    """Return espeak-ng's code of a language."""
    code = re.split(r"[^A-Za-z0-9-]", language, maxsplit=1)[0].lower()
    return ALIASES.get(code, code)


@cache
def _backend(language: str) -> Any:
    loader = _loader()
    try:
        from phonemizer.backend import EspeakBackend
        from phonemizer.backend.espeak.wrapper import EspeakWrapper
    except ModuleNotFoundError as error:
        raise EspeakError(f"{missing_package('Text to phonemes', 'phonemizer', 'phonetic')}.") from error
    EspeakWrapper.set_library(loader.get_library_path())
    EspeakWrapper.set_data_path(loader.get_data_path())
    quiet = logging.getLogger("voxdex.phonemes")
    quiet.setLevel(logging.ERROR)  # it logs every word that espeak-ng joins to the next
    try:
        return EspeakBackend(language, with_stress=False, language_switch="remove-flags", logger=quiet)
    except RuntimeError as error:
        known = ", ".join(sorted(EspeakBackend.supported_languages()))
        raise EspeakError(f"espeak-ng has no language {language!r}. Known: {known}.") from error


def _loader() -> Any:
    try:
        import espeakng_loader
    except ModuleNotFoundError as error:
        raise EspeakError(f"{missing_package('Text to phonemes', 'espeakng-loader', 'phonetic')}.") from error
    return espeakng_loader


MAX_PHONEMES = 256
"""Maximum length of a sequence; longer ones are truncated."""
SPECIAL_TOKENS = ["[PAD]", "[UNK]"]
MIN_OCCURRENCES = 20
"""Occurrences that a phoneme of the vocabulary needs; in less data, one in a thousand phonemes."""
PHONEME = r"[\p{Ll}\p{Lo}\p{Lu}][\p{Lm}\p{M}]*"
"""A letter of the IPA and its modifiers."""
SPELLINGS = {"ˈ": "", "ˌ": "", "'": "", ":": "ː", "g": "ɡ", "\u0361": "", "\u0329": ""}
"""Normalisation: stress, ties and syllable marks are dropped, and alternative spellings unified."""


def phoneme_tokenizer(sequences: Iterable[str]) -> Tokenizer:
    """Build a tokenizer with a token for each frequent phoneme of the sequences; 0 is padding and CTC's BLANK."""
    tokenizer = Tokenizer(tokenizers.models.WordLevel({}, unk_token=SPECIAL_TOKENS[1]))
    spellings = [Replace(old, new) for old, new in SPELLINGS.items()]
    tokenizer.normalizer = tokenizers.normalizers.Sequence([NFD(), *spellings])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(Regex(PHONEME), "removed", invert=True)
    counts: Counter[str] = Counter()
    for sequence in sequences:
        normalised = tokenizer.normalizer.normalize_str(sequence)
        counts.update(phoneme for phoneme, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalised))
    fewest = min(MIN_OCCURRENCES, max(1, counts.total() // 1000))
    known = [*SPECIAL_TOKENS, *sorted(phoneme for phoneme, count in counts.items() if count >= fewest)]
    tokenizer.model = tokenizers.models.WordLevel({phoneme: i for i, phoneme in enumerate(known)}, unk_token=SPECIAL_TOKENS[1])
    tokenizer.enable_truncation(MAX_PHONEMES)
    tokenizer.enable_padding(pad_id=0, pad_token=SPECIAL_TOKENS[0])
    return tokenizer
