"""Answers about whole recordings: ranked, restricted to one, and in the order of time."""

import numpy as np
import pytest

from tests.fakes.sounds import RATE, voice, write_sound

QUIET = np.zeros(2 * RATE, np.float32)


@pytest.fixture
def tapes(voxdex, tmp_path):
    """low.wav has low voices, high.wav high ones, and mixed.wav one of each; a copy of low.wav."""
    folder = tmp_path / "tapes"
    folder.mkdir()
    for name, pitches in (("low", (90, 100)), ("high", (240, 260)), ("mixed", (95, 250))):
        parts = [part for seed, hz in enumerate(pitches) for part in (voice(3.0, hz, seed), QUIET)]
        write_sound(folder / f"{name}.wav", np.concatenate(parts))
    (folder / "copy.wav").write_bytes((folder / "low.wav").read_bytes())
    done = voxdex("index", folder, "--json")
    assert done.status == 0 and done.json["clips"] == 6, done.err
    return folder


def names(found):
    return [hit["recording"].rsplit("/", 1)[1] for hit in found]


def test_recordings_are_ranked_by_all_their_speech(voxdex, tapes):
    ranked = voxdex("search", "a high-pitched voice", "--recordings", "--json").json["recordings"]
    assert names(ranked)[0] == "high.wav" and names(ranked)[1] == "mixed.wav" and len(ranked) == 3
    clips = voxdex("search", "a high-pitched voice", "--fold", 1, "--json").json["hits"]
    of_mixed = [hit for hit in clips if hit["recording"].endswith("mixed.wav")]
    weights = [hit["end"] - hit["start"] for hit in of_mixed]
    mean = np.average([hit["score"] for hit in of_mixed], weights=weights)
    assert ranked[1]["score"] == pytest.approx(mean, abs=1e-4) and ranked[1]["clips"] == 2
    assert ranked[1]["best"]["score"] == pytest.approx(max(hit["score"] for hit in of_mixed), abs=1e-4)
    assert ranked[0]["matched"] >= ranked[2]["matched"]
    second = voxdex("search", "a high-pitched voice", "--recordings", "--json", "-n", 1, "--page", 2).json["recordings"]
    assert second == ranked[1:2]
    shown = voxdex("search", "a high-pitched voice", "--recordings", "--where", "path~mixed").out.splitlines()
    assert len(shown) == 3 and "mixed.wav" in shown[2]


def test_hits_within_recordings(voxdex, tapes):
    for name in ("low.wav", "copy.wav"):  # one content, found by both of its names
        hits = voxdex("search", "a voice", "--within", tapes / name, "--fold", 1, "--json").json["hits"]
        assert len(hits) == 2 and set(names(hits)) <= {"low.wav", "copy.wav"}
    both = voxdex("search", "a voice", "--within", tapes / "high.wav", "--within", tapes / "mixed.wav", "--fold", 1, "--json")
    assert set(names(both.json["hits"])) == {"high.wav", "mixed.wav"} and both.json["clips"] == 4
    none = voxdex("search", "a voice", "--within", tapes / "gone.wav")
    assert none.status == 0 and f"The index holds no clip of {tapes / 'gone.wav'}." in none.err


def test_timeline(voxdex, tapes):
    clips = voxdex("timeline", tapes / "mixed.wav", "--json").json["clips"]
    assert [round(clip["start"]) for clip in clips] == [0, 5]
    shown = voxdex("timeline", tapes / "mixed.wav")
    assert "0.0-3." in shown.out and "2 clips." in shown.err
    missing = voxdex("timeline", tapes / "gone.wav")
    assert missing.status == 2 and "The index holds no clip of" in missing.err


@pytest.mark.parametrize(
    "arguments", [("--facet", "gender"), ("--group-by", "recording"), ("--save", "x.csv"), ("--fold", "0.5"), ("--says", "tea")]
)
def test_options_of_clips_are_refused_for_recordings(here, arguments):
    refused = here("search", "a voice", "--recordings", *arguments)
    assert refused.status == 2 and f"{arguments[0]} does nothing without single clips" in " ".join(refused.err.split())
