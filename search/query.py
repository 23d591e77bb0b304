"""A caption, a sound, or both -> the clips that fit best."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from encoders import AudioError, Model
from indexer.store import Condition, Store, check_fields
from search.speech import embed_recording
from search.wording import read_caption

DENIED = 0.7
"""How much what a caption denies counts against a clip, over what it says; 0.5 to 1 serve equally well."""


class QueryError(ValueError):
    """A query that cannot be answered. The message is a sentence for the user."""


@dataclass(frozen=True)
class Query:
    """What is looked for: a caption, voices like those of some recordings, or the mean of all; under conditions."""

    caption: str | None = None
    like: Sequence[Path] = ()
    where: Sequence[Condition] = ()
    limit: int = 10


@dataclass(frozen=True)
class Hit:
    """A clip that fits. rank: from 1. score: cosine with the query, -1 to 1. start, end: seconds in the recording."""

    rank: int
    score: float
    recording: str
    start: float
    end: float
    attributes: dict[str, str]
    metadata: dict[str, Any]


def find(query: Query, store: Store, model: Model) -> list[Hit]:
    """Answers a query, best first.

    Raises:
        QueryError: the query or the index is empty, a sound of the query cannot be read, or the model is another one than
            the index was made with.
        FilterError: a condition names an unknown field.
    """
    if model.card.space != store.space:
        raise QueryError(
            f"The index belongs to the space {store.space}, but the model is {model.card.space}. "
            "Index the recordings again with this model, into another index."
        )
    if store.count() == 0:
        raise QueryError("The index holds no clips yet: voxdex index FOLDER_OF_RECORDINGS.")
    check_fields(query.where, store.fields())
    neighbours = store.query(_vector(query, model), query.limit, query.where)
    return [
        Hit(
            rank,
            round(point.score, 4),
            *(point.payload[key] for key in ("recording", "start", "end", "attributes", "metadata")),
        )
        for rank, point in enumerate(neighbours, start=1)
    ]


def caption_vector(caption: str, model: Model) -> np.ndarray:
    """Where a caption points, a unit vector [dimension]: to what it says and away from what it denies.

    A text tower hears the word in "not whispered" and hardly the "not"; so what is denied is embedded for itself.
    """
    wording = read_caption(caption)
    says = list(model.embed_text([wording.says])) if wording.says else []
    denies = [-DENIED * vector for vector in model.embed_text(wording.denies)]
    total = np.sum(says + denies, axis=0)
    return total / np.linalg.norm(total)


def _vector(query: Query, model: Model) -> np.ndarray:
    parts = [caption_vector(query.caption, model)] if query.caption and query.caption.strip() else []
    for path in query.like:
        try:
            parts.append(embed_recording(model, path).voice)
        except AudioError as error:
            raise QueryError(f"{path} cannot be searched by: {error}.") from error
    if not parts:
        raise QueryError("The query is empty: describe a voice, or give a recording with --like.")
    mean = np.mean(parts, axis=0)
    return mean / np.linalg.norm(mean)
