"""Queries: weights, directions, feedback, groups and both back ends."""

import numpy as np
import pytest

from tests.fakes.library import WHISPERING, WOMEN, find_recording, speakers
from tests.fakes.qdrant.double import qdrant_double
from voxdex.indexer.calibration import read_calibration, write_calibration
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.search.engine import count_facets, search_index
from voxdex.search.query import Direction, Query, QueryTerm, Ranking, Sound, ask


def test_both_stores_give_the_same_hits(store, mini):
    pytest.importorskip("qdrant_client", reason="qdrant-client comes with the server extra")
    from voxdex.indexer.store.qdrant_connection import connect
    from voxdex.indexer.store.qdrant_server import ServerStore

    made = ("voices", store.space, "mini", 256)
    with qdrant_double() as double, ServerStore.create(connect(double.url), *made) as server:
        server.ensure_fields(store.schema())
        server.upsert([*store.points({"kind": "recording"}), *store.points({"kind": "clip"})])
        write_calibration(server, read_calibration(store))
        sample = search_index(Query(ask("a man")), store, mini)
        queries = [
            Query(ask("a calm woman", without=["whispering"], like=[sample[0]]), parse_filter("duration<8 and not whispered")),
            Query(ask("a man"), parse_filter("speaker~?n* or recorded>2019-05")),
            Query(ask("a man"), liked=[sample[1].id], disliked=[sample[0].id], limit=3),
            Query(ask("a woman"), ranking=Ranking(group_by="speaker", diversity=0.5), limit=5, skip=2),
        ]
        for query in queries:
            embedded, served = (search_index(query, one, mini) for one in (store, server))
            assert embedded and [hit.id for hit in embedded] == [hit.id for hit in served]
            assert [hit.score for hit in embedded] == pytest.approx([hit.score for hit in served], abs=1e-5)
        assert count_facets(["speaker"], sample, store) == count_facets(["speaker"], sample, server)


def test_scores_and_percentiles(store, mini):
    hits = search_index(Query(ask("a high-pitched woman"), limit=40), store, mini)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert hits[0].percentile > 90 > hits[-1].percentile and all(0 <= hit.percentile <= 100 for hit in hits)
    assert all(hit.score <= hit.cosine for hit in hits)
    assert set(hits[0].matched) == {"high-pitched", "woman"} and all(hits[0].matched.values())
    assert not any(hits[-1].matched.values())


def test_every_term_counts(store, mini):
    first = search_index(Query(ask("a whispering woman"), limit=4), store, mini)
    assert speakers(first).count("dora") >= 3
    assert {hit.metadata["speaker"] for hit in search_index(Query(ask("a whispering man"), limit=4), store, mini)} & {"henry"}


def test_unwanted_captions_and_clips(store, mini):
    assert not WHISPERING & set(speakers(search_index(Query(ask("a voice", without=["whispering"]), limit=20), store, mini)))
    [like] = search_index(Query(ask("whispering"), limit=1), store, mini)
    away = search_index(Query(ask("a woman", unlike=[like]), limit=8), store, mini)
    assert not WHISPERING & set(speakers(away))
    assert speakers(search_index(Query(ask(without="whispering"), limit=5), store, mini))


def test_direction(store, mini, demo_archive):
    edgar = QueryTerm(Sound(find_recording(demo_archive, "edgar-1")))
    moved = search_index(Query([edgar, QueryTerm(Direction("a man", "a woman"), 2)], limit=40), store, mini)
    assert speakers(search_index(Query([edgar], limit=1), store, mini)) == ["edgar"]
    assert sum(speaker in WOMEN for speaker in speakers(moved)[:10]) >= 7


def test_weights(store, mini):
    def mean_rank_of_women(weight):
        wishes = [QueryTerm("a woman", weight), QueryTerm("a man", 1)]
        hits = search_index(Query(wishes, limit=100, ranking=Ranking(fold=1.0)), store, mini)
        return np.mean([hit.rank for hit in hits if hit.metadata["speaker"] in WOMEN])

    assert mean_rank_of_women(10) < mean_rank_of_women(0.1)


def test_liked_and_disliked_hits(store, mini):
    hits = search_index(Query(ask("a woman"), limit=40), store, mini)
    best, middle = hits[0], hits[len(hits) // 2]

    def mean_rank(of, **feedback):
        found = search_index(Query(ask("a woman"), limit=40, **feedback), store, mini)
        return np.mean([hit.rank for hit in found if hit.metadata["speaker"] == of.metadata["speaker"]])

    assert mean_rank(middle, liked=[middle.id], disliked=[best.id]) < mean_rank(middle)
    assert mean_rank(middle, liked=[middle.id]) < mean_rank(middle)
    assert mean_rank(best, disliked=[best.id]) > mean_rank(best)


def test_groups_duplicates_pages_and_diversity(store, mini):
    grouped = search_index(Query(ask("a woman"), ranking=Ranking(group_by="speaker"), limit=6), store, mini)
    assert len(set(speakers(grouped))) == 6
    two = search_index(Query(ask("a woman"), ranking=Ranking(group_by="speaker", per_group=2), limit=10), store, mini)
    assert max(map(speakers(two).count, speakers(two))) == 2
    whole, second = (
        search_index(Query(ask("a woman"), limit=limit, skip=skip), store, mini) for limit, skip in ((10, 0), (5, 5))
    )
    assert [hit.id for hit in second] == [hit.id for hit in whole[5:]] and second[0].rank == 6
    folded = search_index(Query(ask("a woman"), ranking=Ranking(fold=0.6), limit=5), store, mini)
    assert sum(hit.duplicates for hit in folded) > 0 and all(hit.duplicates == 0 for hit in whole)
    varied = search_index(Query(ask("a woman"), ranking=Ranking(diversity=0.8), limit=10), store, mini)
    assert len(set(speakers(varied))) > len(set(speakers(whole)))
    lowest = (whole[3].score + whole[4].score) / 2
    assert len(search_index(Query(ask("a woman"), ranking=Ranking(min_score=lowest), limit=40), store, mini)) == 4


@pytest.mark.parametrize("caption", ["женский голос", "女性の声", "x", "not", "'; DROP TABLE", "a\nwoman"])
def test_any_words_are_a_caption(store, mini, caption):
    assert len(search_index(Query(ask(caption), limit=3), store, mini)) == 3
