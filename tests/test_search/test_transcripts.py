"""Words of transcripts: indexed with the recordings, found alone, with a voice and with spoken text, and kept up to date."""

import json

import numpy as np
import pytest

from tests.fakes.sounds import RATE, voice, write_sound

KIDS = "Kids are talking by the door."
QUIET = np.zeros(2 * RATE, np.float32)


def write_subtitles(file, *lines):
    blocks = [f"00:00:{start:06.3f} --> 00:00:{end:06.3f}\n{text}\n" for start, end, text in lines]
    file.write_text("\n".join(["WEBVTT\n", *blocks]))


@pytest.fixture
def tapes(voxdex, tmp_path):
    """Two recordings of two clips each; those of talk.wav have a transcript."""
    folder = tmp_path / "tapes"
    folder.mkdir()
    for name, pitches in (("talk", (95, 250)), ("plain", (100, 240))):
        parts = [part for seed, hz in enumerate(pitches) for part in (voice(3.0, hz, seed), QUIET)]
        write_sound(folder / f"{name}.wav", np.concatenate(parts))
    write_subtitles(folder / "talk.vtt", (0.2, 2.8, KIDS), (5.2, 7.8, "Dogs sit at the door by now."))
    done = voxdex("index", folder, "--json")
    assert done.status == 0 and (done.json["clips"], done.json["transcripts"], done.json["ignored"]) == (4, 1, {}), done.err
    return folder


def found(voxdex, *arguments):
    done = voxdex("search", *arguments, "--json")
    assert done.status == 0, done.err
    matches = [hit["spoken"] and hit["spoken"]["match"] for hit in done.json["hits"]]
    places = [(hit["recording"].rsplit("/", 1)[1], round(hit["start"])) for hit in done.json["hits"]]
    return [(*place, match) for place, match in zip(places, matches, strict=True)]


def test_words_of_a_transcript_are_found(voxdex, tapes):
    assert found(voxdex, "--text", "by the door") == [("talk.wav", 0, 1.0), ("talk.wav", 5, 0.5)]
    assert found(voxdex, "--text", "DOOR, kids!") == [("talk.wav", 0, 0.5)]
    assert found(voxdex, "a low voice", "--text", "the door") == found(voxdex, "a low voice", "--text", "the door", "--fold", 1)
    [low, high] = found(voxdex, "a low-pitched voice", "--text", "door")
    assert (low[1], high[1]) == (0, 5)
    [high, low] = found(voxdex, "a high-pitched voice", "--text", "door")
    assert (low[1], high[1]) == (0, 5)
    hit = voxdex("search", "--text", "by the door", "--json").json["hits"][0]
    assert hit["spoken"] == {"start": 0.2, "end": 2.8, "match": 1.0, "deviations": None, "transcript": KIDS}
    assert hit["transcript"] == {"text": KIDS, "lines": [[0.2, 2.8, KIDS]]}
    [of_plain, *_] = voxdex("search", "a voice", "--where", "path~plain", "--json").json["hits"]
    assert of_plain["transcript"] is None
    shown = voxdex("search", "--text", "by the door", "--width", 90).out
    assert "transcript" in shown and "Kids are talking" in shown


def test_words_are_conditions(voxdex, tapes):
    assert found(voxdex, "a voice", "--where", 'transcript="by the door"') == [("talk.wav", 0, None)]
    assert len(found(voxdex, "a voice", "--where", "transcript~door")) == 2
    assert len(found(voxdex, "a voice", "--where", "transcript!~kids")) == 3
    assert "transcript" in voxdex("status").out
    wrong = voxdex("search", "a voice", "--where", "transcript>5")
    assert wrong.status == 2 and "is text, which has no order" in wrong.err
    facet = voxdex("search", "a voice", "--facet", "transcript")
    assert facet.status == 2 and "is words, and only values of text are counted" in facet.err


def test_nothing_found_is_said(voxdex, tapes, tmp_path):
    none = voxdex("search", "--text", "penguin")
    assert none.status == 0 and "No clip has all words of 'penguin' in its transcript." in none.err
    empty = voxdex("search", "--text", "...")
    assert empty.status == 2 and "has no words to find in transcripts" in empty.err
    (tapes / "talk.vtt").rename(tmp_path / "talk.vtt")
    voxdex("index", tapes, "--index", "bare")
    bare = voxdex("search", "--text", "door", "--index", "bare")
    assert bare.status == 2 and "The index has no transcripts: put them beside the recordings" in bare.err
    whole = voxdex("search", "a voice", "--text", "door", "--recordings")
    assert whole.status == 2 and "--text" in whole.err


def test_transcripts_are_kept_up_to_date_without_embedding(voxdex, tapes):
    def run(**expected):
        done = voxdex("index", tapes, "--json").json
        assert {name: done[name] for name in expected} == expected and done["indexed"] == 0

    (tapes / "plain.json").write_text(json.dumps({"segments": [{"start": 5.0, "end": 8.0, "text": "Penguins."}]}))
    run(unchanged=2, transcripts=1)
    assert found(voxdex, "--text", "penguins") == [("plain.wav", 5, 1.0)]
    run(unchanged=2, transcripts=0)
    write_subtitles(tapes / "talk.vtt", (0.2, 2.8, "Cats are talking."))
    run(unchanged=2, transcripts=1)
    assert found(voxdex, "--text", "cats") == [("talk.wav", 0, 1.0)] and found(voxdex, "--text", "dogs") == []
    (tapes / "talk.vtt").unlink()
    run(unchanged=2, transcripts=0)
    assert found(voxdex, "--text", "cats") == []
    assert "beside 1 recordings" in voxdex("status").out


def test_a_copy_keeps_the_transcript_of_its_recording(voxdex, tapes):
    (tapes / "copy.wav").write_bytes((tapes / "talk.wav").read_bytes())
    assert voxdex("index", tapes, "--json").json["clips"] == 0
    assert [clip[1:] for clip in found(voxdex, "--text", "by the door")] == [(0, 1.0), (5, 0.5)]
    (tapes / "talk.wav").unlink()  # and with it the recording beside which the transcript lies
    voxdex("index", tapes, "--prune")
    assert found(voxdex, "--text", "by the door") == []
    (tapes / "talk.vtt").rename(tapes / "copy.en.vtt")
    voxdex("index", tapes)
    assert found(voxdex, "--text", "by the door")[0] == ("copy.wav", 0, 1.0)


def test_a_file_by_itself_and_another_model_have_the_transcripts(voxdex, tapes):
    assert voxdex("index", tapes / "talk.wav", "--index", "one", "--json").json["transcripts"] == 1
    assert found(voxdex, "--text", "kids", "--index", "one") == [("talk.wav", 0, 1.0)]
    moved = voxdex("reindex", "--model", "mini-open")
    assert moved.status == 0, moved.err
    assert [clip[1] for clip in found(voxdex, "--text", "door")] == [0, 5]
