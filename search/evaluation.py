"""Evaluation: zero-shot classification, caption retrieval, index recall, and the SCRAPS evaluation of phonetic models."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.errors import Failure
from voxdex.encoders.metrics import Classification, Metric, Retrieval, bootstrap, classification, retrieval, speaker_clusters
from voxdex.encoders.model import Model
from voxdex.encoders.phonetic.evaluation import PhoneticScorer, evaluate_scraps
from voxdex.encoders.phonetic.g2p import phonemes_of
from voxdex.encoders.phonetic.model import PhoneticModel
from voxdex.encoders.tables import ManifestError
from voxdex.indexer.store.base import CLIP, KIND, Store
from voxdex.search.classify import label_set
from voxdex.search.embed import NoSpeechError, embed_recording
from voxdex.search.intelligibility import read_utterance
from voxdex.search.scoring import caption_vectors

SCAN_CLIPS = 10_000
"""Clips of an index that are scored at a time in an exact scan."""
MIN_RECORDINGS = 2
"""Fewest recordings that a phonetic model can be evaluated on."""


@dataclass(frozen=True)
class EmbeddedRows:
    """Rows of a manifest and the embeddings of their recordings.

    rows: those whose recordings could be read. vectors: float32 [rows, dimension]. failed: path and reason of the others.
    """

    rows: list[dict[str, str]]
    vectors: np.ndarray
    failed: list[dict[str, str]]

    def by(self, column: str | None, among: Sequence[int] | None = None) -> dict[str, "EmbeddedRows"]:
        """Group the rows by the values of a column; {} for no column. among: indices of the rows to group; None for all.

        Raises:
            ManifestError: there is no such column.
        """
        if column is None:
            return {}
        if column not in self.rows[0]:
            raise ManifestError(f"The manifest has no column {column!r}. It has: {', '.join(self.rows[0])}.")
        groups: dict[str, list[int]] = {}
        for row in range(len(self.rows)) if among is None else among:
            groups.setdefault(self.rows[row][column], []).append(row)
        return {
            value: EmbeddedRows([self.rows[row] for row in rows], self.vectors[rows], [])
            for value, rows in sorted(groups.items())
        }


def embed_rows(
    model: Model, rows: Sequence[dict[str, str]], root: Path, on_row: Callable[[], object] = lambda: None
) -> EmbeddedRows:
    """Embed recordings of a manifest: the mean over the clips of speech, or of all sound where no speech is detected.

    Raises:
        ManifestError: none of them could be read.
    """
    kept, vectors, failed = [], [], []
    for row in rows:
        try:
            vectors.append(_voice(model, root / row["path"]))
            kept.append(row)
        except AudioError as error:
            failed.append({"path": str(root / row["path"]), "reason": str(error)})
        on_row()
    if not kept:
        raise ManifestError(
            f"None of the {len(rows)} recordings could be read; the first: {failed[0]['path']}: {failed[0]['reason']}."
        )
    return EmbeddedRows(kept, np.stack(vectors), failed)


def _voice(model: Model, path: Path) -> np.ndarray:
    try:
        return embed_recording(model, path).voice
    except NoSpeechError:
        return embed_recording(model, path, vad=False).voice


# Classification


@dataclass(frozen=True)
class ClassificationResult:
    """Zero-shot predictions of an attribute.

    truth, predictions: labels by row. rows: indices of the manifest's rows. archive_predictions: with scores calibrated on
    these clips as an archive, see zero_shot.archive_offsets; empty where that was not asked for. speakers: of the rows, ""
    where unknown; empty for none.
    """

    attribute: str
    labels: tuple[str, ...]
    truth: list[str]
    predictions: list[str]
    rows: Sequence[int] = ()
    archive_predictions: Sequence[str] = ()
    speakers: Sequence[str] = ()

    @property
    def result(self) -> Classification:
        """Metrics over all clips."""
        return classification(self.truth, self.predictions, self.labels)

    @property
    def archive_uar(self) -> float | None:
        """Unweighted average recall in percent with scores calibrated on these clips as an archive, if there are any."""
        return classification(self.truth, self.archive_predictions, self.labels).uar if self.archive_predictions else None

    def intervals(self) -> dict[str, tuple[float, float]]:
        """Return 95 % intervals of UAR, macro F1 and accuracy, by the bootstrap over speakers (over clips of few speakers)."""
        truth, predictions = np.array(self.truth), np.array(self.predictions)

        def metrics(rows: np.ndarray) -> dict[str, float]:
            return classification(truth[rows], predictions[rows], self.labels).metrics()

        return bootstrap(metrics, len(truth), clusters=speaker_clusters(self.speakers))


def evaluate_classification(
    model: Model, embedded: EmbeddedRows, attribute: str, labels: Sequence[str] = (), templates: Sequence[str] = ()
) -> ClassificationResult:
    """Classify `attribute` zero-shot and compare with the manifest's column of that name.

    Args:
        model: embeds the prompts.
        embedded: the rows.
        attribute: an attribute, or the name of a column with other labels.
        labels: the labels to choose from; () for those of the column. Rows with other labels are left out.
        templates: prompt templates; see label_set.

    Raises:
        ManifestError: no row has one of the labels.
    """
    labels = tuple(labels) or tuple(sorted({row[attribute] for row in embedded.rows}))
    rows = [i for i, row in enumerate(embedded.rows) if row[attribute] in labels]
    if not rows:
        raise ManifestError(f"No row has one of the labels {', '.join(labels)} in its column {attribute!r}.")
    choices, vectors = label_set(model, attribute, labels, templates), embedded.vectors[rows]
    predictions, calibrated = (
        [labels[best] for best in each.probabilities(vectors, model).argmax(axis=1)]
        for each in (choices, choices.calibrated(vectors))
    )
    truth, speakers = ([embedded.rows[i].get(column, "") for i in rows] for column in (attribute, "speaker"))
    return ClassificationResult(attribute, labels, truth, predictions, rows, calibrated, speakers)


# Retrieval


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval metrics in both directions, over `clips` clips and `captions` different captions."""

    clips: int
    captions: int
    speech_to_caption: Retrieval
    caption_to_speech: Retrieval

    @property
    def directions(self) -> Mapping[str, Retrieval]:
        """Both directions by name."""
        return {"speech_to_caption": self.speech_to_caption, "caption_to_speech": self.caption_to_speech}

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Return 95 % intervals of the metrics of each direction, by the bootstrap over its queries."""
        return {name: _intervals(found) for name, found in self.directions.items()}


def _intervals(found: Retrieval) -> dict[str, tuple[float, float]]:
    return bootstrap(lambda rows: found.select(rows).metrics(), len(found.ranks))


def evaluate_retrieval(model: Model, embedded: EmbeddedRows) -> RetrievalResult:
    """Evaluate retrieval between clips and captions. Equal captions count as one, of which any clip is relevant."""
    captions = list(dict.fromkeys(row["caption"] for row in embedded.rows))
    relevant = np.array([[row["caption"] == caption for caption in captions] for row in embedded.rows])
    scores = embedded.vectors @ np.stack(list(model.embed_text(captions))).T
    return RetrievalResult(
        clips=len(embedded.rows),
        captions=len(captions),
        speech_to_caption=retrieval(scores, relevant),
        caption_to_speech=retrieval(scores.T, relevant.T),
    )


# Index recall


@dataclass(frozen=True)
class IndexRecall:
    """Recall of an index's approximate search against an exact scan of its `clips` clips.

    limit: number of hits compared. recalls: of each query, 0 to 1. milliseconds: of each query.
    """

    clips: int
    limit: int
    recalls: np.ndarray
    milliseconds: np.ndarray

    @property
    def recall(self) -> float:
        """Mean recall, in percent."""
        return 100 * float(self.recalls.mean())


def evaluate_index(
    store: Store,
    model: Model,
    captions: Sequence[str],
    limit: int = 10,
    on_clips: Callable[[int], object] = lambda _count: None,
) -> IndexRecall:
    """Compare the first `limit` hits of captions with those of an exact scan over all clips.

    Clips whose scores agree to six digits count as equal. on_clips: called with the number of clips of each batch scanned.
    """
    queries = caption_vectors(captions, model)
    hits, milliseconds = [], []
    for query in queries:
        started = time.perf_counter()
        hits.append([clip.id for clip in store.query(query, limit)])
        milliseconds.append(1000 * (time.perf_counter() - started))
    best, clips = np.full((len(queries), limit), -np.inf), 0
    scores_of: dict[str, np.ndarray] = {}
    hit_ids = {id for ids in hits for id in ids}
    points = iter(store.points({KIND: CLIP}))
    while batch := list(islice(points, SCAN_CLIPS)):
        scores = queries @ np.array([point.vector for point in batch], np.float32).T
        best = np.sort(np.concatenate([best, scores], axis=1), axis=1)[:, -limit:]
        scores_of |= {point.id: scores[:, row] for row, point in enumerate(batch) if point.id in hit_ids}
        clips += len(batch)
        on_clips(len(batch))
    limit = min(limit, clips)
    recalls = [sum(scores_of[id][row] >= best[row, -limit] - 1e-6 for id in ids) / limit for row, ids in enumerate(hits)]
    return IndexRecall(clips, limit, np.array(recalls), np.array(milliseconds))


# Phonetic models


@dataclass(frozen=True)
class PhoneticReport:
    """Result of the SCRAPS evaluation. metrics: see evaluate_scraps. failed: recordings that are unreadable or too long.

    left_out: number of rows without a transcript, or of the training split.
    """

    clips: int
    metrics: list[Metric]
    failed: list[Failure]
    left_out: int


@dataclass(frozen=True)
class TranscribedRecordings:
    """Recordings with transcripts. clips: float32 [samples] each, mono at 16 kHz. rows: the manifest's row of each."""

    clips: list[np.ndarray]
    rows: list[dict[str, str]]
    failed: list[Failure]


def read_transcribed(
    rows: Sequence[dict[str, str]], root: Path, max_seconds: float, on_recording: Callable[[], object] = lambda: None
) -> TranscribedRecordings:
    """Read the recordings of the rows that have a transcript and whose `split` is not "train".

    Args:
        rows: of a manifest: path, `transcript` (with `language`) or `phonemes`.
        root: folder of relative paths.
        max_seconds: longer recordings fail.
        on_recording: called after each.

    Raises:
        ManifestError: fewer than two recordings are left.
    """
    found = TranscribedRecordings([], [], [])
    for row in rows:
        if row.get("split") == "train" or not (row.get("transcript") or row.get("phonemes")):
            continue
        try:
            found.clips.append(read_utterance(root / row["path"], max_seconds))
            found.rows.append(row)
        except AudioError as error:
            found.failed.append(Failure(str(root / row["path"]), str(error)))
        on_recording()
    if len(found.clips) < MIN_RECORDINGS:
        raise ManifestError("There must be two recordings with a transcript, or phonemes, that nobody was trained on.")
    return found


def evaluate_phonetics(
    model: PhoneticModel,
    rows: Sequence[dict[str, str]],
    root: Path,
    on_recording: Callable[[], object] = lambda: None,
) -> PhoneticReport:
    """Run the SCRAPS evaluation on the transcribed recordings of a manifest; see read_transcribed.

    Raises:
        ManifestError: fewer than two recordings can be used.
    """
    found = read_transcribed(rows, root, model.card.max_seconds, on_recording)
    unknown = model.tokenizer.model.unk_token
    tokens = (model.tokenizer.encode(phonemes).tokens for phonemes in phonemes_of(found.rows))
    phonemes = [[phoneme for phoneme in sequence if phoneme != unknown] for sequence in tokens]
    scorer = PhoneticScorer(
        listen=lambda clips: list(model.listen(clips)),
        pmi=lambda embedding, sequences: model.pmi(embedding, [" ".join(sequence) for sequence in sequences]),
        embed=lambda sequences: np.stack(list(model.embed_text(" ".join(sequence) for sequence in sequences))),
    )
    left_out = len(rows) - len(found.rows) - len(found.failed)
    metrics = evaluate_scraps(scorer, found.clips, scorer.listen(found.clips), phonemes)
    return PhoneticReport(len(found.clips), metrics, found.failed, left_out)
