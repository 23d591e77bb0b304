"""Transcripts beside recordings: formats, names, and the lines of clips."""

import json

import pytest

from voxdex.indexer.transcripts import Line, Transcript, match_transcripts, read_transcript

SRT = """1
00:00:01,000 --> 00:00:02,500
{\\an8}<i>Kids</i> are talking
by the door.

2
00:01:03,000 --> 00:01:04,000
- Yes. - No.
"""
VTT = """WEBVTT

NOTE nobody reads this

intro
00:01.000 --> 00:02.500 align:start
<v Anna>Kids are talking <b>by the door</b>.
"""
CTM = """;; a comment
talk A 1.00 0.50 Kids 0.98
talk A 1.50 0.25 talk
other A 1.50 0.25 nothing
"""
GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 3
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "Anna - words"
        xmin = 0
        xmax = 3
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 1.5
            text = "Kids"
        intervals [3]:
            xmin = 1.5
            xmax = 3
            text = "sil"
    item [2]:
        class = "IntervalTier"
        name = "Anna - phones"
        xmin = 0
        xmax = 3
        intervals: size = 1
        intervals [1]:
            xmin = 1
            xmax = 1.5
            text = "K"
"""
WORDS = [{"word": " Kids", "start": 1.0, "end": 1.5}, {"word": " talk", "start": 1.5, "end": 1.75}]
SEGMENT = {"id": 0, "start": 1.0, "end": 1.75, "text": " Kids talk"}


def lines(folder, name, data):
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return [(line.start, line.end, line.text) for line in read_transcript([str(folder / name)]).lines]


def test_subtitles(tmp_path):
    found = [(1.0, 2.5, "Kids are talking by the door."), (63.0, 64.0, "- Yes. - No.")]
    assert lines(tmp_path, "talk.srt", SRT) == found
    assert lines(tmp_path, "TALK.SRT", SRT.replace("\n", "\r\n").encode("utf-16")) == found
    assert lines(tmp_path, "talk.vtt", VTT) == found[:1]
    [(_, _, text), _] = lines(tmp_path, "old.srt", SRT.replace("door", "T\u00fcr").encode("cp1252"))
    assert text == "Kids are talking by the T\u00fcr."


def test_words_with_times(tmp_path):
    assert lines(tmp_path, "talk.ctm", CTM) == [(1.0, 1.5, "Kids"), (1.5, 1.75, "talk")]
    assert lines(tmp_path, "talk.TextGrid", GRID) == [(1.0, 1.5, "Kids")]
    assert lines(tmp_path, "phones.TextGrid", GRID.replace("Anna - words", "phrases")) == [(1.0, 1.5, "Kids")]


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"text": "Kids talk", "segments": [SEGMENT]}, [(1.0, 1.75, "Kids talk")]),
        ({"segments": [SEGMENT | {"words": WORDS}]}, [(1.0, 1.5, "Kids"), (1.5, 1.75, "talk")]),
        ({"segments": [SEGMENT | {"words": [*WORDS, {"word": "2"}]}]}, [(1.0, 1.75, "Kids talk")]),  # WhisperX
        ({"transcription": [{"offsets": {"from": 1000, "to": 1750}, "text": " Kids talk"}]}, [(1.0, 1.75, "Kids talk")]),
        ({"segments": 3, "transcription": [{"offsets": None}, 5]}, []),
        ({"segments": [{"start": "soon", "end": None, "text": "Kids"}, None]}, []),
        ([1, 2], []),
    ],
)
def test_whisper(tmp_path, document, found):
    assert lines(tmp_path, "talk.json", json.dumps(document)) == found


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("talk.srt", "Dear all,\nno subtitles here."),
        ("talk.ctm", "talk A one"),
        ("talk.ctm", "talk A one two three"),
        ("talk.TextGrid", "nothing"),
        ("talk.TextGrid", GRID[:300]),
        ("talk.vtt", b"\x00\xff\xfe\x80"),
    ],
)
def test_a_transcript_that_cannot_be_read_is_named(tmp_path, caplog, name, data):
    assert lines(tmp_path, name, data) == []
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(f"{tmp_path / name} cannot be read as a transcript (")
    assert "\n" not in caplog.messages[0]


def test_an_empty_transcript_and_other_json_are_left_alone(tmp_path, caplog):
    assert lines(tmp_path, "talk.srt", "") == lines(tmp_path, "talk.ctm", "") == lines(tmp_path, "a.json", "{not JSON") == []
    assert not caplog.messages


def test_of_several_the_best_of_each_language_is_read(tmp_path):
    for name, text in (("talk.srt", SRT), ("talk.wav.ctm", CTM), ("talk.de.srt", SRT.replace("Kids", "Kinder"))):
        (tmp_path / name).write_text(text)
    read = read_transcript([str(tmp_path / name) for name in ("talk.srt", "talk.wav.ctm", "talk.de.srt")])
    assert [line.text for line in read.lines] == ["Kids", "talk", "Kinder are talking by the door.", "- Yes. - No."]


def test_names():
    recordings = ["/a/talk.wav", "/a/talk.mp3", "/a/b.c.wav", "/b/talk.wav"]
    names = ("talk.srt", "talk.wav.vtt", "talk.mp3.json", "talk.pt-BR.srt", "b.c.srt", "b.srt", "other.srt")
    assert match_transcripts([f"/a/{name}" for name in names], recordings) == {
        "/a/talk.wav": ["/a/talk.srt", "/a/talk.wav.vtt", "/a/talk.pt-BR.srt"],
        "/a/talk.mp3": ["/a/talk.srt", "/a/talk.mp3.json", "/a/talk.pt-BR.srt"],
        "/a/b.c.wav": ["/a/b.c.srt"],
    }


def test_lines_of_a_clip():
    transcript = Transcript([Line(0.0, 4.0, "long"), Line(4.0, 4.2, "short"), Line(4.2, 9.0, "next"), Line(5.0, 5.0, "point")])
    assert transcript.payload(3.8, 4.45) == {"text": "short", "lines": [[4.0, 4.2, "short"]]}
    assert transcript.payload(3.6, 4.6)["text"] == "long short next"
    assert transcript.payload(4.9, 5.1)["text"] == "point"
    assert transcript.payload(20.0, 30.0) == {"text": "", "lines": []}
    assert Transcript([]).payload(0.0, 1.0) == {"text": "", "lines": []}
