"""What is said -> the clips in which it is said, whole or in a part of them; alone, or by a voice that is described."""

from dataclasses import replace

import numpy as np

from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.indexer.store.base import POSTERIORGRAM, ScoredPoint, Store
from voxdex.indexer.store.filters import And, HasId
from voxdex.search.cohort import ScoreCohort
from voxdex.search.diversity import choose
from voxdex.search.engine import CANDIDATES, check, grouping, wish_of
from voxdex.search.query import Hit, Query, QueryError, SpokenMatch, clip_fields
from voxdex.search.query_vector import query_vector

MOST_HEARD = 20_000
"""Clips whose frames are searched: those that are as a whole most like what is said."""
FUSION = 60
"""Of reciprocal rank fusion: 1 / (60 + rank) is what a place in each order is worth (Cormack et al. 2009)."""


def search_spoken(
    query: Query, store: Store, model: Model, listener: PhoneticModel, background: ScoreCohort | None = None
) -> list[Hit]:
    """Answers a query that says what is said (query.says), best first.

    The engine gives the clips nearest to the phonemes as a whole; in what was heard of each, the phonemes are then looked for
    from any frame to any other. With voices described as well, the engine puts the clips that match best into their order,
    and the two orders are fused by rank.

    Args:
        query: what is looked for.
        store: the index.
        model, listener: the ones that the index was made with.
        background: of the index, for who asks often; None samples it.

    Raises:
        QueryError: the index does not hold what is said, or not as the listener hears it; or see find.
        TextError: there is no phoneme in what is said; or see find.
        FilterError: a condition names an unknown field, or compares what has no order.
    """
    background = background or ScoreCohort.of(store)
    check(query, store, model, background)
    if store.phonetic is None:
        raise QueryError("The index does not hold what is said: index it again with --phonetic.")
    if store.phonetic.space != listener.card.space:
        raise QueryError(f"The index holds what is said as {store.phonetic.space} hears it, not {listener.card.space}.")
    wanted = query.skip + query.limit
    clips = _spot(query, store, listener)
    matches = {clip.id: clip.score for clip in clips}
    clips = clips[: CANDIDATES + 4 * wanted]
    target, ranking = None, replace(query.ranking, fold=1.0)
    if clips and (query.wishes or query.liked or query.disliked):
        target, ranking = query_vector(query, store, model, background), query.ranking
        clips = _fuse(clips, query, target, store)

    chosen = choose(clips, wanted, ranking, grouping(query, store))[query.skip :] if clips else []
    cosines = [None if target is None else float(each.clip.vector @ target) for each in chosen]
    return [
        Hit(
            **clip_fields(each.clip),
            rank=rank,
            score=each.clip.score,
            cosine=cosine,
            percentile=None if target is None else _percentile(cosine, target, background),
            meets={},
            copies=each.copies,
            said=_said(query.says, each.clip, matches[each.clip.id], listener),
        )
        for rank, (each, cosine) in enumerate(zip(chosen, cosines, strict=True), start=query.skip + 1)
    ]


def _spot(query: Query, store: Store, listener: PhoneticModel) -> list[ScoredPoint]:
    """Clips by how surely they say it."""
    words = next(listener.embed_phonemes([query.says])).vector
    near = store.query(words, MOST_HEARD, query.where, vectors=True, phonetic=True)
    matches = listener.match(query.says, [clip.payload[POSTERIORGRAM] for clip in near])
    clips = [replace(clip, score=float(match)) for clip, match in zip(near, matches, strict=True)]
    return sorted(clips, key=lambda clip: -clip.score)


def _fuse(clips: list[ScoredPoint], query: Query, target: np.ndarray, store: Store) -> list[ScoredPoint]:
    """Clips in their own order and in that of a voice, by reciprocal rank; see FUSION."""
    where = And((query.where, HasId(tuple(clip.id for clip in clips))))
    voices = store.query(wish_of(query, target, store), len(clips), where)
    place = {clip.id: rank for rank, clip in enumerate(voices, 1)}
    fused = [
        replace(clip, score=1 / (FUSION + rank) + 1 / (FUSION + place.get(clip.id, len(clips))))
        for rank, clip in enumerate(clips, 1)
    ]
    return sorted(fused, key=lambda clip: -clip.score)


def _percentile(cosine: float, target: np.ndarray, background: ScoreCohort) -> float:
    return float(background.percentiles(lambda vectors: vectors @ target, np.array([cosine]))[0])


def _said(phonemes: str, clip: ScoredPoint, match: float, listener: PhoneticModel) -> SpokenMatch:
    begin, end = listener.locate(phonemes, clip.payload[POSTERIORGRAM])
    first, last = clip.payload["start"], clip.payload["end"]
    return SpokenMatch(round(first + begin, 3), round(min(first + end, last), 3), match)
