"""The map of an archive: its clips in two dimensions, drawn once and kept."""

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
from voxdex.encoders.zero_shot import supported_attributes
from voxdex.indexer.store.base import CLIP, KIND, StoreError
from voxdex.search.query import QueryError
from voxdex.web.index_reader import IndexReader, IndexSnapshot

MOST_CORNERS = 200


@dataclass(frozen=True)
class Colours:
    """Of an attribute: its labels, and which of them each clip has, uint8 [clips]; the number of labels where none."""

    labels: list[str]
    codes: np.ndarray


@dataclass(frozen=True)
class Map:
    """ids: of the clips. places: float32 [clips, 2] in 0..1. how: they were found. attributes: colours by name."""

    ids: list[str]
    places: np.ndarray
    how: str
    attributes: dict[str, Colours]

    def within(self, corners: np.ndarray) -> list[str]:
        """The ids of the clips inside a polygon, [corners, 2] in 0..1 (even-odd rule)."""
        x, y = self.places.T
        inside = np.zeros(len(x), bool)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
            crosses = (y0 > y) != (y1 > y)
            inside ^= crosses & (x < (x1 - x0) * (y - y0) / (y1 - y0 if y1 != y0 else 1.0) + x0)
        return [self.ids[place] for place in np.flatnonzero(inside)]


class EmbeddingMap:
    """Draws the map of the library's index when it is first asked for, and again when clips came or went.

    Args:
        library: the index.
        folder: where maps are kept.
    """

    def __init__(self, library: IndexReader, folder: Path) -> None:
        self._library, self._folder = library, folder
        self._map: Map | None = None
        self._revision: tuple[int, ...] | None = None
        self._lock = threading.Lock()
        self._drawing: threading.Thread | None = None
        self.failure = ""

    def map(self) -> Map | None:
        """The map; None while it is drawn for the first time. An old one serves while a new one is drawn.

        Raises:
            StoreError: there is no index.
        """
        with self._library.opened() as opened:
            revision = opened.revision
        with self._lock:
            if revision != self._revision and not (self._drawing and self._drawing.is_alive()):
                self._drawing = threading.Thread(target=self._draw, daemon=True)
                self._drawing.start()
        return self._map

    def region(self, text: str) -> list[str]:
        """The ids of the clips in a region of the map, written "x,y;x,y;x,y" with numbers from 0 to 1.

        Raises:
            QueryError: it is not written so, or there is no map yet.
        """
        try:
            corners = np.array([[float(number) for number in corner.split(",")] for corner in text.split(";")])
        except ValueError:
            corners = np.empty((0, 0))
        if not 3 <= len(corners) <= MOST_CORNERS or corners.shape[1] != 2 or not np.isfinite(corners).all():
            raise QueryError(f"The region {text[:40]!r} is not written x,y;x,y;x,y with numbers from 0 to 1.")
        drawn = self.map()
        if drawn is None:
            raise QueryError("The map is being drawn; ask for the region again in a while.")
        return drawn.within(corners)

    def _draw(self) -> None:
        try:
            with self._library.opened() as opened:
                drawn, revision = self._drawn(opened), opened.revision
        except (OSError, StoreError, subprocess.CalledProcessError, ValueError) as error:
            self.failure = f"The map could not be drawn ({error})."
            return
        with self._lock:
            self._map, self._revision, self.failure = drawn, revision, ""

    def _drawn(self, opened: IndexSnapshot) -> Map:
        ids, vectors, attributes = [], [], []
        for point in opened.store.points({KIND: CLIP}):
            ids.append(point.id)
            vectors.append(point.vector.astype(np.float16))
            attributes.append(point.payload["attributes"])
        if not ids:
            raise ValueError("the index holds no clips")
        order = np.argsort(ids)
        ids = [ids[place] for place in order]
        kept = self._folder / f"{hashlib.sha256(chr(10).join([opened.store.space, *ids]).encode()).hexdigest()[:32]}.npz"
        try:
            with np.load(kept) as file:
                places, how = file["places"], str(file["how"])
        except (OSError, ValueError, KeyError, BadZipFile):
            places, how = _projected(np.stack(vectors)[order])
            self._folder.mkdir(parents=True, exist_ok=True)
            with replaced(kept) as new, new.open("wb") as file:
                np.savez(file, places=places, how=how)
        colours = {
            attribute.name: _colours(
                [label.name for label in attribute.labels], [attributes[place].get(attribute.name) for place in order]
            )
            for attribute in supported_attributes(opened.model)
        }
        return Map(ids, places, how, colours)


def _colours(labels: list[str], heard: list[str | None]) -> Colours:
    codes = {label: code for code, label in enumerate(labels)}
    return Colours(labels, np.array([codes.get(label, len(labels)) for label in heard], dtype=np.uint8))


def _projected(vectors: np.ndarray) -> tuple[np.ndarray, str]:
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "vectors.npy", Path(folder) / "places.npy"
        np.save(given, vectors.astype(np.float32))
        command = [sys.executable, "-m", "voxdex.web.map_projection", str(given), str(made)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
        return np.load(made), done.stdout.strip()
