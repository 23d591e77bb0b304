"""Whole recordings as answers: ranked by how much of their speech fits a query."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxdex.encoders.model import Model
from voxdex.indexer.store.base import CLIP, KIND, ScoredPoint, Store
from voxdex.indexer.store.filters import Condition
from voxdex.search.engine import check_index
from voxdex.search.query import ClipRecord, Query, QueryError, clip_fields
from voxdex.search.scoring import QueryScorer, ScoreCohort


@dataclass(frozen=True, kw_only=True)
class RecordingHit:
    """A recording of an answer.

    rank: from 1. score: mean of its clips' scores, weighted by their length. matched: share of its speech whose clips match
    all terms that the model hears, 0 to 1; None without such terms. clips, speech_seconds: that the filters let through. best:
    start, end and score of its best clip.
    """

    rank: int
    recording: str
    score: float
    matched: float | None
    clips: int
    speech_seconds: float
    best: Mapping[str, float]
    metadata: Mapping[str, Any]


def rank_recordings(query: Query, store: Store, model: Model, *, cohort: ScoreCohort | None = None) -> list[RecordingHit]:
    """Rank the recordings of an index by the mean score of all their clips that the query's filter lets through.

    All of these clips are scored, so it takes seconds for 100,000.

    Args:
        query: the query, without a text or a voice to find and without clips to move towards or away from.
        store: the index.
        model: the model of the index.
        cohort: sample of the index, for repeated searches; None draws one.

    Raises:
        QueryError: see search_index; or the query has a text or a voice to find, or clips to move towards or away from.
        FilterError: a filter names an unknown field, or compares values without an order.
    """
    cohort = cohort or ScoreCohort.of(store)
    check_index(store, model, cohort)
    if query.phonemes or query.text or query.voice or query.liked or query.disliked:
        raise QueryError(
            "Whole recordings are ranked by captions and sounds only: leave out --says, --text, --voice, --more and --less."
        )
    scorer = QueryScorer(query, model=model, cohort=cohort, store=store)
    clips = store.query(scorer.target, max(1, store.count(where=query.where)), query.where, vectors=True)
    if not clips:
        return []
    vectors = np.array([clip.vector for clip in clips], dtype=np.float32)
    rows: dict[str, list[int]] = defaultdict(list)
    for row, clip in enumerate(clips):
        rows[clip.payload["content"]].append(row)
    scores = scorer.scores(vectors)
    fits = [_fits(matched) for matched in scorer.matched(vectors)]
    found = [_summary([clips[row] for row in each], scores[each], [fits[row] for row in each]) for each in rows.values()]
    found = [each for each in found if each["score"] >= query.ranking.min_score]
    ordered = sorted(found, key=lambda each: -each["score"])[query.skip : query.skip + query.limit]
    return [RecordingHit(rank=rank, **each) for rank, each in enumerate(ordered, query.skip + 1)]


def clips_of_recording(recording: str, store: Store) -> list[ClipRecord]:
    """Return the clips of a recording in the order of time; recording: any of its paths in the index.

    Raises:
        QueryError: the index has no clip of it.
    """
    where = Condition("recording", "=", (recording,))
    if not store.count(where=where):
        raise QueryError(f"The index holds no clip of {recording}.")
    [clip] = store.query(store.sample_vectors(1)[0], 1, where)
    return clips_of_content(clip.payload["content"], store)


def clips_of_content(content: str, store: Store) -> list[ClipRecord]:
    """Return the clips of a content, by its SHA-256, in the order of time."""
    clips = [ClipRecord(**clip_fields(point)) for point in store.points({KIND: CLIP, "content": content})]
    return sorted(clips, key=lambda clip: (clip.start, clip.track or 0, clip.channel or 0))


def _fits(matched: Mapping[str, bool | None]) -> bool | None:
    """Return whether a clip matches all terms that the model hears; None where there are none."""
    known = [each for each in matched.values() if each is not None]
    return all(known) if known else None


def _summary(clips: list[ScoredPoint], scores: np.ndarray, fits: list[bool | None]) -> dict[str, Any]:
    """Return the fields of a RecordingHit but for its rank, from the clips of a recording and their scores [clips]."""
    seconds = np.array([clip.payload["duration"] for clip in clips])
    best = int(scores.argmax())
    share = None if None in fits else round(float(seconds @ np.array(fits, dtype=float) / seconds.sum()), 3)
    return {
        "recording": clips[0].payload["recording"],
        "score": float(scores @ seconds / seconds.sum()),
        "matched": share,
        "clips": len(clips),
        "speech_seconds": round(float(seconds.sum()), 3),
        "best": {"start": clips[best].payload["start"], "end": clips[best].payload["end"], "score": float(scores[best])},
        "metadata": clips[0].payload.get("metadata") or {},
    }
