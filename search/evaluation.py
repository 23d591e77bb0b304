"""How good a model is on a labelled manifest: zero-shot classification and retrieval, as the papers measure them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxdex.encoders.audio.reader import AudioError
from voxdex.encoders.metrics import Classification, Retrieval, bootstrap, classification, retrieval
from voxdex.encoders.model import Model
from voxdex.encoders.tables import ManifestError
from voxdex.search.classify import label_set
from voxdex.search.embed import embed_recording


@dataclass(frozen=True)
class Embedded:
    """The rows of a manifest whose recordings could be read, their embeddings [clips, dimension], and what failed."""

    rows: list[dict[str, str]]
    vectors: np.ndarray
    failed: list[dict[str, str]]

    def by(self, column: str | None, among: Sequence[int] | None = None) -> dict[str, "Embedded"]:
        """The same for each value of a column; {} for none. among: the rows that count, by place; None for all.

        Raises:
            ManifestError: there is no such column.
        """
        if column is None:
            return {}
        if column not in self.rows[0]:
            raise ManifestError(f"The manifest has no column {column!r}. It has: {', '.join(self.rows[0])}.")
        places: dict[str, list[int]] = {}
        for place in range(len(self.rows)) if among is None else among:
            places.setdefault(self.rows[place][column], []).append(place)
        return {
            value: Embedded([self.rows[place] for place in found], self.vectors[found], [])
            for value, found in sorted(places.items())
        }


def embed_rows(model: Model, rows: list[dict[str, str]], root: Path, on_row: Callable[[], object]) -> Embedded:
    """Embeds a manifest's recordings, whole: the mean over the clips of a long one.

    Raises:
        ManifestError: none of them could be read.
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
        raise ManifestError(
            f"None of the {len(rows)} recordings could be read; the first: {failed[0]['path']}: {failed[0]['reason']}."
        )
    return Embedded(kept, np.stack(vectors), failed)


@dataclass(frozen=True)
class ClassificationResult:
    """What zero-shot classification said of each clip: true and heard labels, of those of the `rows` that have a label."""

    attribute: str
    labels: tuple[str, ...]
    truth: list[str]
    heard: list[str]
    rows: Sequence[int] = ()

    @property
    def result(self) -> Classification:
        """Counts over all clips."""
        return classification(self.truth, self.heard, self.labels)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % intervals of UAR, macro F1 and accuracy, by the bootstrap over clips."""
        truth, heard = np.array(self.truth), np.array(self.heard)
        return bootstrap(lambda rows: classification(truth[rows], heard[rows], self.labels).metrics(), len(truth))


def evaluate_classification(
    model: Model, embedded: Embedded, attribute: str, labels: Sequence[str] = (), templates: Sequence[str] = ()
) -> ClassificationResult:
    """Zero-shot classification of `attribute` against the manifest's column of that name.

    Without `labels`, the choice is between the labels that the column holds. Rows of other labels are left out.

    Raises:
        ManifestError: no row has one of the labels.
    """
    labels = tuple(labels) or tuple(sorted({row[attribute] for row in embedded.rows}))
    rows = [i for i, row in enumerate(embedded.rows) if row[attribute] in labels]
    if not rows:
        raise ManifestError(f"No row has one of the labels {', '.join(labels)} in its column {attribute!r}.")
    asked = label_set(model, attribute, labels, templates)
    best = asked.scores(embedded.vectors[rows], model).argmax(axis=1)
    return ClassificationResult(attribute, labels, [embedded.rows[i][attribute] for i in rows], [labels[i] for i in best], rows)


@dataclass(frozen=True)
class RetrievalResult:
    """Both directions over `clips` clips and `captions` different captions."""

    clips: int
    captions: int
    speech_to_caption: Retrieval
    caption_to_speech: Retrieval

    @property
    def ways(self) -> dict[str, Retrieval]:
        """Both directions by name."""
        return {"speech_to_caption": self.speech_to_caption, "caption_to_speech": self.caption_to_speech}

    def intervals(self) -> dict[str, dict[str, tuple[float, float]]]:
        """95 % intervals of the figures of each direction, by the bootstrap over its queries."""
        return {
            name: bootstrap(lambda rows, way=way: way.select(rows).metrics(), len(way.ranks)) for name, way in self.ways.items()
        }


def evaluate_retrieval(model: Model, embedded: Embedded) -> RetrievalResult:
    """Retrieval between clips and their captions; captions are de-duplicated, and any clip of a caption is right."""
    captions = list(dict.fromkeys(row["caption"] for row in embedded.rows))
    right = np.array([[row["caption"] == caption for caption in captions] for row in embedded.rows])
    scores = embedded.vectors @ np.stack(list(model.embed_text(captions))).T
    return RetrievalResult(
        clips=len(embedded.rows),
        captions=len(captions),
        speech_to_caption=retrieval(scores, right),
        caption_to_speech=retrieval(scores.T, right.T),
    )
