from pathlib import Path

import pytest

from tests.fakes.sounds import voice, write_sound
from voxdex.encoders.model import open_model
from voxdex.indexer.index import index
from voxdex.indexer.metadata import read_metadata
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError
from voxdex.search.caption_parser import parse_caption
from voxdex.search.classify import classify_file, label_set
from voxdex.search.engine import search_index
from voxdex.search.query import Query, QueryError, Ranking, ask


@pytest.fixture(scope="module")
def store(mini, demo_archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("indexed")
    rows = [f"{path},{path.name.split('-')[0]}" for path in sorted(demo_archive.iterdir())]
    (folder / "people.csv").write_text("\n".join(["path,speaker", *rows]))
    with EdgeStore.create(folder / "index", mini.card.space, "mini", mini.card.dimension) as store:
        report = index(find_recordings([demo_archive]), store, mini, read_metadata(folder / "people.csv"))
        assert report.indexed == 40 and not report.failed
        yield store


def speakers(store, mini, query):
    return [hit.metadata["speaker"] for hit in search_index(query, store, mini)]


def test_hits_are_ranked_and_complete(store, mini):
    hits = search_index(Query(ask("a woman"), limit=7), store, mini)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(-1 <= hit.score <= 1 and 0 <= hit.start < hit.end <= 10 and Path(hit.recording).exists() for hit in hits)
    assert {"gender", "emotion", "pitch"} <= set(hits[0].attributes)


def test_captions_find_synthetic_voices_that_sound_so(store, mini):
    women = {"anna", "bella", "clara", "dora", "julia"}
    assert sum(speaker in women for speaker in speakers(store, mini, Query(ask("a woman")))) >= 8
    assert sum(speaker not in women for speaker in speakers(store, mini, Query(ask("a man")))) >= 8
    assert sum(speaker in {"dora", "henry"} for speaker in speakers(store, mini, Query(ask("whispering"), limit=8))) >= 5


def test_a_recording_finds_itself_and_its_voice(store, mini, demo_archive):
    hits = search_index(Query(ask(like=[demo_archive / "edgar-2.opus"]), limit=4), store, mini)
    assert Path(hits[0].recording).name == "edgar-2.opus" and hits[0].score > 0.999
    assert sum(hit.metadata["speaker"] == "edgar" for hit in hits) >= 3


def test_a_caption_and_a_recording_together(store, mini, demo_archive):
    both = search_index(
        Query(ask("a woman", like=[demo_archive / "edgar-2.opus"]), limit=40, ranking=Ranking(fold=1)), store, mini
    )
    alone = search_index(Query(ask("a woman"), limit=40, ranking=Ranking(fold=1)), store, mini)
    place = {hit.recording: hit.rank for hit in alone}
    edgar = str(demo_archive / "edgar-2.opus")
    assert next(hit.rank for hit in both if hit.recording == edgar) < place[edgar]


def test_conditions_narrow_the_answer(store, mini):
    where = parse_filter("speaker=anna,frank", "duration<4")
    hits = search_index(Query(ask("a woman"), where, limit=40), store, mini)
    assert hits and {hit.metadata["speaker"] for hit in hits} <= {"anna", "frank"}
    assert all(hit.end - hit.start < 4 for hit in hits)
    with pytest.raises(FilterError, match="no field 'shoe'"):
        search_index(Query(ask("a woman"), parse_filter("shoe=42")), store, mini)


@pytest.mark.parametrize("query", [Query(), Query(ask("   "))])
def test_empty_queries_are_refused(store, mini, query):
    with pytest.raises(QueryError, match="empty"):
        search_index(query, store, mini)


def test_a_sound_that_cannot_be_read_is_named(store, mini, tmp_path):
    with pytest.raises(QueryError, match=r"gone\.wav cannot be searched by: there is no such file"):
        search_index(Query(ask(like=[tmp_path / "gone.wav"])), store, mini)


def test_an_index_of_another_space_is_refused(store, mini, tmp_path):
    with (
        EdgeStore.create(tmp_path / "other", "mini@0:other", "mini", mini.card.dimension) as other,
        pytest.raises(QueryError, match="belongs to the space mini@0:other"),
    ):
        search_index(Query(ask("a woman")), other, open_model("mini"))


def test_classification_gives_probabilities(mini, demo_archive, tmp_path):
    questions = [label_set(mini, "gender"), label_set(mini, "mood", ["bored", "excited"], ["someone who sounds {}"])]
    (clip,) = classify_file(mini, demo_archive / "anna-1.wav", questions)
    assert set(clip.probabilities) == {"gender", "mood"}
    assert set(clip.probabilities["gender"]) == {"female", "male"} and set(clip.probabilities["mood"]) == {"bored", "excited"}
    assert all(sum(scores.values()) == pytest.approx(1, abs=1e-3) for scores in clip.probabilities.values())
    clips = classify_file(mini, write_sound(tmp_path / "long.wav", voice(15)), questions)
    assert [(clip.start, clip.end) for clip in clips] == [(0.0, 10.0), (9.0, 15.0)]


def test_questions_that_make_no_sense_are_refused(mini):
    with pytest.raises(QueryError, match=r"no attribute 'mood'.*gender"):
        label_set(mini, "mood")
    with pytest.raises(QueryError, match="where the label goes"):
        label_set(mini, "gender", templates=["a voice"])


@pytest.mark.parametrize(
    ("caption", "affirmed", "negated"),
    [
        ("a sad woman", "a sad woman", ()),
        ("not whispered", "", ("whispered",)),
        ("A woman, but not whispering.", "A woman", ("whispering",)),
        ("a calm voice without sadness, deep", "a calm voice, deep", ("sadness",)),
        ("someone who is not a child with a deep voice", "someone with a deep voice", ("child",)),
        ("never shouting, by no means too loud", "", ("shouting", "loud")),
        ("a man without any particular emotion, in no hurry", "a man without any particular emotion, in no hurry", ()),
        ("knotty, nothing, another", "knotty, nothing, another", ()),
    ],
)
def test_captions_are_split_into_affirmed_and_negated_parts(caption, affirmed, negated):
    parsed = parse_caption(caption)
    assert (parsed.affirmed, parsed.negated) == (affirmed, negated)


def test_what_is_denied_is_not_found(store, mini):
    whispering = {"dora", "henry"}
    for caption in ("not whispering", "a voice without a whisper"):
        assert not whispering & set(speakers(store, mini, Query(ask(caption), limit=20)))
    women = speakers(store, mini, Query(ask("a woman, not whispering"), limit=10))
    assert sum(speaker in {"anna", "bella", "clara", "julia"} for speaker in women) >= 8 and "dora" not in women
    assert speakers(store, mini, Query(ask("not"), limit=1))
