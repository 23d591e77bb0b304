"""The map of an archive: its clips in two dimensions."""

import hashlib
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from voxdex.encoders.paths import replaced
from voxdex.encoders.zero_shot import heard_attributes
from voxdex.indexer.store.base import CLIP, KIND, StoreError
from voxdex.search.query import QueryError
from voxdex.web.index_reader import IndexReader, IndexSnapshot

MAX_CORNERS = 200
"""Corners of a region."""


@dataclass(frozen=True)
class Colours:
    """An attribute on the map. codes: index of each clip's label, uint8 [clips]; the number of labels if it has none."""

    labels: list[str]
    codes: np.ndarray


@dataclass(frozen=True)
class Map:
    """Clips in two dimensions.

    ids: of the clips. coordinates: float32 [clips, 2] in 0..1. method: of the projection. attributes: colours by name.
    """

    ids: list[str]
    coordinates: np.ndarray
    method: str
    attributes: dict[str, Colours]

    def within(self, corners: np.ndarray) -> list[str]:
        """Return the ids of the clips inside a polygon, [corners, 2] in 0..1 (even-odd rule)."""
        x, y = self.coordinates.T
        inside = np.zeros(len(x), bool)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0 if y1 != y0 else 1.0) + x0)
        return [self.ids[row] for row in np.flatnonzero(inside)]


class EmbeddingMap:
    """The map of an index, drawn on the first request and again after the index has changed.

    Args:
        reader: the index.
        folder: folder for projections.
    """

    def __init__(self, reader: IndexReader, folder: Path) -> None:
        self._reader, self._folder = reader, folder
        self._map: Map | None = None
        self._revision: tuple[int, ...] | None = None
        self._lock = threading.Lock()
        self._drawing: threading.Thread | None = None
        self.failure = ""

    def current(self) -> Map | None:
        """Return the map, or the former one while a new one is drawn; None while the first one is drawn.

        Raises:
            StoreError: there is no index.
        """
        with self._reader.opened() as index:
            revision = index.revision
        with self._lock:
            if revision != self._revision and not (self._drawing and self._drawing.is_alive()):
                self._drawing = threading.Thread(target=self._draw, daemon=True)
                self._drawing.start()
        return self._map

    def region(self, text: str) -> list[str]:
        """Return the ids of the clips in a region of the map, "x,y;x,y;x,y" with numbers from 0 to 1.

        Raises:
            QueryError: the region is invalid, or there is no map yet.
        """
        try:
            corners = np.array([[float(number) for number in corner.split(",")] for corner in text.split(";")])
        except ValueError:
            corners = np.empty((0, 0))
        if not 3 <= len(corners) <= MAX_CORNERS or corners.shape[1] != 2 or not np.isfinite(corners).all():
            raise QueryError(f"The region {text[:40]!r} is not written x,y;x,y;x,y with numbers from 0 to 1.")
        drawn = self.current()
        if drawn is None:
            raise QueryError("The map is being drawn; ask for the region again in a while.")
        return drawn.within(corners)

    def _draw(self) -> None:
        try:
            with self._reader.opened() as index:
                drawn, revision = self._projected(index), index.revision
        except (OSError, StoreError, subprocess.CalledProcessError, ValueError) as error:
            self.failure = f"The map could not be drawn ({error})."
            return
        with self._lock:
            self._map, self._revision, self.failure = drawn, revision, ""

    def _projected(self, index: IndexSnapshot) -> Map:
        """Read all clips and project them; the projection of the same clips is read from the folder."""
        clips = index.store.points({KIND: CLIP})
        points = [(clip.id, np.asarray(clip.vector, np.float16), clip.payload["attributes"]) for clip in clips]
        if not points:
            raise ValueError("the index holds no clips")
        ids, vectors, predictions = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        digest = hashlib.sha256("\n".join([index.store.space, *ids]).encode()).hexdigest()[:32]
        saved = self._folder / f"{digest}.npz"
        try:
            with np.load(saved) as file:
                coordinates, method = file["coordinates"], str(file["method"])
        except (OSError, ValueError, KeyError, BadZipFile):
            coordinates, method = _project(np.stack(vectors))
            self._folder.mkdir(parents=True, exist_ok=True)
            with replaced(saved) as new, new.open("wb") as file:
                np.savez(file, coordinates=coordinates, method=method)
        colours = {
            attribute.name: _colours(
                [label.name for label in attribute.labels], [each.get(attribute.name) for each in predictions]
            )
            for attribute in heard_attributes(index.model.card)
        }
        return Map(list(ids), coordinates, method, colours)


def _colours(labels: list[str], predictions: list[str | None]) -> Colours:
    codes: dict[str | None, int] = {label: code for code, label in enumerate(labels)}
    return Colours(labels, np.array([codes.get(label, len(labels)) for label in predictions], dtype=np.uint8))


def _project(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    """Run web.map_projection in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "vectors.npy", Path(folder) / "coordinates.npy"
        np.save(source, vectors.astype(np.float32))
        command = [sys.executable, "-m", "voxdex.web.map_projection", str(source), str(target)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        return np.load(target), done.stdout.strip()
