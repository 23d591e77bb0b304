"""The phonetic model: embeddings of speech and of phonemes."""

import numpy as np
import pytest

from demo.make_archive import SENTENCES
from voxdex.encoders.audio.reader import read_audio
from voxdex.encoders.errors import TextError
from voxdex.encoders.phonetic.ctc import pack_posteriorgram
from voxdex.encoders.phonetic.g2p import to_phonemes


def test_embeddings_do_not_depend_on_the_batch(phonetic_model, spoken_archive):
    clips = [read_audio(path, 10)[: 16_000 * (1 + i)] for i, path in enumerate(sorted(spoken_archive.glob("*.wav"))[:4])]
    together = list(phonetic_model.listen(clips))
    for clip, spoken, plain in zip(clips, together, phonetic_model.embed_speech(clips), strict=True):
        alone = next(phonetic_model.listen([clip]))
        assert alone.vector @ spoken.vector > 0.99999 and plain @ spoken.vector > 0.99999
        assert np.linalg.norm(spoken.vector) == pytest.approx(1, abs=1e-5)
        assert alone.log_probs.shape == spoken.log_probs.shape
        one, other = phonetic_model.match("ðə", [pack_posteriorgram(alone.log_probs), pack_posteriorgram(spoken.log_probs)])
        assert one == pytest.approx(other, abs=0.01)


def test_embed_phonemes(phonetic_model):
    short, long = phonetic_model.embed_phonemes(["kˈɪdz", "ðə kɪdz ɑːɹ tɔːkɪŋ"])
    assert short.phonemes == ("k", "ɪ", "d", "z") and len(short.states) == 4
    assert len(long.states) == len(long.phonemes)
    assert next(phonetic_model.embed_phonemes(["kɪdz"])).vector @ short.vector == pytest.approx(1, abs=1e-5)
    with pytest.raises(TextError, match="no phoneme"):
        next(phonetic_model.embed_phonemes(["..."]))


def test_embeddings_identify_the_spoken_sentence(phonetic_model, spoken_archive):
    paths = sorted(spoken_archive.glob("*.wav"))
    speech = np.stack(list(phonetic_model.embed_speech(read_audio(path, 10) for path in paths)))
    text = np.stack([spoken.vector for spoken in phonetic_model.embed_phonemes(to_phonemes(SENTENCES))])
    right = (speech @ text.T).argmax(axis=1) == [int(path.stem[-1]) for path in paths]
    assert right.sum() >= 10
    said = to_phonemes(SENTENCES)
    sure = [
        phonetic_model.pmi(spoken, said).argmax() for spoken in phonetic_model.listen(read_audio(path, 10) for path in paths)
    ]
    assert sure == [int(path.stem[-1]) for path in paths]
    with pytest.raises(TextError, match="no phoneme"):
        phonetic_model.pmi(next(phonetic_model.listen([read_audio(paths[0], 10)])), ["..."])
