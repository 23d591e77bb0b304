import json
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import qdrant_edge as edge

from tests.fakes.qdrant.double import qdrant_double
from voxdex.indexer.store.base import FORMAT, DiscoveryQuery, Point, StoreError
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.edge_engine import DEFERRED
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError, render

PEOPLE = [("anna", "female", 31, 2.0), ("ben", "male", 45, 4.0), ("cleo", "female", 62, 6.0), ("dan", "male", None, 8.0)]
RECORDED = {"anna": "2018-12-31", "ben": "2019-05-03", "cleo": "2021-12-31 23:59:59"}


def edge_store(folder):
    return EdgeStore.create(folder / "index", "space", "mini", 4)


@contextmanager
def server_store(folder):
    """On the double of a server."""
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import connect
    from voxdex.indexer.store.qdrant_server import ServerStore

    with qdrant_double() as double, ServerStore.create(connect(double.url), "voices", "space", "mini", 4) as store:
        yield store


@pytest.fixture(params=["few", "many", "optimised", "server"])
def any_store(request, tmp_path, monkeypatch):
    """few: fields are indexed at once. many: they wait for what the optimised store has done."""
    if request.param in ("many", "optimised"):
        monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 2)
    with (server_store if request.param == "server" else edge_store)(tmp_path) as store:
        filled(store)
        if request.param == "optimised":
            store.optimise()
        yield store


@pytest.fixture
def store(tmp_path):
    with edge_store(tmp_path) as store:
        yield filled(store)


@pytest.fixture
def waiting(tmp_path, monkeypatch):
    """A store with fields that wait to be indexed."""
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 2)
    with edge_store(tmp_path) as store:
        yield filled(store)


def filled(store):
    fields = {
        "metadata.speaker": "text",
        "metadata.age": "number",
        "metadata.gender": "text",
        "metadata.recorded": "date",
        "recording": "text",
        "attributes.gender": "text",
        "attributes.pitch": "text",
        "measured.pitch_hz": "number",
        "duration": "number",
    }
    store.ensure_fields(fields)
    points = []
    for number, (speaker, gender, age, duration) in enumerate(PEOPLE):
        metadata = {"speaker": speaker} | ({"age": float(age)} if age else {})
        metadata |= {"recorded": RECORDED[speaker]} if speaker in RECORDED else {}
        payload = {
            "kind": "clip",
            "content": speaker,
            "metadata": metadata,
            "recording": f"/archive/{'interviews' if number % 2 else 'tapes'}/{speaker} 1.wav",
            "attributes": {"gender": gender, "pitch": "high" if gender == "female" else "low"},
            "measured": {"pitch_hz": 100.0 + 50 * number},
            "duration": duration,
        }
        points.append(Point(str(uuid.uuid4()), np.eye(4, dtype=np.float32)[number], payload))
    store.upsert(points)
    return store


def names(store, *conditions):
    hits = store.query(np.array([4, 3, 2, 1], np.float32), 10, parse_filter(*conditions))
    return [hit.payload["metadata"]["speaker"] for hit in hits]


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
    ],
)
def test_conditions(any_store, conditions, expected):
    assert names(any_store, *conditions) == expected


def test_what_people_wrote_wins_over_what_was_heard(any_store):
    any_store.set_payload({"content": "ben"}, {"metadata": {"speaker": "ben", "gender": "female"}})
    assert names(any_store, "gender=female") == ["anna", "ben", "cleo"]
    assert names(any_store, "gender=male") == ["dan"]


def test_a_value_of_another_kind_meets_nothing_in_a_number_of_a_field_that_has_text_too(any_store):
    any_store.ensure_fields({"attributes.age": "text", "metadata.pitch": "number"})
    any_store.set_payload({"content": "dan"}, {"attributes": {"gender": "male", "pitch": "low", "age": "elderly"}})
    any_store.set_payload({"content": "ben"}, {"metadata": {"speaker": "ben", "age": 45.0, "pitch": 130.0}})
    assert names(any_store, "age=elderly") == ["dan"]
    assert names(any_store, "age=elderly,45") == ["ben", "dan"]
    assert names(any_store, "age!=elderly") == ["anna", "ben", "cleo"]
    assert names(any_store, "pitch=low,high") == ["anna", "cleo", "dan"]
    assert names(any_store, "pitch=130") == ["ben"] and names(any_store, "pitch>=130") == ["ben", "cleo", "dan"]


class Asked:
    """Notes which keys are asked for in which way."""

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
def test_a_condition_asks_for_the_index_that_its_field_has(condition, ways):
    schema = {"duration": "number", "metadata.recorded": "date", "attributes.gender": "text", "recording": "text"}
    engine = Asked()
    render(parse_filter(condition), schema | {"metadata.mixed": "number", "attributes.mixed": "text"}, engine)
    assert engine.ways == ways


def test_scores_are_cosines(any_store):
    hit = any_store.query(np.array([3, 4, 0, 0], np.float32), 1)[0]
    assert hit.score == pytest.approx(0.8)


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
    ],
)
def test_conditions_that_cannot_be_understood_are_refused(text, words):
    with pytest.raises(FilterError, match=words):
        parse_filter(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sex=female", r"no field 'sex'.*age, duration, gender, pitch, pitch_hz, recorded, recording, speaker"),
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
def test_conditions_that_do_not_suit_the_index_are_refused(any_store, text, words):
    with pytest.raises(FilterError, match=words):
        any_store.query(np.ones(4, np.float32), 1, parse_filter(text))


def test_values_are_counted(any_store):
    assert any_store.facet("gender") == {"female": 2, "male": 2}
    assert any_store.facet("gender", parse_filter("duration>2")) == {"female": 1, "male": 2}
    any_store.set_payload({"content": "ben"}, {"metadata": {"speaker": "ben", "gender": "unknown"}})
    assert any_store.facet("gender") == {"female": 2, "male": 1, "unknown": 1}
    with pytest.raises(FilterError, match="'age' is a number"):
        any_store.facet("age")


@pytest.mark.parametrize(("optimised", "few"), [((), 1000), ((1, 3), 1000), ((1, 3), 50)])
def test_values_are_counted_as_they_are_after_every_change(tmp_path, monkeypatch, optimised, few):
    monkeypatch.setattr("voxdex.indexer.store.edge.FEW", few)
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.OPTIMISERS", edge.EdgeOptimizersConfig(indexing_threshold=1))
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.MOST_INDEXED", 500)
    rng, expected = np.random.default_rng(0), {}
    conditions = {
        "duration>0": lambda clip: True,
        "duration<3": lambda clip: clip["duration"] < 3,
        "not path~b": lambda clip: clip["recording"] != "b",
        "path~nowhere": lambda clip: False,
    }
    with edge_store(tmp_path) as store:
        store.ensure_fields({"recording": "text", "duration": "number", "metadata.speaker": "text"})
        for turn in range(5):
            written = [*rng.choice(list(expected), 60, replace=False)] if expected else []
            for id in [*written, *(str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(200))]:
                clip = {"kind": "clip", "content": str(rng.integers(90)), "recording": "abc"[rng.integers(3)]}
                expected[id] = clip | {"duration": rng.uniform(1, 9), "metadata": {"speaker": f"s{rng.integers(9)}"}}
            store.upsert([Point(id, rng.normal(size=4).astype(np.float32), clip) for id, clip in expected.items()])
            for content in rng.choice(90, 20, replace=False):
                changes = {"metadata": {"speaker": f"t{turn}"}, "recording": "d"}
                store.set_payload({"content": str(content)}, changes)
                for clip in (clip for clip in expected.values() if clip["content"] == str(content)):
                    clip |= changes
            store.delete({"content": str(turn)})
            expected = {id: clip for id, clip in expected.items() if clip["content"] != str(turn)}
            if turn in optimised:
                store.optimise()
            for condition, meets in conditions.items():
                found = store.facets(["speaker", "path"], parse_filter(condition))
                clips = list(filter(meets, expected.values()))
                assert found["speaker"] == Counter(clip["metadata"]["speaker"] for clip in clips)
                assert found["path"] == Counter(clip["recording"] for clip in clips)


def test_liked_and_disliked_points_narrow_what_is_near(any_store):
    anna, _, cleo, dan = np.eye(4, dtype=np.float32)
    found = any_store.query(DiscoveryQuery(np.array([4, 3, 2, 1], np.float32), [(cleo + dan, anna)]), 4)
    assert [hit.payload["content"] for hit in found][:2] == ["cleo", "dan"]
    assert found[2].payload["content"] == "ben" and found[3].payload["content"] == "anna"


def test_points_are_sampled_and_fetched_by_id(any_store):
    hits = any_store.query(np.ones(4, np.float32), 4, vectors=True)
    sample = any_store.sample_vectors(3)
    assert (
        sample.shape == (3, 4) and (sample == any_store.sample_vectors(3)).all() and any_store.sample_vectors(9).shape == (4, 4)
    )
    [point] = any_store.retrieve([hits[2].id, str(uuid.uuid4())])
    assert point.id == hits[2].id and (point.vector == hits[2].vector).all() and point.payload == hits[2].payload


def test_points_survive_closing(store, tmp_path):
    store.close()
    with EdgeStore.open(tmp_path / "index") as again:
        assert names(again, "gender=male") == ["ben", "dan"]
        assert (again.space, again.model) == ("space", "mini")
        again.delete({"content": "ben"})
        assert names(again, "gender=male") == ["dan"]


def test_fields_survive_closing_before_and_after_they_are_indexed(waiting, tmp_path):
    store, schema = waiting, waiting.schema()
    assert list((tmp_path / "index").glob(f"shard-*/{DEFERRED}"))
    (tmp_path / "copy").mkdir()
    for step in (EdgeStore.flush, lambda again: again.facet("gender"), EdgeStore.optimise):
        store.close()
        with EdgeStore.open_copy(tmp_path / "index", tmp_path / "copy") as copy:
            assert copy.schema() == schema and copy.facet("speaker", parse_filter("duration>4")) == {"cleo": 1, "dan": 1}
        shutil.rmtree(tmp_path / "copy" / next((tmp_path / "copy").glob("shard-*")).name)
        store = EdgeStore.open(tmp_path / "index")
        step(store)
        assert store.schema() == schema and names(store, "recorded:2019..2021 and not path~tapes") == ["ben"]
    store.close()


def test_vectors_that_are_not_numbers_are_refused_as_a_whole(any_store):
    good = Point(str(uuid.uuid4()), np.ones(4, np.float32), {"kind": "clip", "content": "x"})
    bad = Point(str(uuid.uuid4()), np.full(4, np.nan, np.float32), {"content": "y"})
    with pytest.raises(StoreError, match="not numbers"):
        any_store.upsert([good, bad])
    assert any_store.count() == 4


def test_a_second_process_is_refused_and_harms_nothing(store, tmp_path):
    code = "import sys, pathlib; from voxdex.indexer.store.edge import EdgeStore; EdgeStore.open(pathlib.Path(sys.argv[1]))"
    second = subprocess.run([sys.executable, "-c", code, str(tmp_path / "index")], capture_output=True, text=True)
    assert "in use by another Voxdex process" in second.stderr
    store.upsert([Point(str(uuid.uuid4()), np.ones(4, np.float32), {"kind": "clip", "content": "x"})])
    store.close()
    with EdgeStore.open(tmp_path / "index") as again:
        assert again.count() == 5


def test_indexes_that_cannot_be_opened_are_explained(tmp_path):
    with pytest.raises(StoreError, match=r"no index at .*voxdex index"):
        EdgeStore.open(tmp_path / "nothing")
    broken = tmp_path / "broken"
    broken.mkdir()
    for content in ("{", "[]", "{}", "\udcff"):
        (broken / "index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
        with pytest.raises(StoreError, match="cannot be read"):
            EdgeStore.open(broken)
    (broken / "index.json").write_text(json.dumps({"format": 99, "space": "s", "model": "m"}))
    with pytest.raises(StoreError, match="format 99"):
        EdgeStore.open(broken)
    (broken / "index.json").write_text(json.dumps({"format": FORMAT, "space": "s", "model": "m"}))
    with pytest.raises(StoreError, match=r"shard-\w+, which it names, is not there"):
        EdgeStore.open(broken)
    EdgeStore.create(tmp_path / "emptied", "s", "m", 4).close()
    for file in (tmp_path / "emptied").glob("shard-*/segments/*/segment.json"):
        file.unlink()
    with pytest.raises(StoreError, match="engine failed"), EdgeStore.open(tmp_path / "emptied") as store:
        store.count()
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be made"):
        EdgeStore.create(tmp_path / "file" / "index", "s", "m", 4)


def test_an_index_is_made_only_once(tmp_path):
    with EdgeStore.create(tmp_path / "index", "space", "mini", 4) as store:
        assert store.count() == 0
    with pytest.raises(StoreError, match="already"):
        EdgeStore.create(tmp_path / "index", "space", "mini", 4)
    EdgeStore.open(tmp_path / "index").close()


def test_a_graph_finds_what_a_scan_finds(tmp_path, monkeypatch):
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.OPTIMISERS", edge.EdgeOptimizersConfig(indexing_threshold=1))
    monkeypatch.setattr("voxdex.indexer.store.edge_engine.GRAPH", {"m": 8, "ef_construct": 64, "full_scan_threshold": 1})
    vectors = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    with EdgeStore.create(tmp_path / "index", "space", "mini", 8) as store:
        store.upsert(
            [
                Point(str(uuid.uuid4()), vector, {"kind": "clip", "recording": str(place)})
                for place, vector in enumerate(vectors)
            ]
        )
        scanned = [[hit.id for hit in store.query(vector, 10)] for vector in vectors[:50]]
        store.optimise()
        walked = [[hit.id for hit in store.query(vector, 10)] for vector in vectors[:50]]
    assert np.mean([len(set(one) & set(other)) for one, other in zip(scanned, walked, strict=True)]) > 9.5
    with EdgeStore.open(tmp_path / "index") as store:
        assert [hit.id for hit in store.query(vectors[0], 10)] == walked[0] and store.count() == 3000


def test_a_disk_that_fills_up_stops_the_writing_and_loses_nothing(tmp_path, monkeypatch):
    point = Point(str(uuid.uuid4()), np.eye(4, dtype=np.float32)[0], {"kind": "clip", "recording": "a"})
    with EdgeStore.create(tmp_path / "index", "space", "mini", 4) as store:
        store.upsert([point])
        monkeypatch.setattr("voxdex.indexer.store.files.LEAST_FREE", 1 << 60)
        with pytest.raises(StoreError, match=r"only \d+ MB left.*run the same command again"):
            store.upsert([point])
        with pytest.raises(StoreError, match="MB left"):
            EdgeStore.create(tmp_path / "other", "space", "mini", 4)
    with EdgeStore.open(tmp_path / "index") as store:
        assert store.count() == 1
