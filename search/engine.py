"""Search: a query -> the best clips of an index, in groups, without duplicates, and as diverse as wanted."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.indexer.location import open_phonetic_encoder
from voxdex.indexer.speakers import NO_SPEAKERS, SpeakerSpace
from voxdex.indexer.store.base import DiscoveryQuery, ScoredPoint, Store
from voxdex.indexer.store.filters import MATCH_ALL, And, Filter, HasId, keys_of, value_at
from voxdex.search.query import Facet, Hit, Query, QueryError, Ranking, SpokenMatch, clip_fields
from voxdex.search.same_speaker import SameSpeaker
from voxdex.search.scoring import QueryScorer, ScoreCohort, clip_vectors
from voxdex.search.spoken import SpokenText
from voxdex.search.transcripts import TranscriptText

CANDIDATES, GROWTH = 200, 4
"""Initial number of candidates, and the factor by which it grows while they make too few hits."""
FUSED_DEVIATIONS = 3
"""Standard deviations on either side of the mean that make up the range of fused scores, 0 to 1."""

GroupOf = Callable[[ScoredPoint], Any]
"""Returns the group of a clip."""


def search_index(
    query: Query,
    store: Store,
    model: Model,
    *,
    cohort: ScoreCohort | None = None,
    open_phonetic: Callable[[], PhoneticModel | None] | None = None,
    speakers: SpeakerSpace | None = None,
) -> list[Hit]:
    """Answer a query, best first.

    Without a text to find, the engine finds the clips nearest to the query vector, and they are ranked by the formula of
    search.scoring. With spoken text, or words of transcripts, the clips that match it best are found, and ranked by the match;
    if the query describes a voice too, the match and the score by the formula are fused. A query for one person's voice (see
    SameSpeaker) has only clips of that person, ranked by all this, or else those nearest to the voice.

    Args:
        query: the query.
        store: the index.
        model: the model of the index.
        cohort: sample of the index, for repeated searches; None draws one.
        open_phonetic: returns the phonetic model of the index, for repeated searches; None opens it.
        speakers: speakers of the index, for a query for a person's voice; see indexer.speakers.open_speakers.

    Raises:
        QueryError: the query or the index is empty, a caption has no words or is too long, a sound cannot be read, the model
            belongs to another space, or the index has no phonetic vectors for the spoken text, or no transcripts.
        TextError: a caption is not valid text, or the model knows none of the phonemes.
        FilterError: a filter names an unknown field, or compares values without an order.
    """
    cohort = cohort or ScoreCohort.of(store)
    check_index(store, model, cohort)
    same = SameSpeaker.of(query.voice, store, _needed(speakers)) if query.voice else None
    texts: list[SpokenText | TranscriptText] = [TranscriptText(query.text, store)] if query.text else []
    if query.phonemes:
        texts.append(SpokenText(query.phonemes, store, open_phonetic() if open_phonetic else open_phonetic_encoder(store)))
    spoken = _AnyText(texts) if texts else None
    scorer = None
    is_described = bool(query.terms or query.liked or query.disliked)
    if same and (spoken or is_described):
        query = replace(query, where=same.filter(query.where))
    if is_described or (spoken is None and same is None):
        scorer = QueryScorer(query, model=model, cohort=cohort, store=store)

    if spoken is not None:
        clips = spoken.candidates(query.where)
        candidates = _ranked_candidates(clips, query, scorer, store)
    elif scorer is None:
        assert same is not None
        candidates = _ranked_candidates(same.candidates(query.where, store), query, scorer, store)
    else:
        candidates = _voice_candidates(query, scorer, store)
    selected = _select_enough(candidates, query, store, by_voice=scorer is not None)[query.skip :]
    hits = _as_hits(selected, query.skip + 1, scorer)
    if spoken is not None:
        hits = [replace(hit, spoken=spoken.locate(each.clip)) for hit, each in zip(hits, selected, strict=True)]
    return [replace(hit, same_voice=same.cosines[hit.id]) for hit in hits] if same else hits


def _needed(speakers: SpeakerSpace | None) -> SpeakerSpace:
    """Return the speakers of an index; raises QueryError where it has none."""
    if speakers is None:
        raise QueryError(NO_SPEAKERS)
    return speakers


class _AnyText:
    """A search for texts by sound and in transcripts; each clip counts by the text that it matches best."""

    def __init__(self, texts: Sequence[SpokenText | TranscriptText]) -> None:
        self._texts = texts
        self._best: dict[str, tuple[SpokenText | TranscriptText, ScoredPoint]] = {}

    def candidates(self, where: Filter) -> list[ScoredPoint]:
        """Return clips that match a filter, with their vectors, best first; the score is the match, 0 to 1."""
        for text in self._texts:
            for clip in text.candidates(where):
                if clip.id not in self._best or clip.score > self._best[clip.id][1].score:
                    self._best[clip.id] = text, clip
        return sorted((clip for _, clip in self._best.values()), key=lambda clip: -clip.score)

    def locate(self, clip: ScoredPoint) -> SpokenMatch:
        """Return the location of the text in a candidate."""
        text, candidate = self._best[clip.id]
        return text.locate(candidate, candidate.score)


def check_index(store: Store, model: Model, cohort: ScoreCohort) -> None:
    """Raise QueryError for an index of another model, or without clips."""
    if model.card.space != store.space:
        raise QueryError(
            f"The index belongs to the space {store.space}, but the model is {model.card.space}. "
            "Index the recordings again with this model, into another index."
        )
    if not len(cohort.vectors):
        raise QueryError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")


# Candidates


def _voice_candidates(query: Query, scorer: QueryScorer, store: Store) -> Iterator[list[ScoredPoint]]:
    """Growing lists of the clips nearest to the query vector, with their vectors and ranking scores, best first.

    Discovery (liked and disliked clips) has an order of its own, which is kept.
    """
    nearest_to = _engine_query(query, scorer.target, store)
    is_discovery = isinstance(nearest_to, DiscoveryQuery)
    for count in _counts(query):
        clips = store.query(nearest_to, count, query.where, vectors=True)
        if not clips:
            return
        vectors = _vectors_of(clips)
        scored = [replace(clip, score=float(score)) for clip, score in zip(clips, scorer.scores(vectors), strict=True)]
        yield scored if is_discovery else sorted(scored, key=lambda clip: -clip.score)
        is_below = not is_discovery and vectors[-1] @ scorer.target < query.ranking.min_score
        if len(clips) < count or is_below:
            return


def _ranked_candidates(
    clips: list[ScoredPoint], query: Query, scorer: QueryScorer | None, store: Store
) -> Iterator[list[ScoredPoint]]:
    """Growing lists of the clips that match a text or a voice best, ranked by the match or, with a caption, by the fusion."""
    for count in _counts(query):
        yield clips[:count] if scorer is None else _fused(clips[:count], query, scorer, store)
        if len(clips) <= count:
            return


def _counts(query: Query) -> Iterator[int]:
    """Numbers of candidates to try, some more than there are hits to show."""
    count = CANDIDATES
    while count < query.skip + query.limit + CANDIDATES // 2:
        count *= GROWTH
    while True:
        yield count
        count *= GROWTH


def _fused(clips: list[ScoredPoint], query: Query, scorer: QueryScorer, store: Store) -> list[ScoredPoint]:
    """Sort clips by the sum of their spoken match and their score by voice, each on the scale of these clips.

    It is distribution-based score fusion: unlike a fusion of ranks it keeps how much better the clips match that say the text.
    """
    if not clips:
        return []
    nearest_to = _engine_query(query, scorer.target, store)
    if isinstance(nearest_to, DiscoveryQuery):
        among = And((query.where, HasId(tuple(clip.id for clip in clips))))
        found = {clip.id: clip.score for clip in store.query(nearest_to, len(clips), among)}
        by_voice = np.array([found.get(clip.id, min(found.values(), default=0)) for clip in clips])
    else:
        by_voice = scorer.scores(_vectors_of(clips))
    fused = _in_range(np.array([clip.score for clip in clips])) + _in_range(by_voice)
    return [replace(clips[row], score=float(fused[row])) for row in np.argsort(-fused, kind="stable")]


def _in_range(scores: np.ndarray) -> np.ndarray:
    """Scale scores [clips] by their own distribution: the mean becomes 0.5."""
    deviation = float(np.std(scores))
    return 0.5 + (scores - np.mean(scores)) / (2 * FUSED_DEVIATIONS * deviation) if deviation else np.full(len(scores), 0.5)


def _engine_query(query: Query, target: np.ndarray, store: Store) -> np.ndarray | DiscoveryQuery:
    """What the engine searches by: the query vector, or discovery with clips both liked and disliked."""
    if not (query.liked and query.disliked):
        return target
    vectors = clip_vectors([*query.liked, *query.disliked], store)
    return DiscoveryQuery(target, [(vectors[liked], vectors[disliked]) for liked in query.liked for disliked in query.disliked])


def _vectors_of(clips: Sequence[ScoredPoint]) -> np.ndarray:
    """The voice vectors of one or more clips, float32 [clips, dimension]."""
    return np.array([clip.vector for clip in clips], dtype=np.float32)


# Selection


@dataclass(frozen=True)
class Selected:
    """A clip that is shown, and the number of its duplicates that are not."""

    clip: ScoredPoint
    duplicates: int


def select(candidates: Sequence[ScoredPoint], count: int, ranking: Ranking, group_of: GroupOf) -> list[Selected]:
    """Select at most `count` of the candidates, in the order in which they are shown.

    Args:
        candidates: clips with vectors, best first.
        count: number of clips to select.
        ranking: limits of groups, duplicates, diversity and score.
        group_of: returns the group of a clip.
    """
    if not candidates:
        return []
    selected: list[ScoredPoint] = []
    vectors = np.empty((count, _vectors_of(candidates[:1]).shape[1]), np.float32)
    duplicates: Counter[str] = Counter()
    shown: Counter[object] = Counter()
    for clip in _diversified(candidates, ranking.diversity):
        [vector] = _vectors_of([clip])
        cosines = vectors[: len(selected)] @ vector
        if ranking.fold < 1 and cosines.max(initial=-1.0) >= ranking.fold:
            duplicates[selected[cosines.argmax()].id] += 1
            continue
        group = group_of(clip) if ranking.group_by else clip.id
        if len(selected) < count and clip.score >= ranking.min_score and shown[group] < ranking.per_group:
            vectors[len(selected)] = vector
            selected.append(clip)
            shown[group] += 1
    return [Selected(clip, duplicates[clip.id]) for clip in selected]


def _select_enough(candidates: Iterable[list[ScoredPoint]], query: Query, store: Store, *, by_voice: bool) -> list[Selected]:
    """Select the hits up to the last one shown, from as many candidates as that needs.

    Duplicates are folded by the voice, and so only in a search by voice.
    """
    group_of = _grouping(query.ranking.group_by, store)
    ranking = query.ranking if by_voice else replace(query.ranking, fold=1.0)
    count, selected = query.skip + query.limit, []
    for clips in candidates:
        selected = select(clips, count, ranking, group_of)
        if len(selected) == count:
            break
    return selected


def _diversified(candidates: Sequence[ScoredPoint], diversity: float) -> Iterable[ScoredPoint]:
    """Order candidates by score, or by maximal marginal relevance."""
    if not diversity:
        yield from candidates
        return
    vectors = _vectors_of(candidates)
    scores = np.array([clip.score for clip in candidates])
    relevance = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-6)
    similarity, left = np.zeros(len(candidates)), np.ones(len(candidates), bool)
    for _ in candidates:
        best = int(np.where(left, (1 - diversity) * relevance - diversity * similarity, -np.inf).argmax())
        left[best] = False
        similarity = np.maximum(similarity, (1 + vectors @ vectors[best]) / 2)
        yield candidates[best]


def _grouping(field: str | None, store: Store) -> GroupOf:
    """Return the function that gives a clip's value of a field, or the clip's id where it has none.

    Raises:
        FilterError: there is no such field.
    """
    keys = keys_of(field, store.schema()) if field else []

    def group_of(clip: ScoredPoint) -> Any:
        value = value_at(clip.payload, keys)
        return clip.id if value is None else value

    return group_of


def _as_hits(selected: Sequence[Selected], first_rank: int, scorer: QueryScorer | None) -> list[Hit]:
    """Describe the selected clips; without a scorer, they have no cosine, percentile or matched terms."""
    clips = [each.clip for each in selected]
    voices: list[dict[str, Any]] = [{"cosine": None, "percentile": None, "matched": {}} for _ in clips]
    if scorer is not None and clips:
        vectors = _vectors_of(clips)
        percentiles = scorer.percentiles(scorer.scores(vectors))
        rows = zip(vectors @ scorer.target, percentiles, scorer.matched(vectors), strict=True)
        voices = [
            {"cosine": float(cosine), "percentile": float(percentile), "matched": matched}
            for cosine, percentile, matched in rows
        ]
    return [
        Hit(**clip_fields(each.clip), rank=rank, score=each.clip.score, duplicates=each.duplicates, **voice)
        for rank, (each, voice) in enumerate(zip(selected, voices, strict=True), start=first_rank)
    ]


# Facets


def count_facets(fields: Sequence[str], hits: Sequence[Hit], store: Store, where: Filter = MATCH_ALL) -> list[Facet]:
    """Count the values of text fields among hits, and among all clips that match a filter.

    Raises:
        FilterError: there is no such field, or it is not text.
    """
    totals: Mapping[str, Mapping[str, int]] = store.facets(fields, where)
    return [Facet(field, count_values(field, hits, store), totals[field]) for field in fields]


def count_values(field: str, hits: Sequence[Hit], store: Store) -> Counter[str]:
    """Count the values of a field among hits.

    Raises:
        FilterError: there is no such field.
    """
    keys = keys_of(field, store.schema())
    return Counter(str(value) for hit in hits if (value := value_at(vars(hit), keys)) is not None)
