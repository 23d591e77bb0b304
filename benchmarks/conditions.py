"""Speed of searches with filters, of the page with its facets, and of `status`, relative to a search by caption alone.

    python -m benchmarks.conditions [--clips 100000] [--work FOLDER | --url http://HOST:6333]

Indexes an archive of empty files; its clips are mixtures of captions' embeddings with random labels and random measures, the
same in each run. --work keeps archive and index in a folder, --url keeps the index on a server, and a later run uses them
again. Prints a table, then one JSON object as the last line.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.search import blended
from voxdex.encoders.audio.acoustics import AcousticMeasures
from voxdex.encoders.audio.container import Origin
from voxdex.encoders.machine import peak_memory
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.model_card import default_model
from voxdex.encoders.zero_shot import Prediction, heard_attributes
from voxdex.indexer.index import index as index_archive
from voxdex.indexer.location import IndexLocation, LocalIndex, ServerIndex
from voxdex.indexer.metadata import Metadata
from voxdex.indexer.pipeline.decoder import DecodeSummary, RecordingDone
from voxdex.indexer.pipeline.embedder import BATCH_CLIPS, EmbeddedClip, EmbedEvent, EmbedJob
from voxdex.indexer.scan import FileState, find_recordings
from voxdex.indexer.statistics import index_statistics
from voxdex.indexer.store.base import Point, Store
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.indexer.store.filters import Filter
from voxdex.search.caption import CaptionBank
from voxdex.search.engine import count_facets, search_index
from voxdex.search.query import Query, ask
from voxdex.search.scoring import ScoreCohort, caption_vectors
from voxdex.web.index_reader import IndexSnapshot
from voxdex.web.pages import FACET_HITS, facets
from voxdex.web.schemas import SearchRequest

CAPTION, FIRST = "a calm woman", 10
SPEAKERS, SESSIONS, CAPTIONS = 500, 40, 1000
WRITTEN = 5000
"""Points in one write."""
FILTERS = {
    "caption": (),
    "label": ("gender=female",),
    "range of numbers": ("duration:2..4",),
    "range of dates": ("recorded:2019..2020",),
    "not": ("not gender=female",),
    "or": ("gender=female or duration<3",),
    "number, of one clip": ("duration=5.618",),
    "number, of a fortieth": ("session=3",),
    "path, a rare word": ("path~099123",),
    "path, a rare form": ('path~"x/99*.wav"',),
    "path, a common word": ("path~tapes",),
    "path, a common folder": ('path~"tapes/*"',),
    "path, nothing": ("path~nowhere",),
    "path, not a folder": ('not path~"tapes/*"',),
    "path, rare and undecided": ('path~"09912?.wav"',),
    "path, common and undecided": ('path~"take?0*"',),
    "text like a pattern": ("speaker~*7",),
}


def make_archive(folder: Path, count: int) -> None:
    """Create empty files, forty in a folder."""
    for number in tqdm(range(count), unit=" files", disable=None):
        parent = folder / ("tapes" if number % 2 else "Radio Archive") / f"speaker {number // 40:05d}" / "abcx"[number % 4]
        if number % 40 < 4:
            parent.mkdir(parents=True)
        (parent / f"{'99' if number % 4 == 3 and number % 97 == 0 else 'take'}_{number:06d}.wav").touch()


def metadata_of(paths: Sequence[str]) -> Metadata:
    """Return metadata with a speaker, a session, a rating and a day for each recording."""
    rng = np.random.default_rng(1)
    days = np.datetime64("2018-01-01") + rng.integers(0, 5 * 365, len(paths))
    rows = {
        path: {
            "speaker": f"s{rng.integers(SPEAKERS)}",
            "session": float(rng.integers(SESSIONS)),
            "rating": rng.integers(2, 10) / 2,
            "recorded": str(day),
        }
        for path, day in zip(paths, days, strict=True)
    }
    return Metadata({"speaker": "text", "session": "number", "rating": "number", "recorded": "date"}, rows)


class SyntheticBackend:
    """An EmbedBackend that makes one clip of each recording, with random predictions and measures, without reading it."""

    def __init__(self, model: Model, real: np.ndarray) -> None:
        self._real, self._attributes = real, heard_attributes(model.card)

    def __call__(self, job: EmbedJob) -> Iterator[list[EmbedEvent]]:
        paths = job.paths
        rng = np.random.default_rng(2)
        vectors = (vector for part in blended(self._real, len(paths)) for vector in part)
        batch: list[EmbedEvent] = []
        for path, vector in tqdm(zip(paths, vectors, strict=True), total=len(paths), unit=" clips", disable=None):
            batch += self._recording(path, vector, rng)
            if len(batch) >= BATCH_CLIPS:
                yield batch
                batch = []
        yield batch

    def _recording(self, path: str, vector: np.ndarray, rng: np.random.Generator) -> list[EmbedEvent]:
        predictions = {}
        for attribute in self._attributes:
            label = attribute.labels[rng.integers(len(attribute.labels))]
            predictions[attribute.name] = Prediction(label.name, round(rng.uniform(0.3, 1), 4))
        start, seconds = (round(each, 3) for each in rng.uniform((0, 1), (2, 10)))
        measures = AcousticMeasures(*(round(each, 2) for each in rng.normal((160, 3, -25, 4, 20), (40, 1, 4, 1, 6))))
        clip = EmbeddedClip(path, start, round(start + seconds, 3), measures, vector, predictions, None, 0.0)
        origin = Origin("wav", "pcm_s16le", 16_000, 1, {"software": "recorder"})
        summary = DecodeSummary(round(start + seconds + 1, 3), 0.5, origin)
        return [clip, RecordingDone(path, FileState.of(path), f"{Path(path).stem}{'0' * 56}", summary)]


class BulkStore:
    """A store that writes the points of many recordings at a time; the pipeline writes each recording by itself."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._points: list[Point] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upsert(self, points: Sequence[Point]) -> None:
        self._points += points
        if len(self._points) >= WRITTEN:
            self.flush()

    def flush(self) -> None:
        self._store.upsert(self._points)
        self._points = []

    def optimise(self) -> None:
        self.flush()
        self._store.optimise()


def fill(location: IndexLocation, archive: Path, clips: int, model: Model) -> dict[str, float]:
    """Create an index of an archive; return its seconds and the peak memory of this process in bytes."""
    if not archive.exists():
        make_archive(archive, clips)
    bank = CaptionBank(model).captions
    real = caption_vectors(bank[:: max(1, len(bank) // CAPTIONS)], model)
    scan, started = find_recordings([archive]), time.perf_counter()
    with location.create(model.card.space, model.card.name, model.card.dimension) as store:
        index_archive(scan, BulkStore(store), model, metadata_of([*scan.recordings]), backend=SyntheticBackend(model, real))
    return {"index_seconds": time.perf_counter() - started, "index_peak_bytes": peak_memory()}


def milliseconds(call: Callable[[], Any], runs: int) -> float:
    """Return the median duration of a call in milliseconds, after a first one that fills caches."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def measure(store: Store, model: Model, runs: int) -> list[dict[str, Any]]:
    """Time each filter: a search of the command line, one with a facet, and a search of the page with all its facets."""
    cohort = ScoreCohort.of(store)
    rows = []
    for name, conditions in tqdm(FILTERS.items(), unit=" filters", disable=None):
        where = parse_filter(*conditions)
        asked = SearchRequest(caption=CAPTION, where=list(conditions))

        def search(limit: int = FIRST, where: Filter = where) -> list[Any]:
            return search_index(Query(ask(CAPTION), where, limit=limit), store, model, cohort=cohort)

        def page(search: Callable = search, asked: SearchRequest = asked) -> object:
            fresh = IndexSnapshot(store, model, cohort, 0, ())
            return facets(fresh, search(FACET_HITS), asked)

        def with_facet(search: Callable = search, where: Filter = where) -> object:
            return count_facets(["emotion"], search(), store, where)

        timed = {"search": search, "search and facet": with_facet, "page": page}
        row = {"question": name, "condition": " ".join(conditions), "clips": sum(store.facet("gender", where).values())}
        rows.append(row | {name: milliseconds(call, runs) for name, call in timed.items()})
    rows.append({"question": "status", "condition": "", "search": milliseconds(lambda: index_statistics(store), runs)})
    return [row | {"ratio": row["search"] / rows[0]["search"]} for row in rows]


@click.command()
@click.option(
    "--clips",
    default=100_000,
    show_default=True,
    type=click.IntRange(100, 1_000_000),
    help="Number of clips, one per recording.",
)
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), help="Folder in which archive and index are kept.")
@click.option("--url", metavar="URL", help="Address of a Qdrant server for the index, which is named conditions-CLIPS.")
@click.option(
    "--runs", default=5, show_default=True, type=click.IntRange(1), help="Number of runs; the table shows their median."
)
@click.option("--model", "name", help="Model of the captions.  [default: that of a new index]")
def main(clips: int, work: Path | None, url: str | None, runs: int, name: str | None) -> None:
    """Time searches with filters, and compare them with a caption alone."""
    model = open_model(name or default_model())
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        location = ServerIndex(url, f"conditions-{clips}") if url else LocalIndex(folder / f"index-{clips}")
        made = {} if location.exists() else fill(location, folder / f"archive-{clips}", clips, model)
        with location.open() as store:
            rows = measure(store, model, runs)
            found = {"clips": store.count(), "bytes": index_statistics(store).bytes, "peak_bytes": peak_memory()}
    table = Table("question", "condition", "clips", "search (ms)", "over caption", "with a facet (ms)", "page (ms)")
    for row in rows:
        shown = [f"{row[each]:.1f}" if each in row else "" for each in ("search and facet", "page")]
        table.add_row(
            row["question"], row["condition"], f"{row.get('clips', '')}", f"{row['search']:.1f}", f"{row['ratio']:.2f}", *shown
        )
    Console().print(table)
    print(json.dumps(made | found | {"questions": rows}))


if __name__ == "__main__":
    main()
