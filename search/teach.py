"""Teaching a label with examples: a linear head between the liked and the unliked clips of an index, and the word itself.

The head is a regularised linear discriminant (Fisher 1936; Ledoit and Wolf 2004 for the shrinkage of the covariance), to which
the direction of the word in the space is added: with few examples the word tells more, with many the examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.remote import as_location
from voxdex.encoders.model import Model
from voxdex.encoders.tables import read_manifest
from voxdex.encoders.zero_shot import heard_attributes, label_vectors
from voxdex.indexer.scan import absolute, beside
from voxdex.indexer.store.base import Store
from voxdex.indexer.store.values import as_number
from voxdex.indexer.taught import NO, YES, Quality, TaughtLabel, TeachError, check_name
from voxdex.search.query import ClipId, Hit, Sound, clip_fields
from voxdex.search.recordings import clips_of_recording
from voxdex.search.scoring import clip_vectors

TEMPLATES = ("a {} voice", "a person with a {} voice", "someone speaking in a {} way", "{}")
"""Prompts of a word."""
SHRINKAGE = 0.5
"""Weight of the identity, scaled to the mean variance, against the covariance of a large archive; that of fewer clips than
dimensions weighs less than half as much. Of 0.3 to 0.9 it is best, or as good, with 3 to 60 examples (model log)."""
WORD_WEIGHT, WORD_EXAMPLES = 0.6, 60
"""Length of the word's direction beside that of the examples, which is 1; with WORD_EXAMPLES examples it is half."""
SAMPLE_CLIPS = 2000
"""Clips of the sample that stands for the archive."""
BACKGROUND = 200
"""Clips of the archive that stand for the unliked where there are none."""
LEAST_LIKED = 2
"""Smallest number of liked clips."""
LEAST_AUC = 0.6
"""Smallest area under the ROC curve, on recordings that were held back, of a label that is kept."""
MOSTLY = 0.5
"""Fraction of a clip that lies in the part of a recording that names it."""
SUGGESTIONS = 5
"""Clips that are suggested to judge next."""


@dataclass(frozen=True)
class Lesson:
    """A taught label, and the ids of the clips whose judgement would help most."""

    label: TaughtLabel
    next_clips: tuple[str, ...]


@dataclass(frozen=True)
class _Archive:
    """Mean [dimension] and shrunk covariance [dimension, dimension] of an archive, and its sample [clips, dimension]."""

    sample: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, sample: np.ndarray) -> "_Archive":
        mean = sample.mean(axis=0)
        centred = sample - mean
        covariance = centred.T @ centred / len(sample)
        dimension = len(covariance)
        own = (1 - SHRINKAGE) * len(sample) / (len(sample) + dimension)
        variance = np.trace(covariance) / dimension
        return cls(sample, mean, own * covariance + (1 - own) * variance * np.eye(dimension))


@dataclass(frozen=True)
class _Examples:
    """Vectors [clips, dimension] of examples, whether each is liked [clips], and its recording [clips]."""

    vectors: np.ndarray
    liked: np.ndarray
    recordings: np.ndarray

    def without(self, recording: str) -> "_Examples":
        kept = self.recordings != recording
        return _Examples(self.vectors[kept], self.liked[kept], self.recordings[kept])

    def half(self, rng: np.random.Generator) -> "_Examples":
        """Return half of the liked and of the unliked examples, at least one of each."""
        rows = [row for side in (True, False) for row in _half(np.flatnonzero(self.liked == side), rng)]
        return _Examples(self.vectors[rows], self.liked[rows], self.recordings[rows])


def teach(name: str, store: Store, model: Model, *, liked: Sequence[str], unliked: Sequence[str] = ()) -> Lesson:
    """Teach a label with clips of an index. Nothing is stored; see taught.write_taught.

    Args:
        name: a word that stands for no label yet.
        store: the index.
        model: the model of the index.
        liked: ids of clips that the label applies to, of two recordings at the least.
        unliked: ids of clips that it does not apply to; () for the archive as a whole.

    Raises:
        TeachError: the name is taken, there are too few examples, or they cannot be told apart.
        QueryError: a clip is gone.
    """
    name = check_name(name)
    if both := set(liked) & set(unliked):
        raise TeachError(f"The clip {min(both)} is both liked and unliked.")
    liked, unliked = tuple(dict.fromkeys(liked)), tuple(dict.fromkeys(unliked))
    if len(liked) < LEAST_LIKED:
        raise TeachError(f"Give at least {LEAST_LIKED} clips that sound {name}.")
    archive = _Archive.of(store.sample_vectors(SAMPLE_CLIPS))
    examples = _examples(store, liked, unliked, archive)
    if len(set(examples.recordings[examples.liked])) < LEAST_LIKED:
        raise TeachError(f"The clips that sound {name} are all of one recording; give some of another.")
    word = word_direction(name, model)
    held_out, truth = _held_out_scores(examples, archive, word)
    quality = _quality(held_out, truth, examples, archive, word, len(liked), len(unliked))
    _check(name, quality)
    weights, mean = _direction(examples, archive, word), archive.mean
    scale, offset = _platt(held_out, truth)
    spread = float((archive.sample @ weights).std()) or 1.0
    weights = (scale / spread * weights).astype(np.float32)
    label = TaughtLabel(name, weights, float(offset - weights @ mean), store.space, liked, unliked, quality)
    return Lesson(label, _next_clips(label, store, {*liked, *unliked}))


def clip_ids(example: ClipId | Sound, store: Store) -> list[str]:
    """Return the ids of the clips of an index that an example is: a clip, or those that lie mostly in a part of a recording.

    Raises:
        QueryError: the index holds no clip of the recording.
        TeachError: none lies in that part.
    """
    if isinstance(example, ClipId):
        return [example.id]
    start, end = example.start or 0.0, math.inf if example.end is None else example.end
    clips = clips_of_recording(absolute(example.path), store)
    found = [clip.id for clip in clips if min(end, clip.end) - max(start, clip.start) > MOSTLY * (clip.end - clip.start)]
    if not found:
        raise TeachError(f"The index holds no clip of {example.path} between {start:g} and {end:g} s.")
    return found


def examples_of(table: Path, store: Store) -> tuple[list[str], list[str]]:
    """Return the ids of the liked and of the unliked clips of a table with the columns path, label, start and end.

    Raises:
        TableError: it cannot be read.
        TeachError: a label is neither "yes" nor "no", a time is no number, or a row names no clip of the index.
        QueryError: the index holds no clip of a recording.
    """
    found: dict[str, list[str]] = {YES: [], NO: []}
    for number, row in enumerate(read_manifest(table, "label"), 1):
        label = row["label"].lower()
        times = [as_number(row.get(name) or "") for name in ("start", "end")]
        is_timed = all(time is not None or not row.get(name) for name, time in zip(("start", "end"), times, strict=True))
        if label not in found or not is_timed:
            raise TeachError(f"{table}: row {number} needs the label yes or no, and start and end in seconds or nothing.")
        found[label] += clip_ids(Sound(as_location(beside(table, row["path"])), *times), store)
    return found[YES], found[NO]


def as_hits(lesson: Lesson, store: Store) -> list[Hit]:
    """Return the clips to judge next as hits, with the probability of the label as score."""
    points = {point.id: point for point in store.retrieve(lesson.next_clips)}
    hits = []
    for rank, id in enumerate(lesson.next_clips, 1):
        vector = points[id].vector
        assert vector is not None
        score = float(lesson.label.probabilities(vector[None])[0])
        hits.append(
            Hit(**clip_fields(points[id]), rank=rank, score=score, cosine=None, percentile=None, matched={}, duplicates=0)
        )
    return hits


def word_direction(name: str, model: Model) -> np.ndarray:
    """Return the direction of a word in the space, from the mean of all labels that the model hears, [dimension]."""
    prompts = [template.format(name.replace("-", " ").replace("_", " ")) for template in TEMPLATES]
    word = np.mean(list(model.embed_text(prompts)), axis=0)
    labels = np.concatenate(label_vectors(model, heard_attributes(model.card)))
    direction = word / np.linalg.norm(word) - labels.mean(axis=0)
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-6))


def _examples(store: Store, liked: Sequence[str], unliked: Sequence[str], archive: _Archive) -> _Examples:
    """Return the examples; without unliked ones, a part of the archive's sample stands for them."""
    vectors = clip_vectors([*liked, *unliked], store)
    points = {point.id: point for point in store.retrieve([*liked, *unliked])}
    found = [vectors[id] for id in (*liked, *unliked)]
    recordings = [str(points[id].payload["content"]) for id in (*liked, *unliked)]
    is_liked = [True] * len(liked) + [False] * len(unliked)
    if not unliked:
        background = archive.sample[:BACKGROUND]
        found += list(background)
        recordings += [f"background {row % 10}" for row in range(len(background))]
        is_liked += [False] * len(background)
    return _Examples(np.array(found, np.float32), np.array(is_liked), np.array(recordings))


def _direction(examples: _Examples, archive: _Archive, word: np.ndarray) -> np.ndarray:
    """Return the direction from the unliked to the liked clips, with that of the word, [dimension]."""
    liked = examples.vectors[examples.liked].mean(axis=0)
    unliked = examples.vectors[~examples.liked].mean(axis=0) if (~examples.liked).any() else archive.mean
    direction = np.linalg.solve(archive.covariance, liked - unliked)
    count = min(len(examples.liked), 2 * int(examples.liked.sum()))  # the background is no example
    weight = WORD_WEIGHT / (1 + count / WORD_EXAMPLES)
    return np.asarray(direction / max(float(np.linalg.norm(direction)), 1e-6) + weight * word)


def _held_out_scores(examples: _Examples, archive: _Archive, word: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of examples by directions that were found without their recording, and whether each is liked.

    Scores are in standard deviations of the archive's, from its mean.
    """
    scores, truth = [], []
    for recording in dict.fromkeys(examples.recordings):
        rest = examples.without(recording)
        if not rest.liked.any():
            continue
        direction = _direction(rest, archive, word)
        spread = float((archive.sample @ direction).std()) or 1.0
        held = examples.recordings == recording
        scores += ((examples.vectors[held] - archive.mean) @ direction / spread).tolist()
        truth += examples.liked[held].tolist()
    return np.array(scores), np.array(truth, dtype=bool)


def _quality(
    scores: np.ndarray,
    truth: np.ndarray,
    examples: _Examples,
    archive: _Archive,
    word: np.ndarray,
    liked: int,
    unliked: int,
) -> Quality:
    auc = area_under_curve(scores, truth)
    error = _standard_error(auc, int(truth.sum()), int((~truth).sum()))
    half = _held_out_scores(examples.half(np.random.default_rng(0)), archive, word)
    return Quality(
        auc=round(auc, 3),
        low=round(max(0.0, auc - 1.96 * error), 3),
        high=round(min(1.0, auc + 1.96 * error), 3),
        word_auc=round(area_under_curve(examples.vectors @ word, examples.liked), 3),
        half_auc=round(area_under_curve(*half), 3),
        liked=liked,
        unliked=unliked,
    )


def _check(name: str, quality: Quality) -> None:
    """Raise TeachError where the examples cannot be told apart on recordings that the label was not taught with."""
    if quality.auc < LEAST_AUC:
        raise TeachError(
            f"The clips that sound {name} cannot be told from the others: of two clips of recordings that were held back, the "
            f"right one scores higher in {quality.auc:.0%} (by chance 50 %). Give more or clearer examples, or another word."
        )


def area_under_curve(scores: np.ndarray, truth: np.ndarray) -> float:
    """Return the area under the ROC curve of scores [clips], 0 to 1; 0.5 where all clips are of one side."""
    liked, others = scores[truth], scores[~truth]
    if not (len(liked) and len(others)):
        return 0.5
    above = (liked[:, None] > others[None]).mean() + 0.5 * (liked[:, None] == others[None]).mean()
    return float(above)


def _standard_error(auc: float, liked: int, others: int) -> float:
    """Return the standard error of an area under the ROC curve (Hanley and McNeil 1982)."""
    if not (liked and others):
        return 0.5
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (liked - 1) * (first - auc**2) + (others - 1) * (second - auc**2)
    return math.sqrt(max(variance, 0.25 / max(liked, others)) / (liked * others))


def _platt(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return scale and offset of the probability of scores [clips], both sides weighing the same (Platt 1999)."""
    counts = {True: int(truth.sum()), False: int((~truth).sum())}
    targets = np.where(truth, (counts[True] + 1) / (counts[True] + 2), 1 / (counts[False] + 2))
    weights = np.where(truth, 0.5 / max(1, counts[True]), 0.5 / max(1, counts[False]))
    inputs = np.stack([scores, np.ones_like(scores)], axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(50):  # Newton's method; a little regularisation keeps the scale finite
        probs = 1 / (1 + np.exp(-np.clip(inputs @ found, -30, 30)))
        gradient = inputs.T @ (weights * (probs - targets)) + 1e-3 * (found - [1.0, 0.0])
        curvature = (inputs * (weights * probs * (1 - probs))[:, None]).T @ inputs + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        found = found - step
        if np.abs(step).max() < 1e-6:
            break
    return max(float(found[0]), 0.1), float(found[1])


def _next_clips(label: TaughtLabel, store: Store, judged: set[str]) -> tuple[str, ...]:
    """Return the ids of clips to judge next: among those that score highest, the least sure, each of another recording."""
    target = label.weights / max(float(np.linalg.norm(label.weights)), 1e-6)
    clips = [clip for clip in store.query(target.astype(np.float32), 200, vectors=True) if clip.id not in judged]
    if not clips:
        return ()
    probs = label.probabilities(np.array([clip.vector for clip in clips], np.float32))
    chosen: dict[str, str] = {}
    for row in np.argsort(np.abs(probs - 0.5), kind="stable"):
        chosen.setdefault(str(clips[row].payload["content"]), clips[row].id)
    return tuple(list(chosen.values())[:SUGGESTIONS])


def _half(rows: np.ndarray, rng: np.random.Generator) -> list[int]:
    return [int(row) for row in rng.permutation(rows)[: max(1, len(rows) // 2)]]
