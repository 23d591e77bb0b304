"""How fast an archive is indexed, where the time goes, and how long a search takes from a cold process.

    python -m benchmarks.indexing FOLDER_OF_RECORDINGS

Indexing reads every recording, decodes and resamples it in one thread, and embeds in all others, so its floor is the
slower of the two. The baseline is decoding alone in the same run: nothing can index faster than the sound can be read.
Prints a table, then one JSON object as the last line.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from encoders import AudioReader, open_model
from indexer import EdgeStore, find_recordings, index

CLI = Path(__file__).parent.parent / "cli.py"


def decode_seconds(paths: list[Path]) -> float:
    """Wall time of decoding and resampling all recordings, one after another."""
    started = time.perf_counter()
    for path in paths:
        for _ in AudioReader(path):
            pass
    return time.perf_counter() - started


def cold_seconds(command: list[str], runs: int) -> float:
    """Median wall time of a whole process, after one run that warms the file cache."""
    times = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--runs", default=5, show_default=True, help="Searches to take the median of.")
@click.option("--model", default="mini", show_default=True)
def main(folder: Path, runs: int, model: str) -> None:
    """Benchmark indexing and searching on a folder of recordings."""
    walk = find_recordings([folder])
    encoder = open_model(model, device="cpu", bulk=True)
    list(encoder.embed_speech([np.zeros(160_000, np.float32)]))  # opens the session
    decode_alone = decode_seconds([*map(Path, walk.recordings)])
    with tempfile.TemporaryDirectory() as temporary:
        with EdgeStore.create(Path(temporary, "index"), encoder.card.space, model, encoder.card.dimension) as store:
            report = index(walk, store, encoder)
            again = index(walk, store, encoder)
        search = cold_seconds([sys.executable, str(CLI), "search", "a sad woman", "--index", f"{temporary}/index"], runs)
    bare = cold_seconds([sys.executable, "-c", "import numpy, onnxruntime"], runs)
    work = report.stages.decode + report.stages.embed + report.stages.store
    figures = {
        "cores": len(os.sched_getaffinity(0)),
        "recordings": report.indexed,
        "audio_hours": round(report.audio_seconds / 3600, 3),
        "audio_seconds_per_second": round(report.audio_seconds / report.seconds, 1),
        "share_decode": round(report.stages.decode / work, 3),
        "share_embed": round(report.stages.embed / work, 3),
        "share_store": round(report.stages.store / work, 3),
        "index_over_decode_alone": round(report.seconds / decode_alone, 2),
        "second_run_over_first": round(again.seconds / report.seconds, 4),
        "search_cold_seconds": round(search, 3),
        "search_over_importing_onnxruntime": round(search / bare, 2),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), str(value))
    Console().print(table)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
