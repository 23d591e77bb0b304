"""Vectors of captions and sounds."""

from voxdex.search.query import Sound
from voxdex.search.scoring import caption_vector, sound_vector


def test_vectors_of_parts(mini, demo_archive):
    path = demo_archive / "anna-1.wav"
    whole, part = sound_vector(Sound(path), mini), sound_vector(Sound(path, 0.5, None), mini)
    assert 0.5 < whole @ part < 0.9999
    assert caption_vector("a woman", mini) @ caption_vector("a woman, not whispering", mini) < 0.99
