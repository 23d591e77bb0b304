"""How long searches with conditions take, their page with its facets, and `status`, over a caption alone.

    python -m benchmarks.conditions [--clips 100000] [--work FOLDER | --url http://HOST:6333]

Indexes an archive of empty files through the pipeline itself, which gets blends of captions' embeddings, labels and measures
instead of what it would hear, the same at each run. With --work, archive and index stay in that folder, with --url the index
on the server, and a later run asks them again. Prints a table, then one JSON object as the last line.
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
from encoders import Model, default_model, open_model
from encoders.audio import Origin
from encoders.machine import peak_memory
from encoders.zero_shot import Heard, heard_attributes
from indexer import Folder, Place, Server, Store, find_recordings, overview
from indexer import index as index_archive
from indexer.decoding import Decoded
from indexer.embedding import BATCH_CLIPS, Embedded, Span
from indexer.files import FileState
from indexer.measures import Measures
from indexer.metadata import Metadata
from indexer.reading import Done
from indexer.store import Filter, Point
from search import Background, CaptionBank, Query, ask, caption_vector, count_values, find, parse_filter
from web.library import Opened
from web.pages import FACETED, facets
from web.schemas import SearchRequest

CAPTION, FIRST = "a calm woman", 10
SPEAKERS, SESSIONS, CAPTIONS = 500, 40, 1000
WRITTEN = 5000
"""Points at a time."""
QUESTIONS = {
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
    """Empty files, forty a folder."""
    for number in tqdm(range(count), unit=" files", disable=None):
        place = folder / ("tapes" if number % 2 else "Radio Archive") / f"speaker {number // 40:05d}" / "abcx"[number % 4]
        if number % 40 < 4:
            place.mkdir(parents=True)
        (place / f"{'99' if number % 4 == 3 and number % 97 == 0 else 'take'}_{number:06d}.wav").touch()


def metadata_of(paths: Sequence[str]) -> Metadata:
    """A sheet with a speaker, a session, a rating and a day for each recording."""
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


class Hearing:
    """What reads recordings for the pipeline without looking into them; a clip of each."""

    def __init__(self, model: Model, real: np.ndarray) -> None:
        self._real, self._attributes = real, heard_attributes(model)

    def __call__(self, paths: Sequence[str], *_: Any) -> Iterator[list[Embedded]]:
        rng = np.random.default_rng(2)
        vectors = (vector for part in blended(self._real, len(paths)) for vector in part)
        batch: list[Embedded] = []
        for path, vector in tqdm(zip(paths, vectors, strict=True), total=len(paths), unit=" clips", disable=None):
            batch += self._recording(path, vector, rng)
            if len(batch) >= BATCH_CLIPS:
                yield batch
                batch = []
        yield batch

    def _recording(self, path: str, vector: np.ndarray, rng: np.random.Generator) -> list[Embedded]:
        heard = {}
        for attribute in self._attributes:
            label = attribute.labels[rng.integers(len(attribute.labels))]
            heard[attribute.name] = Heard(label.name, round(rng.uniform(0.3, 1), 4))
        start, seconds = (round(each, 3) for each in rng.uniform((0, 1), (2, 10)))
        measures = Measures(*(round(each, 2) for each in rng.normal((160, 3, -25, 4, 20), (40, 1, 4, 1, 6))))
        span = Span(path, start, round(start + seconds, 3), measures, vector, heard, None, 0.0)
        origin = Origin("wav", "pcm_s16le", 16_000, 1, {"software": "recorder"})
        decoded = Decoded(round(start + seconds + 1, 3), 0.5, origin)
        return [span, Done(path, FileState.of(path), f"{Path(path).stem}{'0' * 56}", decoded)]


class Bulk:
    """A store that takes the points of many recordings at a time; the pipeline writes each recording by itself."""

    def __init__(self, store: Store) -> None:
        self._store, self._points = store, []

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


def fill(place: Place, archive: Path, clips: int, model: Model) -> dict[str, float]:
    """Makes an index of an archive; seconds, and bytes of memory that this process held at most."""
    if not archive.exists():
        make_archive(archive, clips)
    bank = CaptionBank(model).captions
    real = np.stack([caption_vector(text, model) for text in bank[:: max(1, len(bank) // CAPTIONS)]])
    walk, started = find_recordings([archive]), time.perf_counter()
    with place.create(model.card.space, model.card.name, model.card.dimension) as store:
        index_archive(walk, Bulk(store), model, metadata_of([*walk.recordings]), read=Hearing(model, real))
    return {"index_seconds": time.perf_counter() - started, "index_peak_bytes": peak_memory()}


def milliseconds(question: Callable[[], Any], runs: int) -> float:
    """The median of some runs, after one that warms caches."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        question()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def measure(store: Store, model: Model, runs: int) -> list[dict[str, Any]]:
    """Each question: a search as the command line makes it, with a facet, and as the page makes it, with all of its own."""
    background = Background.of(store)
    rows = []
    for name, conditions in tqdm(QUESTIONS.items(), unit=" questions", disable=None):
        where = parse_filter(*conditions)
        asked = SearchRequest(caption=CAPTION, where=list(conditions))

        def search(limit: int = FIRST, where: Filter = where) -> list[Any]:
            return find(Query(ask(CAPTION), where, limit=limit), store, model, background)

        def page(search: Callable = search, asked: SearchRequest = asked) -> object:
            fresh = Opened(store, model, background, 0, ())
            return facets(fresh, search(FACETED), asked)

        def with_facet(search: Callable = search, where: Filter = where) -> object:
            return count_values("emotion", search(), store, where)

        timed = {"search": search, "search and facet": with_facet, "page": page}
        row = {"question": name, "condition": " ".join(conditions), "clips": sum(store.facet("gender", where).values())}
        rows.append(row | {name: milliseconds(question, runs) for name, question in timed.items()})
    rows.append({"question": "status", "condition": "", "search": milliseconds(lambda: overview(store), runs)})
    return [row | {"ratio": row["search"] / rows[0]["search"]} for row in rows]


@click.command()
@click.option("--clips", default=100_000, show_default=True, type=click.IntRange(100, 1_000_000), help="One a recording.")
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), help="Where archive and index stay.")
@click.option("--url", metavar="URL", help="Of a Qdrant server that is to hold the index, named conditions-CLIPS.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1), help="Of which the median is taken.")
@click.option("--model", "name", help="What captions are embedded by.  [default: the one of a new index]")
def main(clips: int, work: Path | None, url: str | None, runs: int, name: str | None) -> None:
    """Ask an index questions with conditions, and compare them with a caption alone."""
    model = open_model(name or default_model())
    with ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = Server(url, f"conditions-{clips}") if url else Folder(folder / f"index-{clips}")
        made = {} if place.exists() else fill(place, folder / f"archive-{clips}", clips, model)
        with place.open() as store:
            rows = measure(store, model, runs)
            found = {"clips": store.count(), "bytes": overview(store).bytes, "peak_bytes": peak_memory()}
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
