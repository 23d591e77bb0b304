"""What is said -> the clips in which it is said, whole or in a part of them; alone, or by a voice that is described."""

from dataclasses import replace

import numpy as np

from encoders import SAMPLE_RATE, Model
from encoders.phonetic_model import PhoneticModel, windows_of
from indexer.store import Point, Store
from search.aim import aim
from search.background import Background
from search.finding import CANDIDATES, check, grouping, wish_of
from search.query import Hit, Query, QueryError, Said, about_clip
from search.ranking import choose


def find_said(
    query: Query, store: Store, model: Model, listener: PhoneticModel, background: Background | None = None
) -> list[Hit]:
    """Answers a query that says what is said (query.says), best first.

    Alone, clips are ranked by the cosine of the phonemes with the whole clip or the nearest of its windows; with voices
    described, the engine fuses that order and theirs by rank.

    Args:
        query: what is looked for.
        store: the index.
        model, listener: the ones that the index was made with.
        background: of the index, for who asks often; None samples it.

    Raises:
        QueryError: the index does not hold what is said, or not as the listener hears it; or see find.
        FilterError: a condition names an unknown field, or compares what has no order.
    """
    background = background or Background.of(store)
    check(query, store, model, background)
    if store.says is None:
        raise QueryError("The index does not hold what is said: index it again with --says.")
    if store.says.space != listener.card.space:
        raise QueryError(f"The index holds what is said as {store.says.space} hears it, not {listener.card.space}.")
    words = next(listener.embed_phonemes([query.says])).vector
    voiced = bool(query.wishes or query.liked or query.disliked)
    target = aim(query, store, model, background) if voiced else None
    wish = None if target is None else wish_of(query, target, store)
    ranking = query.ranking if voiced else replace(query.ranking, fold=1.0)

    wanted = query.skip + query.limit
    found = store.query(wish, CANDIDATES + 4 * wanted, query.where, vectors=True, says=words)
    chosen = choose(found, wanted, ranking, grouping(query, store))[query.skip :] if found else []
    points = {point.id: point for point in store.retrieve([each.clip.id for each in chosen])}
    hits = []
    for rank, each in enumerate(chosen, start=query.skip + 1):
        said = place_of(points[each.clip.id], words)
        cosine = None if target is None else float(each.clip.vector @ target)
        percentile = None
        if cosine is not None:
            percentile = float(background.percentiles(lambda vectors: vectors @ target, np.array([cosine]))[0])
        hits.append(
            Hit(
                **about_clip(each.clip),
                rank=rank,
                score=each.clip.score,
                cosine=cosine,
                percentile=percentile,
                meets={},
                copies=each.copies,
                said=said,
            )
        )
    return hits


def place_of(clip: Point, words: np.ndarray) -> Said | None:
    """Where in a clip phonemes are nearest: all of it, or one of its windows; None where what it says was not indexed."""
    if clip.says is None:
        return None
    start, end = clip.payload["start"], clip.payload["end"]
    windows = windows_of(round((end - start) * SAMPLE_RATE)) / SAMPLE_RATE
    spans = np.concatenate([[[0.0, end - start]], windows])
    cosines = clip.says @ words
    nearest = int(cosines[: len(spans)].argmax())
    begin, stop = spans[nearest] + start
    return Said(round(float(begin), 3), round(float(stop), 3), float(cosines[nearest]))
