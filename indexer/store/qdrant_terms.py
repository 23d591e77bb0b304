"""Queries, filters, vector parameters and limits in the terms of a Qdrant server."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from qdrant_client import models

from voxdex.indexer.store.base import PHONETIC, VOICE, DiscoveryQuery, PhoneticSpace
from voxdex.indexer.store.patterns import GRAM, PATH, PATH_TEXT, grams, path_text

FIELD_INDEXES: dict[str, models.PayloadSchemaParams] = {
    "text": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, on_disk=True),
    "number": models.FloatIndexParams(type=models.FloatIndexType.FLOAT, on_disk=True),
    "date": models.DatetimeIndexParams(type=models.DatetimeIndexType.DATETIME, on_disk=True),
    "words": models.TextIndexParams(
        type=models.TextIndexType.TEXT,
        tokenizer=models.TokenizerType.MULTILINGUAL,
        lowercase=True,
        ascii_folding=True,
        phrase_matching=True,
        on_disk=True,
    ),
    PATH_TEXT: models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WHITESPACE, phrase_matching=True, on_disk=True
    ),
}
"""Payload index of each kind of field. On disk: in memory they would take half of what a server needs."""
KINDS = {"keyword": "text", "float": "number", "datetime": "date", "text": "words"}
"""Kind of a field, by the engine's name of its payload index."""


@dataclass(frozen=True)
class Limits:
    """Limits of a server (its strict mode); None for no limit.

    hits: points in one answer. breadth: candidates of a graph search (ef). oversampling: candidates per hit of a quantised
    search. portion: points in one write. indexes: payload indexes of a collection. values: values of one condition. is_exact:
    whether points may be counted exactly.
    """

    hits: int | None = None
    breadth: int | None = None
    oversampling: float | None = None
    portion: int | None = None
    indexes: int | None = None
    values: int | None = None
    is_exact: bool = True

    @classmethod
    def of(cls, strict: models.StrictModeConfigOutput | None) -> "Limits":
        """Read the limits from a collection's configuration."""
        if strict is None or not strict.enabled:
            return cls()
        written = [most for most in (strict.upsert_max_batchsize, strict.write_rate_limit) if most]
        return cls(
            hits=strict.max_query_limit,
            breadth=strict.search_max_hnsw_ef,
            oversampling=strict.search_max_oversampling,
            portion=min(written, default=None),
            indexes=strict.max_payload_index_count,
            values=strict.condition_max_size,
            is_exact=strict.search_allow_exact is not False,
        )


def vector_params(dimension: int, phonetic: PhoneticSpace | None) -> dict[str, models.VectorParams]:
    """Return the parameters of a collection's vectors, by name: on disk, phonetic vectors as float16."""
    cosine = models.Distance.COSINE
    vectors = {VOICE: models.VectorParams(size=dimension, distance=cosine, on_disk=True)}
    if phonetic:
        half = models.Datatype.FLOAT16
        vectors[PHONETIC] = models.VectorParams(size=phonetic.dimension, distance=cosine, on_disk=True, datatype=half)
    return vectors


def query_of(target: np.ndarray | DiscoveryQuery) -> list[float] | models.DiscoverQuery:
    """Return a query as the server takes it."""
    if not isinstance(target, DiscoveryQuery):
        return target.tolist()
    pairs = [models.ContextPair(positive=near.tolist(), negative=far.tolist()) for near, far in target.pairs]
    return models.DiscoverQuery(discover=models.DiscoverInput(target=target.target.tolist(), context=pairs))


def tested(among: models.Condition) -> models.Filter:
    """Negate a filter twice: the engine then tests it on every clip instead of collecting the points that match it first."""
    return models.Filter(must_not=[models.Filter(must_not=[among])])


def equals(where: Mapping[str, str]) -> models.Filter:
    """Return the filter for payloads with these values at these keys."""
    return models.Filter(
        must=[models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in where.items()]
    )


def path_grams(path: str) -> str:
    """Return a path as the text index of PATH_TEXT takes it: the grams of its path_text."""
    return grams(path_text(path))


class QdrantTerms:
    """The terms of a server's filters; see filters.FilterBackend.

    Args:
        values: returns the values of a payload key among the clips that meet a condition.
        most_values: maximum number of values in one condition; None for no limit.
    """

    def __init__(self, values: Callable[[str, models.Condition], Iterable[str]], most_values: int | None) -> None:
        self.values, self._most_values = values, most_values

    def containing(self, key: str, text: str) -> models.Condition | None:
        if key != PATH or len(text) < GRAM:
            return None
        return models.FieldCondition(key=PATH_TEXT, match=models.MatchPhrase(phrase=grams(text)))

    def saying(self, key: str, text: str, *, is_phrase: bool) -> models.Condition:
        match = models.MatchPhrase(phrase=text) if is_phrase else models.MatchText(text=text)
        return models.FieldCondition(key=key, match=match)

    def one_of(self, key: str, values: Sequence[str]) -> models.Condition:
        return _any_of([models.FieldCondition(key=key, match=models.MatchAny(any=part)) for part in self._portions(values)])

    def within(self, key: str, bounds: Mapping[str, float]) -> models.Condition:
        return models.FieldCondition(key=key, range=models.Range(**bounds))

    def dated(self, key: str, bounds: Mapping[str, datetime]) -> models.Condition:
        return models.FieldCondition(key=key, range=models.DatetimeRange(**bounds))

    def with_ids(self, ids: Sequence[str]) -> models.Condition:
        return _any_of([models.HasIdCondition(has_id=[*part]) for part in self._portions(ids)])

    def is_empty(self, key: str) -> models.Condition:
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))

    def join(
        self,
        *,
        must: Sequence[models.Condition] | None = None,
        should: Sequence[models.Condition] | None = None,
        must_not: Sequence[models.Condition] | None = None,
    ) -> models.Condition:
        return models.Filter(must=_conditions(must), should=_conditions(should), must_not=_conditions(must_not))

    def _portions(self, values: Sequence[str]) -> list[list[str]]:
        """Split values into portions that one condition may hold; one empty portion where there are none."""
        most = self._most_values or max(1, len(values))
        return [list(values[start : start + most]) for start in range(0, len(values), most)] or [[]]


def _conditions(terms: Sequence[models.Condition] | None) -> list[models.Condition] | None:
    return None if terms is None else list(terms)


def _any_of(parts: list[models.Condition]) -> models.Condition:
    return parts[0] if len(parts) == 1 else models.Filter(should=parts)
