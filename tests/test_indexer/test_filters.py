"""Filters: parsing, refusals, and the clips that they select in each store."""

import numpy as np
import pytest

from tests.fakes.stores import matching_speakers
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError, render


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ([], ["anna", "ben", "cleo", "dan"]),
        (["gender=female"], ["anna", "cleo"]),
        (["gender = female "], ["anna", "cleo"]),
        (["gender!=female"], ["ben", "dan"]),
        (["speaker=anna,dan"], ["anna", "dan"]),
        (["speaker!=anna,dan"], ["ben", "cleo"]),
        (["duration<4"], ["anna"]),
        (["duration<=4"], ["anna", "ben"]),
        (["duration>4", "gender=male"], ["dan"]),
        (["duration>=4.0"], ["ben", "cleo", "dan"]),
        (["age=45"], ["ben"]),
        (["age>40"], ["ben", "cleo"]),
        (["age!=45"], ["anna", "cleo", "dan"]),
        (["gender==male"], ["ben", "dan"]),
        (["speaker=nobody"], []),
        (["not gender=female"], ["ben", "dan"]),
        (["gender=female and not (age>60 or speaker=dan)"], ["anna"]),
        (["gender=male or age>60"], ["ben", "cleo", "dan"]),
        (["gender=male or age>60 and duration<5"], ["ben", "dan"]),
        (["NOT gender:female AND duration:..4"], ["ben"]),
        (["age:31..45"], ["anna", "ben"]),
        (["age=40.."], ["ben", "cleo"]),
        (["recorded:2019..2021"], ["ben", "cleo"]),
        (["recorded=2019-05"], ["ben"]),
        (["recorded!=2019-05-03"], ["anna", "cleo", "dan"]),
        (["recorded<2019"], ["anna"]),
        (["recorded>2019-05-03"], ["cleo"]),
        (["recorded>=2019-05-03 and recorded<=2021"], ["ben", "cleo"]),
        (["path~interviews/*"], ["ben", "dan"]),
        (['recording~"DAN ?.wav"'], ["dan"]),
        (["path~tapes,dan"], ["anna", "cleo", "dan"]),
        (["path~nowhere"], []),
        (["not path~nowhere"], ["anna", "ben", "cleo", "dan"]),
        (["speaker~*n and gender=male"], ["ben", "dan"]),
        (["path=/archive/tapes/anna 1.wav"], ["anna"]),
        (["pitch=low"], ["ben", "dan"]),
        (["pitch>=200"], ["cleo", "dan"]),
        (["a woman"], ["anna", "cleo"]),
        (["female or deep"], ["anna", "ben", "cleo", "dan"]),
        (["not low-pitched"], ["anna", "cleo"]),
        (['"speaker"="anna"'], ["anna"]),
        (["'speaker'='anna'"], ["anna"]),
        (["path~'interviews/*'"], ["ben", "dan"]),
        (["path!~'interviews/*'"], ["anna", "cleo"]),
        (["SPEAKER=anna and Path~tapes"], ["anna"]),
        (["gender=female & age>60"], ["cleo"]),
        (["gender=female && speaker=anna || speaker=dan"], ["anna", "dan"]),
        (["gender=female | speaker=dan"], ["anna", "cleo", "dan"]),
        (["path~[a-z]"], []),
    ],
)
def test_conditions(any_store, conditions, expected):
    assert matching_speakers(any_store, *conditions) == expected


def test_metadata_takes_precedence_over_predictions(any_store):
    any_store.set_payload({"content": "ben"}, {"metadata": {"speaker": "ben", "gender": "female"}})
    assert matching_speakers(any_store, "gender=female") == ["anna", "ben", "cleo"]
    assert matching_speakers(any_store, "gender=male") == ["dan"]


def test_fields_with_text_and_numbers(any_store):
    any_store.ensure_fields({"attributes.age": "text", "metadata.pitch": "number"})
    any_store.set_payload({"content": "dan"}, {"attributes": {"gender": "male", "pitch": "low", "age": "elderly"}})
    any_store.set_payload({"content": "ben"}, {"metadata": {"speaker": "ben", "age": 45.0, "pitch": 130.0}})
    assert matching_speakers(any_store, "age=elderly") == ["dan"]
    assert matching_speakers(any_store, "age=elderly,45") == ["ben", "dan"]
    assert matching_speakers(any_store, "age!=elderly") == ["anna", "ben", "cleo"]
    assert matching_speakers(any_store, "pitch=low,high") == ["anna", "cleo", "dan"]
    assert matching_speakers(any_store, "pitch=130") == ["ben"] and matching_speakers(any_store, "pitch>=130") == [
        "ben",
        "cleo",
        "dan",
    ]


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("date:1980..1990", ["anna", "ben"]),
        ("date<1990", ["anna", "ben"]),
        ("date<=1987-05", ["anna"]),
        ("date>1987", ["ben", "cleo"]),
        ("date>=1987-05-03", ["ben", "cleo"]),
        ("date=1987", ["anna"]),
        ("date=1987-05,2019", ["anna", "cleo"]),
        ("date!=1987", ["ben", "cleo", "dan"]),
        ("date=unknown", ["dan"]),
        ("bpm>90", ["ben"]),
        ("bpm:60..90", ["anna"]),
        ("not date>1987", ["anna", "dan"]),
    ],
)
def test_texts_of_tags_compare_as_dates_and_numbers(any_store, condition, expected):
    any_store.ensure_fields({"tags.date": "text", "tags.bpm": "text"})
    tags = {
        "anna": {"date": "1987-05-02T10:00:00.000Z", "bpm": "62.5"},
        "ben": {"date": "1988:01:31 10:00", "bpm": "120"},
        "cleo": {"date": "31.5.2019"},
        "dan": {"date": "unknown"},
    }
    for speaker, tag in tags.items():
        any_store.set_payload({"content": speaker}, {"tags": tag})
    assert matching_speakers(any_store, condition) == expected


class KeyRecorder:
    """Record which keys are used in which way."""

    def __init__(self):
        self.ways = set()

    def __getattr__(self, way):
        return lambda key, *_: self.ways.add((way, key)) or [way, key]

    def join(self, **parts):
        return parts

    def values(self, key, among):
        return ["/a/9.wav"]


@pytest.mark.parametrize(
    ("condition", "ways"),
    [
        ("duration=5.61", {("within", "duration")}),
        ("duration!=1,2", {("within", "duration")}),
        ("recorded=2019,2020-05", {("dated", "metadata.recorded")}),
        ("gender=1,2019", {("one_of", "attributes.gender")}),
        ("mixed=1", {("within", "metadata.mixed"), ("is_empty", "metadata.mixed"), ("one_of", "attributes.mixed")}),
        ("mixed=young", {("is_empty", "metadata.mixed"), ("one_of", "attributes.mixed")}),
        ("mixed<5", {("within", "metadata.mixed")}),
        ("path~x/9*.wav", {("containing", "recording")}),
        ("path~*", {("is_empty", "recording")}),
    ],
)
def test_conditions_use_the_payload_index_of_their_field(condition, ways):
    schema = {"duration": "number", "metadata.recorded": "date", "attributes.gender": "text", "recording": "text"}
    engine = KeyRecorder()
    render(parse_filter(condition), schema | {"metadata.mixed": "number", "attributes.mixed": "text"}, engine)
    assert engine.ways == ways


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "'' is not a condition. Write gender=female"),
        ("nonsense", "'nonsense' is no label of an attribute"),
        ("=x", "is not a condition"),
        ("gender=", "'gender' is no label of an attribute, nor a condition"),
        ("gender=a and", "is not a condition"),
        ("(gender=a", "is not a condition"),
        ("gender=a) or", "'\\) or' is where it fails"),
        ("duration<long", "'duration' is compared with 'long', which is not a number or a date"),
        ("duration<1,2", "compared with '1,2'"),
        ("duration<nan", "compared with 'nan'"),
        ("duration:1..x", "compared with 'x'"),
        ("husky", "'husky' may mean"),
        ("pitch_hz:140..100", "The range 140..100 of 'pitch_hz' is empty; write 100..140"),
        ("recorded:2021..2019", "The range 2021..2019 of 'recorded' is empty"),
        ("speaker=Simon & Garfunkel", "'& Garfunkel' is where it fails|is no label"),
    ],
)
def test_invalid_conditions(text, words):
    with pytest.raises(FilterError, match=words):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sex=female", r"no field 'sex'.*age, duration, gender, path, pitch, pitch_hz, recorded, recording, speaker"),
        ("gendr=female", r"no field 'gendr'. Did you mean gender\?"),
        ("speaker>3", "'speaker' is text, which has no order"),
        ("duration>2019-05-03", "field 'duration' is a number, and '2019-05-03' is not a number"),
        ("duration=long", "field 'duration' is a number, and 'long' is not a number"),
        ("duration!=2,nan", "field 'duration' is a number, and 'nan' is not a number"),
        ("not duration:3..2019-05", "field 'duration' is a number, and '2019-05' is not a number"),
        ("pitch_hz=low", "field 'pitch_hz' is a number, and 'low' is not a number"),
        ("recorded<5", "field 'recorded' is a date, and '5' is not a date. Write 2019, 2019-05 or"),
        ("recorded=x", "field 'recorded' is a date, and 'x' is not a date"),
        ("recorded=2019,2019-02-30", "field 'recorded' is a date, and '2019-02-30' is not a date"),
        ("recorded<2019-13", "not a number or a date"),
    ],
)
def test_conditions_that_do_not_fit_the_schema(any_store, text, words):
    with pytest.raises(FilterError, match=words):
        any_store.query(np.ones(4, np.float32), 1, parse_filter(text))
