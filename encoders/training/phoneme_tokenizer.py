"""The tokenizer of phonemes."""

from collections import Counter
from collections.abc import Iterable

import tokenizers
from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import NFD, Replace

LONGEST = 256
"""Most phonemes of an utterance."""
SPECIAL = ["[PAD]", "[UNK]"]
FEWEST = 20
"""Of a phoneme that is learned; of few data less, one in a thousand."""
PHONEME = r"[\p{Ll}\p{Lo}\p{Lu}][\p{Lm}\p{M}]*"
"""A letter of the IPA and what modifies it."""
SPELLINGS = {"ˈ": "", "ˌ": "", "'": "", ":": "ː", "g": "ɡ", "\u0361": "", "\u0329": ""}
"""Stress, ties and syllable marks say nothing that is heard as a sound; the others are spelled in two ways."""


def phoneme_tokenizer(sequences: Iterable[str]) -> Tokenizer:
    """A token for each phoneme that occurs often enough; padding, which is CTC's blank as well, is 0."""
    tokenizer = Tokenizer(tokenizers.models.WordLevel({}, unk_token=SPECIAL[1]))
    spellings = [Replace(old, new) for old, new in SPELLINGS.items()]
    tokenizer.normalizer = tokenizers.normalizers.Sequence([NFD(), *spellings])
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(Regex(PHONEME), "removed", invert=True)
    counts = Counter()
    for sequence in sequences:
        said = tokenizer.normalizer.normalize_str(sequence)
        counts.update(phoneme for phoneme, _ in tokenizer.pre_tokenizer.pre_tokenize_str(said))
    fewest = min(FEWEST, max(1, counts.total() // 1000))
    known = [*SPECIAL, *sorted(phoneme for phoneme, count in counts.items() if count >= fewest)]
    tokenizer.model = tokenizers.models.WordLevel({phoneme: i for i, phoneme in enumerate(known)}, unk_token=SPECIAL[1])
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding(pad_id=0, pad_token=SPECIAL[0])
    return tokenizer
