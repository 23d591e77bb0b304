"""The ranking formula of a search.

    score(clip) = cosine(query, clip) - TERM_PENALTY * std * penalty(clip)

query: weighted sum of the embeddings of the query's inputs. std: standard deviation of the archive's cosines. penalty: mean
negative log probability of the captions' terms in the clip.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.errors import check_text, in_one_line, short
from voxdex.encoders.model import Model
from voxdex.encoders.zero_shot import (
    LABEL_VECTORS,
    PLAIN,
    Calibration,
    class_vectors,
    heard_attributes,
    logit_scale,
    probabilities,
)
from voxdex.indexer.calibration import read_calibration
from voxdex.indexer.store.base import Store
from voxdex.indexer.taught import TaughtLabel, read_taught
from voxdex.search.caption_parser import CaptionTerm, ParsedCaption, parse_caption
from voxdex.search.embed import embed_recording
from voxdex.search.query import NEGATIVE_WEIGHT, ClipId, Direction, Query, QueryError, QueryInput, Sound
from voxdex.search.understanding import is_known, known_term

TERM_PENALTY = 2.0
"""Penalty per nat of -log p(term | clip), in standard deviations of the archive's cosines. Of the first ten held-out clips,
82 % match both terms of a caption instead of 78 % without the penalty, and 78 % all three instead of 74 %
(benchmarks/model_quality.py)."""
MIN_PROBABILITY = 1e-3
"""Added to probabilities before the logarithm: the penalty of a term is at most 7 nats."""
COHORT_CLIPS = 1000
"""Clips in the random sample that stands for an archive."""
MIN_COHORT_CLIPS, MIN_STD = 20, 1e-3
"""Smallest cohort and smallest standard deviation for which scores are normalised."""
UPPER_THIRD = 100 * 2 / 3
"""Percentile from which on words that are no label are matched."""
log = logging.getLogger("voxdex")

EVEN = 0.5
"""Probability from which on a taught label is matched."""
LONG_SOUND = 3
"""Clips of a sound in a query from which on its user is told that it counts by their mean."""
MAX_CAPTION = 2000
"""Characters of a caption; text encoders read far fewer."""


@dataclass(frozen=True)
class ScoreCohort:
    """A random sample of an archive, for score normalisation (S-norm), and the calibration of label scores on the archive.

    vectors: float32 [clips, dimension]. taught: labels that were taught to the index, by name.
    """

    vectors: np.ndarray
    calibration: Calibration = PLAIN
    taught: Mapping[str, TaughtLabel] = field(default_factory=dict)

    @classmethod
    def of(cls, store: Store) -> "ScoreCohort":
        """Sample an index; the same clips each time."""
        return cls(store.sample_vectors(COHORT_CLIPS), read_calibration(store), read_taught(store))

    def std(self, vector: np.ndarray) -> float:
        """Return the standard deviation of the archive's cosines with a vector; 1 for an archive too small to estimate it."""
        std = float((self.vectors @ vector).std()) if len(self.vectors) >= MIN_COHORT_CLIPS else 1.0
        return std if std >= MIN_STD else 1.0

    def percentiles(self, score: Callable[[np.ndarray], np.ndarray], scores: np.ndarray) -> np.ndarray:
        """Return the share of the archive below each of `scores`, in percent.

        Args:
            score: scores clips, [clips, dimension] -> [clips].
            scores: [clips].
        """
        ordered = np.sort(score(self.vectors))
        return 100 * np.searchsorted(ordered, scores - 1e-6) / len(ordered)


class QueryScorer:
    """Scores of clips for one query. All texts of the query are embedded in one run.

    Args:
        query: the query.
        model: the model of the index.
        cohort: sample of the index.
        store: the index, for the clips that the query names; None for a query without clips.

    Raises:
        QueryError: the query is empty, a caption has no words or is too long, a clip is gone, or a sound cannot be read.
        TextError: a caption is not valid text.
    """

    def __init__(self, query: Query, *, model: Model, cohort: ScoreCohort, store: Store | None = None) -> None:
        self._cohort = cohort
        captions = {caption: _checked_caption(caption) for caption in _captions_of(query)}
        terms = _terms_of(query, captions)
        supported = {attribute.name: attribute for attribute in heard_attributes(model.card)}
        self._terms = [known_term(term, model.card) for term in terms]
        self._taught = {term.name: cohort.taught[word] for term in terms if (word := term.words.lower()) in cohort.taught}
        self._unknown = {term.name for term in terms if not is_known(term, model.card)}.difference(self._taught)

        names = {name for term in self._terms for name, _ in term.labels}
        self._labels = {name: [label.name for label in supported[name].labels] for name in names}
        self._scales = {name: logit_scale(model.card, name) for name in names}
        known = LABEL_VECTORS.setdefault(model, {})
        prompts = {
            name: [supported[name].prompts(label) for label in supported[name].labels] for name in names if name not in known
        }
        plain_words = [
            term.words for term in self._terms if not (term.labels or term.name in self._unknown or term.name in self._taught)
        ]

        texts = [text for caption in captions.values() for text in _texts_of(caption)]
        texts += [prompt for labels in prompts.values() for label in labels for prompt in label]
        vectors = embed_texts([*texts, *plain_words], model)

        known |= {name: class_vectors(labels, vectors) for name, labels in prompts.items()}
        self._label_vectors = {name: known[name] for name in names}
        self._word_vectors = {words: vectors[words] for words in plain_words}
        inputs = _Inputs({caption: _caption_vector(parsed, vectors) for caption, parsed in captions.items()}, model, store)
        self.target = _query_vector(query, inputs, cohort, model.card.dimension)
        self._std = cohort.std(self.target)

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """Return the ranking scores of clips, [clips, dimension] -> [clips]."""
        return vectors @ self.target - TERM_PENALTY * self._std * self._penalty(vectors)

    def percentiles(self, scores: np.ndarray) -> np.ndarray:
        """Return the share of the archive that scores lower, in percent, [clips] -> [clips]."""
        return self._cohort.percentiles(self.scores, scores)

    def matched(self, vectors: np.ndarray) -> list[dict[str, bool | None]]:
        """Return for each clip whether each term is matched, by the term's name, [clips, dimension] -> [clips].

        A label is matched where it is the most probable of its attribute; a word that the model hears beside labels, in the
        upper third of the archive. None stands for a term that the model does not hear.
        """
        probs = self._probabilities(vectors)
        rows = {term.name: self._is_matched(term, vectors, probs) for term in self._terms}
        return [{name: None if row is None else bool(row[clip]) for name, row in rows.items()} for clip in range(len(vectors))]

    def _penalty(self, vectors: np.ndarray) -> np.ndarray:
        """Mean -log probability of the terms with labels, in nats, [clips, dimension] -> [clips]."""
        probs = self._probabilities(vectors)
        found = []
        for term in self._terms:
            if term.name in self._taught:
                best = self._taught[term.name].probabilities(vectors)
                found.append(best if term.affirmed else 1 - best)
            elif term.labels:
                combine = np.min if term.together else np.max
                best = combine([probs[name][:, self._labels[name].index(label)] for name, label in term.labels], axis=0)
                found.append(best if term.affirmed else 1 - best)
        return -np.log(np.array(found) + MIN_PROBABILITY).mean(axis=0) if found else np.zeros(len(vectors))

    def _is_matched(self, term: CaptionTerm, vectors: np.ndarray, probs: Mapping[str, np.ndarray]) -> np.ndarray | None:
        if term.name in self._unknown:
            return None
        if term.name in self._taught:
            applies = self._taught[term.name].probabilities(vectors) >= EVEN
        elif term.labels:
            best = {name: probs[name].argmax(axis=1) for name, _ in term.labels}
            combine = np.all if term.together else np.any
            applies = combine([best[name] == self._labels[name].index(label) for name, label in term.labels], axis=0)
        else:
            word = self._word_vectors[term.words]
            applies = self._cohort.percentiles(lambda clips: clips @ word, vectors @ word) >= UPPER_THIRD
        return applies == term.affirmed

    def _probabilities(self, vectors: np.ndarray) -> dict[str, np.ndarray]:
        """Probabilities [clips, labels] of the labels of each attribute that the terms name."""
        return {
            name: probabilities(vectors, labels, self._scales[name], self._cohort.calibration.of(name, self._labels[name]))
            for name, labels in self._label_vectors.items()
        }


def embed_texts(texts: Iterable[str], model: Model) -> dict[str, np.ndarray]:
    """Embed each different text once; unit vectors [dimension] by text."""
    unique = list(dict.fromkeys(texts))
    return dict(zip(unique, model.embed_text(unique), strict=True))


def caption_vectors(captions: Sequence[str], model: Model) -> np.ndarray:
    """Embed captions, float32 [captions, dimension] of unit length: towards their affirmative part, away from their negations.

    Text encoders hardly read the "not" in "not whispered", so negations are embedded on their own.

    Raises:
        QueryError: a caption has no words, or is too long.
        TextError: a caption is not valid text.
    """
    parsed = list(map(_checked_caption, captions))
    vectors = embed_texts([text for caption in parsed for text in _texts_of(caption)], model)
    rows = [_caption_vector(caption, vectors) for caption in parsed]
    return np.array(rows, dtype=np.float32).reshape(len(rows), model.card.dimension)


def caption_vector(caption: str, model: Model) -> np.ndarray:
    """Embed one caption, float32 [dimension] of unit length; see caption_vectors."""
    return caption_vectors([caption], model)[0]


def sound_vector(sound: Sound, model: Model) -> np.ndarray:
    """Embed the voice in a recording or a part of it, float32 [dimension] of unit length.

    Raises:
        QueryError: the recording cannot be read.
    """
    try:
        recording = embed_recording(model, sound.path, sound.start, sound.end)
        if len(recording.spans) > LONG_SOUND:
            log.warning(
                "%s counts by the mean of its %d clips of speech, whoever speaks in them; give a part, as in FILE:12-20.",
                sound.path,
                len(recording.spans),
            )
        return recording.voice
    except AudioError as error:
        raise QueryError(in_one_line(f"{sound.path} cannot be searched by: {error}.")) from error


def clip_vectors(ids: Sequence[str], store: Store | None) -> dict[str, np.ndarray]:
    """Read the voice vectors of clips, by id.

    Raises:
        QueryError: the index does not hold one of them.
    """
    vectors = {point.id: point.vector for point in store.retrieve(ids)} if store and ids else {}
    for id in ids:
        if vectors.get(id) is None:
            raise QueryError(f"The index no longer holds the clip {id}; search again.")
    return {id: vector for id, vector in vectors.items() if vector is not None}


@dataclass(frozen=True)
class _Inputs:
    """Vectors of a query's inputs. captions: vectors that were embedded before, by caption."""

    captions: Mapping[str, np.ndarray]
    model: Model
    store: Store | None

    def vector(self, part: QueryInput) -> np.ndarray:
        """Return the vector [dimension] of an input, of unit length."""
        match part:
            case Sound():
                return sound_vector(part, self.model)
            case ClipId(id):
                return clip_vectors([id], self.store)[id]
            case Direction(source, target):
                return _unit(self.captions[target] - self.captions[source])
            case caption:
                return self.captions[caption]


def _query_vector(query: Query, inputs: _Inputs, cohort: ScoreCohort, dimension: int) -> np.ndarray:
    """The weighted sum of a query's inputs, float32 [dimension] of unit length.

    Captions spread an archive's scores less than sounds do, so each input is divided by the standard deviation of its scores.
    With both liked and disliked clips, the engine's discovery takes them, and they do not move the vector.
    """
    parts = [(inputs.vector(term.input), term.weight) for term in query.terms if term.weight]
    if not (parts and query.liked and query.disliked):
        parts += [(inputs.vector(ClipId(id)), 1 / len(query.liked)) for id in query.liked]
        parts += [(inputs.vector(ClipId(id)), -NEGATIVE_WEIGHT / len(query.disliked)) for id in query.disliked]
    total = sum((weight / cohort.std(vector) * vector for vector, weight in parts), np.zeros(dimension))
    length = np.linalg.norm(total)
    if not length > 1e-6:
        raise QueryError("The query is empty: describe a voice, or give a recording with --like.")
    return (total / length).astype(np.float32)


def _captions_of(query: Query) -> list[str]:
    """The captions among a query's inputs, and those of its directions."""
    captions: list[str] = []
    for term in query.terms:
        if term.weight and isinstance(term.input, str):
            captions.append(term.input)
        elif term.weight and isinstance(term.input, Direction):
            captions += [term.input.source, term.input.target]
    return captions


def _terms_of(query: Query, captions: Mapping[str, ParsedCaption]) -> list[CaptionTerm]:
    """The terms of a query's captions; those of a caption to avoid are reversed."""
    return [
        replace(term, affirmed=term.affirmed == (part.weight > 0))
        for part in query.terms
        if isinstance(part.input, str) and part.weight
        for term in captions[part.input].terms
    ]


def _checked_caption(caption: str) -> ParsedCaption:
    if not caption.strip():
        raise QueryError("A caption is empty: describe a voice in words.")
    if len(caption) > MAX_CAPTION:
        raise QueryError(f"A caption has {len(caption)} characters; the limit is {MAX_CAPTION}.")
    parsed = parse_caption(check_text(caption))
    if not (parsed.affirmed or parsed.negated):
        raise QueryError(f"The caption {short(caption)} has no words: describe a voice, as in 'a calm woman'.")
    return parsed


def _texts_of(caption: ParsedCaption) -> list[str]:
    return [text for text in (caption.affirmed, *caption.negated) if text]


def _caption_vector(caption: ParsedCaption, vectors: Mapping[str, np.ndarray]) -> np.ndarray:
    parts = [vectors[caption.affirmed]] if caption.affirmed else []
    parts += [-NEGATIVE_WEIGHT * vectors[phrase] for phrase in caption.negated]
    return _unit(np.sum(parts, axis=0))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
