"""Search: ranking, similar recordings, filters and refusals."""

from pathlib import Path

import pytest

from voxdex.encoders.model import open_model
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import FilterError
from voxdex.search.engine import search_index
from voxdex.search.query import Query, QueryError, Ranking, ask


def search_speakers(store, mini, query):
    return [hit.metadata["speaker"] for hit in search_index(query, store, mini)]


def test_hits_are_ranked(store, mini):
    hits = search_index(Query(ask("a woman"), limit=7), store, mini)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6, 7]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert all(-1 <= hit.score <= 1 and 0 <= hit.start < hit.end <= 10 and Path(hit.recording).exists() for hit in hits)
    assert {"gender", "emotion", "pitch"} <= set(hits[0].attributes)


def test_captions_find_matching_synthetic_voices(store, mini):
    women = {"anna", "bella", "clara", "dora", "julia"}
    assert sum(speaker in women for speaker in search_speakers(store, mini, Query(ask("a woman")))) >= 8
    assert sum(speaker not in women for speaker in search_speakers(store, mini, Query(ask("a man")))) >= 8
    assert sum(speaker in {"dora", "henry"} for speaker in search_speakers(store, mini, Query(ask("whispering"), limit=8))) >= 5


def test_recording_finds_itself_and_its_speaker(store, mini, demo_archive):
    hits = search_index(Query(ask(like=[demo_archive / "edgar-2.opus"]), limit=4), store, mini)
    assert Path(hits[0].recording).name == "edgar-2.opus" and hits[0].score > 0.999
    assert sum(hit.metadata["speaker"] == "edgar" for hit in hits) >= 3


def test_caption_and_recording_together(store, mini, demo_archive):
    both = search_index(
        Query(ask("a woman", like=[demo_archive / "edgar-2.opus"]), limit=40, ranking=Ranking(fold=1)), store, mini
    )
    alone = search_index(Query(ask("a woman"), limit=40, ranking=Ranking(fold=1)), store, mini)
    place = {hit.recording: hit.rank for hit in alone}
    edgar = str(demo_archive / "edgar-2.opus")
    assert next(hit.rank for hit in both if hit.recording == edgar) < place[edgar]


def test_filters(store, mini):
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


def test_unreadable_sounds(store, mini, tmp_path):
    with pytest.raises(QueryError, match=r"gone\.wav cannot be searched by: there is no such file"):
        search_index(Query(ask(like=[tmp_path / "gone.wav"])), store, mini)


def test_index_of_another_space(store, mini, tmp_path):
    with (
        EdgeStore.create(tmp_path / "other", "mini@0:other", "mini", mini.card.dimension) as other,
        pytest.raises(QueryError, match="belongs to the space mini@0:other"),
    ):
        search_index(Query(ask("a woman")), other, open_model("mini"))


def test_negated_captions(store, mini):
    whispering = {"dora", "henry"}
    for caption in ("not whispering", "a voice without a whisper"):
        assert not whispering & set(search_speakers(store, mini, Query(ask(caption), limit=20)))
    women = search_speakers(store, mini, Query(ask("a woman, not whispering"), limit=10))
    assert sum(speaker in {"anna", "bella", "clara", "julia"} for speaker in women) >= 8 and "dora" not in women
    assert search_speakers(store, mini, Query(ask("not"), limit=1))
