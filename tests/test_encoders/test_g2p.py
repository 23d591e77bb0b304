"""Graphemes to phonemes."""

import pytest

pytest.importorskip("phonemizer", reason="phonemizer comes with the phonetic extra")

from voxdex.encoders.phonetic.g2p import EspeakError, phoneme_tokenizer, to_phonemes


@pytest.mark.parametrize(
    ("language", "text", "phonemes"),
    [
        ("en-us", "kids", "kɪdz"),
        ("en, German accent", "kids", "kɪdz"),
        ("de", "Kinder", "kɪndɜ"),
        ("nl", "kinderen", "kɪndərən"),
        ("pl", "dzieci", "dʑɛtɕi"),
    ],
)
def test_to_phonemes(language, text, phonemes):
    assert to_phonemes([text, ""], language) == [phonemes, ""]


def test_unknown_languages_are_refused():
    with pytest.raises(EspeakError, match=r"no language 'xx'. Known: .*de.*pl"):
        to_phonemes(["a"], "xx")


def test_phoneme_tokenizer():
    tokenizer = phoneme_tokenizer(["ˈkɪdz ɑːɹ t͡ʃɪə"] * 300 + ["ʘ"])
    assert tokenizer.encode("kɪdz ɑːɹ").tokens == ["k", "ɪ", "d", "z", "ɑː", "ɹ"]
    assert tokenizer.encode("tʃ ʘ ə!").tokens == ["t", "ʃ", "[UNK]", "ə"]
