"""Speed and recall of caption searches, by number of clips.

    python -m benchmarks.search [FOLDER_OF_RECORDINGS] [--clips 10000 --clips 100000 --clips 1000000]

Clips are mixtures of two real embeddings, of a folder or of espeak-ng's voices, with noise of their covariance, as uniform
noise has no meaningful neighbours. Queries are captions of the shipped bank. The embedded engine, as `index` leaves it, is
compared with an exact scan by numpy and, where installed, with usearch's HNSW (pip install usearch). Prints a table, then one
JSON object as the last line.
"""

import json
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.indexing import make_archive
from voxdex.encoders.audio.container import AudioError
from voxdex.encoders.model import Model, open_model
from voxdex.indexer.scan import find_recordings
from voxdex.indexer.store.base import Point
from voxdex.indexer.store.edge import EdgeStore
from voxdex.indexer.store.filter_parser import parse_filter
from voxdex.search.caption import CaptionBank
from voxdex.search.embed import embed_recording
from voxdex.search.scoring import caption_vectors

FIRST, QUERIES, PORTION = 10, 200, 20_000
NOISE = 0.5
"""Noise of a clip, relative to the standard deviation of the real ones."""
SPEAKERS = 500


def real_embeddings(folder: Path | None, model: Model) -> np.ndarray:
    """Return the embeddings of the clips of a folder, or of espeak-ng's voices: float32 [clips, dimension]."""
    with tempfile.TemporaryDirectory() as made:
        if folder is None:
            folder = Path(made) / "archive"
            make_archive(folder)
        vectors = []
        for path in tqdm(find_recordings([folder]).recordings, unit=" recordings", disable=None):
            try:
                vectors.append(embed_recording(model, Path(path)).vectors)
            except AudioError:
                continue
    return np.concatenate(vectors)


def blended(real: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield unit vectors like those of an archive of `count` clips, in portions."""
    rng = np.random.default_rng(0)
    _, spread, axes = np.linalg.svd(real - real.mean(axis=0), full_matrices=False)
    scales = NOISE * spread / np.sqrt(len(real))
    for start in range(0, count, PORTION):
        size = min(PORTION, count - start)
        one, other = real[rng.integers(len(real), size=(2, size))]
        weight = rng.beta(0.5, 0.5, size=(size, 1))
        noise = (rng.normal(size=(size, len(scales))) * scales) @ axes
        vectors = weight * one + (1 - weight) * other + noise
        yield (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def points(vectors: np.ndarray, start: int) -> list[Point]:
    """Return clips with these vectors and some payload."""
    return [
        Point(
            str(uuid.uuid5(uuid.NAMESPACE_OID, str(start + number))),
            vector,
            {
                "kind": "clip",
                "content": str(start + number),
                "recording": f"/archive/{(start + number) // 40:06d}.wav",
                "start": 0.0,
                "end": 5.0,
                "attributes": {"gender": "female" if number % 2 else "male"},
                "metadata": {"speaker": f"s{(start + number) % SPEAKERS}"},
            },
        )
        for number, vector in enumerate(vectors)
    ]


def timed(ask: Callable[[np.ndarray], Any], queries: np.ndarray) -> tuple[list[Any], dict[str, float]]:
    """Return all answers, and the median and 95th percentile of their durations in milliseconds."""
    ask(queries[0])
    answers, milliseconds = [], []
    for query in queries:
        started = time.perf_counter()
        answers.append(ask(query))
        milliseconds.append(1000 * (time.perf_counter() - started))
    return answers, {f"p{percent}": float(np.percentile(milliseconds, percent)) for percent in (50, 95)}


def recall(found: list[np.ndarray], vectors: np.ndarray, queries: np.ndarray, exact: list[np.ndarray]) -> float:
    """Return the recall of the exact answer in percent; clips whose scores agree to six digits are interchangeable."""
    recalls = []
    for query, ids, best in zip(queries, found, exact, strict=True):
        least = (vectors[best] @ query).min()
        recalls.append(np.mean(vectors[ids] @ query >= least - 1e-6))
    return 100 * float(np.mean(recalls))


def measure(count: int, real: np.ndarray, queries: np.ndarray, space: str) -> list[dict[str, Any]]:
    """Time each way to search an archive of `count` clips."""
    folder = Path(tempfile.mkdtemp(prefix="voxdex-search-"))
    try:
        return list(_measured(count, real, queries, space, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measured(count: int, real: np.ndarray, queries: np.ndarray, space: str, folder: Path) -> Iterator[dict[str, Any]]:
    with EdgeStore.create(folder / "index", space, "mini", real.shape[1]) as store:
        store.ensure_fields({"metadata.speaker": "text"})
        parts, started = [], time.perf_counter()
        for part in tqdm(blended(real, count), total=-(-count // PORTION), desc=f"{count} clips", disable=None):
            store.upsert(points(part, len(parts) * PORTION))
            parts.append(part)
        written, vectors = time.perf_counter() - started, np.concatenate(parts)
        started = time.perf_counter()
        store.optimise()
        optimised = time.perf_counter() - started

        def scan(query: np.ndarray) -> np.ndarray:
            scores = vectors @ query
            return np.argpartition(-scores, FIRST)[:FIRST]

        exact, scanned = timed(scan, queries)
        yield {"clips": count, "method": "numpy, exact", "recall@10": 100.0, **scanned}
        found, asked = timed(lambda query: [int(hit.payload["content"]) for hit in store.query(query, FIRST)], queries)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        metrics = {"recall@10": recall(found, vectors, queries, exact), **asked}
        built = {"write_seconds": written, "build_seconds": optimised, "bytes": size}
        yield {"clips": count, "method": "engine, as index leaves it", **metrics, **built}
        where = parse_filter("speaker=s7")
        _, filtered = timed(lambda query: store.query(query, FIRST, where), queries)
        yield {"clips": count, "method": "engine, one speaker of 500", **filtered}
    if other := usearch(vectors, queries, exact):
        yield {"clips": count, "method": "usearch, HNSW", **other}


def usearch(vectors: np.ndarray, queries: np.ndarray, exact: list[np.ndarray]) -> dict[str, float] | None:
    """Time usearch over the same vectors, with its defaults; None where it is not installed."""
    try:
        from usearch.index import Index
    except ImportError:
        return None
    index, started = Index(ndim=vectors.shape[1], metric="cos", dtype="f32"), time.perf_counter()
    index.add(np.arange(len(vectors)), vectors)
    built = time.perf_counter() - started
    found, asked = timed(lambda query: index.search(query, FIRST).keys.astype(int), queries)
    return {"recall@10": recall(found, vectors, queries, exact), **asked, "build_seconds": built}


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--clips",
    multiple=True,
    type=click.IntRange(100),
    default=(10_000, 100_000),
    show_default=True,
    help="Number of clips; repeatable.",
)
@click.option("--model", default="mini", show_default=True, help="Model of the embeddings.")
def main(folder: Path | None, clips: tuple[int, ...], model: str) -> None:
    """Time caption searches in indexes of several sizes, and compare the engine with an exact scan."""
    encoder = open_model(model)
    real = real_embeddings(folder, encoder)
    captions = CaptionBank(encoder).captions
    queries = caption_vectors(captions[:: len(captions) // QUERIES][:QUERIES], encoder)
    results = [row for count in clips for row in measure(count, real, queries, encoder.card.space)]
    table = Table("clips", "method", "recall@10 (%)", "median (ms)", "95 % (ms)", "write (s)", "build (s)", "disk (MB)")
    for row in results:
        table.add_row(
            f"{row['clips']:,}",
            row["method"],
            f"{row['recall@10']:.2f}" if "recall@10" in row else "",
            *(f"{row[name]:.2f}" for name in ("p50", "p95")),
            *(f"{row[name]:.1f}" if name in row else "" for name in ("write_seconds", "build_seconds")),
            f"{row['bytes'] / 1e6:.0f}" if "bytes" in row else "",
        )
    Console().print(table)
    print(json.dumps({"real_clips": len(real), "queries": len(queries), "results": results}))


if __name__ == "__main__":
    main()
