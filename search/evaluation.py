"""How good a model is on a labelled manifest: zero-shot classification and retrieval, as the papers measure them."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoders import AudioError, Model
from encoders.metrics import Classification, Retrieval, average_precision_at, classification, retrieval
from search.classification import question
from search.speech import embed_recording


class EvaluationError(ValueError):
    """A manifest that cannot be evaluated on. The message is a sentence for the user."""


@dataclass(frozen=True)
class Embedded:
    """The rows of a manifest whose recordings could be read, their embeddings [clips, dimension], and what failed."""

    rows: list[dict[str, str]]
    vectors: np.ndarray
    failed: list[dict[str, str]]


def read_manifest(path: Path, column: str) -> list[dict[str, str]]:
    """The rows of a CSV manifest that say something in `column`.

    Raises:
        EvaluationError: it cannot be read, lacks the columns `path` or `column`, or has nothing in them.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path} cannot be read as CSV in UTF-8 ({error}).") from error
    for needed in ("path", column):
        if not rows or needed not in rows[0]:
            raise EvaluationError(f"{path} has no column {needed!r}, or no rows.")
    rows = [row for row in rows if row["path"] and row[column]]
    if not rows:
        raise EvaluationError(f"{path} has nothing in its column {column!r}.")
    return rows


def embed_rows(model: Model, rows: list[dict[str, str]], root: Path, on_row: Callable[[], object]) -> Embedded:
    """Embeds a manifest's recordings, whole: the mean over the clips of a long one.

    Raises:
        EvaluationError: none of them could be read.
    """
    kept, vectors, failed = [], [], []
    for row in rows:
        try:
            vectors.append(embed_recording(model, root / row["path"]).voice)
            kept.append(row)
        except AudioError as error:
            failed.append({"path": str(root / row["path"]), "reason": str(error)})
        on_row()
    if not kept:
        raise EvaluationError(
            f"None of the {len(rows)} recordings could be read; the first: {failed[0]['path']}: {failed[0]['reason']}."
        )
    return Embedded(kept, np.stack(vectors), failed)


def evaluate_classification(
    model: Model, embedded: Embedded, attribute: str, labels: Sequence[str] = (), templates: Sequence[str] = ()
) -> Classification:
    """Zero-shot classification of `attribute` against the manifest's column of that name.

    Without `labels`, the choice is between the labels that the column holds. Rows of other labels are left out.

    Raises:
        EvaluationError: no row has one of the labels.
    """
    labels = tuple(labels) or tuple(sorted({row[attribute] for row in embedded.rows}))
    rows = [i for i, row in enumerate(embedded.rows) if row[attribute] in labels]
    if not rows:
        raise EvaluationError(f"No row has one of the labels {', '.join(labels)} in its column {attribute!r}.")
    asked = question(model, attribute, labels, templates)
    best = asked.scores(embedded.vectors[rows], model).argmax(axis=1)
    return classification([embedded.rows[i][attribute] for i in rows], [labels[i] for i in best], labels)


@dataclass(frozen=True)
class RetrievalFigures:
    """Both directions over `clips` clips and `captions` different captions. mean_average_precision: at 10, in percent."""

    clips: int
    captions: int
    speech_to_caption: Retrieval
    caption_to_speech: Retrieval
    mean_average_precision: float


def evaluate_retrieval(model: Model, embedded: Embedded) -> RetrievalFigures:
    """Retrieval between clips and their captions; captions are de-duplicated, and any clip of a caption is right."""
    captions = list(dict.fromkeys(row["caption"] for row in embedded.rows))
    right = np.array([[row["caption"] == caption for caption in captions] for row in embedded.rows])
    scores = embedded.vectors @ np.stack(list(model.embed_text(captions))).T
    return RetrievalFigures(
        clips=len(embedded.rows),
        captions=len(captions),
        speech_to_caption=retrieval(scores, right),
        caption_to_speech=retrieval(scores.T, right.T),
        mean_average_precision=average_precision_at(scores.T, right.T, 10),
    )
