"""The command embed."""

import numpy as np


def test_embed(process, two_recordings, tmp_path, mini):
    out = tmp_path / "vectors.npz"
    ran = process("embed", two_recordings / "low.wav", two_recordings / "high.flac", "--caption", "a woman", "--out", out)
    assert ran.status == 0
    vectors = np.load(out)
    assert vectors["speech"].shape == (2, mini.card.dimension) and vectors["speech"].dtype == np.float32
    assert vectors["captions"].shape == (1, mini.card.dimension)
    assert vectors["clips"][0].startswith(f"{two_recordings / 'low.wav'}#0.0-3.")
    assert vectors["captions"][0] @ next(mini.embed_text(["a woman"])) > 0.99999
