"""A query -> the clips that fit best."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from encoders import Model
from indexer.store import EVERYTHING, Discovery, Filter, Neighbour, Store
from indexer.store.filters import keys_of, value_at
from search.aim import aim
from search.background import Background
from search.claims import Claim, Judge, read_claims
from search.query import Facet, Hit, Query, QueryError, about_clip
from search.ranking import Chosen, choose

CANDIDATES, MORE = 200, 4
"""How many clips are looked at, some more than are shown, and by what that grows while there are too few."""
DOUBT = 2.0
"""How much it counts against a clip that what a caption says is not heard in it, in standard deviations of the archive's scores
for a factor e in probability. That all words hold then counts for more than that one of them holds loudly: of the first ten
held-out clips 82 % meet both words of a caption instead of 78 %, and 78 % all three instead of 74 % (benchmarks.voices)."""


def find(query: Query, store: Store, model: Model, background: Background | None = None) -> list[Hit]:
    """Answers a query, best first.

    Args:
        query: what is looked for.
        store: the index.
        model: the one that the index was made with.
        background: of the index, for who asks often; None samples it.

    Raises:
        QueryError: the query or the index is empty, a caption of the query has no words or too many, a sound of it cannot be
            read, or the model is another one than the index was made with.
        TextError: a caption is not valid text.
        FilterError: a condition names an unknown field, or compares what has no order.
    """
    background = background or Background.of(store)
    check(query, store, model, background)
    target = aim(query, store, model, background)
    judge = Judge(_claims(query), model, background)

    fit = partial(scores_of, target=target, judge=judge, background=background)
    chosen = _choose(query, target, fit, store)[query.skip :]
    if not chosen:
        return []
    vectors = np.stack([each.clip.vector for each in chosen])
    percentiles = background.percentiles(fit, np.array([each.clip.score for each in chosen]))
    return [
        Hit(
            **about_clip(each.clip),
            rank=rank,
            score=each.clip.score,
            cosine=float(cosine),
            percentile=float(percentile),
            meets=met,
            copies=each.copies,
        )
        for rank, (each, cosine, percentile, met) in enumerate(
            zip(chosen, vectors @ target, percentiles, judge.meets(vectors), strict=True), start=query.skip + 1
        )
    ]


def scores_of(vectors: np.ndarray, target: np.ndarray, judge: Judge, background: Background) -> np.ndarray:
    """What clips [clips, dimension] are ranked by: their cosines with the target, less what is doubtful of the claims."""
    return vectors @ target - DOUBT * background.spread(target) * judge.doubt(vectors)


def _claims(query: Query) -> list[Claim]:
    """What the captions that are asked for say, and those that are not deny."""
    return [
        replace(claim, holds=claim.holds == (wish.weight > 0))
        for wish in query.wishes
        if isinstance(wish.part, str) and wish.weight
        for claim in read_claims(wish.part)
    ]


def _choose(query: Query, target: np.ndarray, fit: Callable[[np.ndarray], np.ndarray], store: Store) -> list[Chosen]:
    """The hits up to the last that is shown, of as many candidates as that takes."""
    wish = wish_of(query, target, store)
    group = grouping(query, store)
    wanted = query.skip + query.limit
    asked = CANDIDATES
    while asked < wanted + CANDIDATES // 2:
        asked *= MORE
    while True:
        found = store.query(wish, asked, query.where, vectors=True)
        if not found:
            return []
        vectors = np.stack([clip.vector for clip in found])
        candidates = [replace(clip, score=float(score)) for clip, score in zip(found, fit(vectors), strict=True)]
        if not isinstance(wish, Discovery):
            candidates.sort(key=lambda clip: -clip.score)
        chosen = choose(candidates, wanted, query.ranking, group)
        if len(chosen) == wanted or len(found) < asked or (vectors[-1] @ target < query.ranking.least and not query.liked):
            return chosen
        asked *= MORE


def check(query: Query, store: Store, model: Model, background: Background) -> None:
    """Refuses what cannot be answered.

    Raises:
        QueryError: see find.
    """
    if model.card.space != store.space:
        raise QueryError(
            f"The index belongs to the space {store.space}, but the model is {model.card.space}. "
            "Index the recordings again with this model, into another index."
        )
    if not len(background.vectors):
        raise QueryError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")


def wish_of(query: Query, target: np.ndarray, store: Store) -> np.ndarray | Discovery:
    """With clips both liked and disliked, the engine's discovery; what is only one of these has moved the target."""
    if not (query.liked and query.disliked):
        return target
    vectors = {point.id: point.vector for point in store.retrieve([*query.liked, *query.disliked])}
    gone = [id for id in (*query.liked, *query.disliked) if id not in vectors]
    if gone:
        raise QueryError(f"The index no longer holds the clip {gone[0]}; search again.")
    return Discovery(target, [(vectors[liked], vectors[disliked]) for liked in query.liked for disliked in query.disliked])


def grouping(query: Query, store: Store) -> Callable[[Neighbour], Any]:
    """What tells where a clip belongs, as the query groups clips; to itself where nothing is known.

    Raises:
        FilterError: there is no such field.
    """
    keys = keys_of(query.ranking.group, store.schema()) if query.ranking.group else []

    def group_of(clip: Neighbour) -> Any:
        value = value_at(clip.payload, keys)
        return clip.id if value is None else value

    return group_of


def count_values(field: str, hits: Sequence[Hit], store: Store, where: Filter = EVERYTHING) -> Facet:
    """How often each value of a field of text occurs among hits, and among all clips that meet the conditions.

    Raises:
        FilterError: there is no such field, or it is not text.
    """
    return count_fields([field], hits, store, where)[0]


def count_fields(fields: Sequence[str], hits: Sequence[Hit], store: Store, where: Filter = EVERYTHING) -> list[Facet]:
    """The same of several fields, for which the conditions are looked at once."""
    everywhere = store.facets(fields, where)
    return [Facet(field, count_among(field, hits, store), everywhere[field]) for field in fields]


def count_among(field: str, hits: Sequence[Hit], store: Store) -> Counter[str]:
    """How often each value of a field occurs among hits.

    Raises:
        FilterError: there is no such field.
    """
    keys = keys_of(field, store.schema())
    return Counter(str(value) for hit in hits if (value := value_at(vars(hit), keys)) is not None)
