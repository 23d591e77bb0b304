"""Speed of indexing relative to its stages, and its cost by number of files and by hours.

    python -m benchmarks.indexing [FOLDER_OF_RECORDINGS] [--files 1000 --files 10000] [--hours 0.1 --hours 1]

Without a folder it makes an archive of espeak-ng's voices (the demo extra). Indexing decodes, segments and measures in
processes and embeds beside them, so its lower bound is the slower of the two stages alone; both are measured in the same run,
with all cores each. Small files are WAV files of a third of a second, no two alike. Prints a table, then one JSON object as
the last line.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import click
import numpy as np
from rich.console import Console
from rich.table import Table

from demo.make_archive import SENTENCES, SPEAKERS, write
from voxdex.encoders.audio.reader import SAMPLE_RATE, AudioReader, read_audio
from voxdex.encoders.machine import usable_cores
from voxdex.encoders.model import Model, open_model
from voxdex.encoders.phonetic.g2p import Espeak
from voxdex.indexer.pipeline.decoder import Segmentation, SegmentedClip
from voxdex.indexer.pipeline.local import Reader
from voxdex.indexer.scan import find_recordings

CLI = [sys.executable, str(Path(__file__).parent.parent / "cli.py")]
INDEX = [*CLI, "index"]
TAKES = 10
"""Number of takes of each sentence by each voice, each at another speaking rate."""


def make_archive(folder: Path) -> None:
    """Create takes of espeak-ng's voices, in five formats."""
    folder.mkdir()
    espeak = Espeak()
    for speaker in SPEAKERS:
        voice = speaker.voice
        for number, sentence in enumerate(SENTENCES):
            for take in range(TAKES):
                spoken = espeak.say(sentence, replace(voice, rate=voice.rate + 3 * take))
                write(folder / f"{voice.name}-{number}-{take}{speaker.suffix}", spoken, espeak.sample_rate)


def make_small_files(folder: Path, count: int, speech: np.ndarray) -> None:
    """Create WAV files of a third of a second, a thousand in a folder, no two alike."""
    length = SAMPLE_RATE // 3
    for number in range(count):
        path = folder / f"{number // 1000:03d}" / f"{number:06d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        start = number * 37 % (len(speech) - length)
        samples = (speech[start : start + length] * (0.5 + 0.5 * (number % 997) / 997) * 32767).astype("<i2")
        samples[0] = number % 32768
        samples[1] = number // 32768
        write(path, samples, SAMPLE_RATE)


def make_long_file(path: Path, hours: float, speech: np.ndarray) -> None:
    """Create one long recording of repeated speech."""
    samples = (speech * 32767).astype("<i2")[None]
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=SAMPLE_RATE, layout="mono")
        for _ in range(max(1, round(hours * 3600 * SAMPLE_RATE / len(speech)))):
            frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the wall time of a function in seconds, and its result."""
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def decode_all(paths: list[Path]) -> float:
    """Decode and resample, with one thread per core; return the duration of the audio in seconds."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        return sum(pool.map(lambda path: sum(map(len, AudioReader(path))), paths)) / SAMPLE_RATE


def read_all(paths: list[Path], clip_seconds: float) -> list[SegmentedClip]:
    """Decode and segment the recordings, without embedding them."""
    return [event for event in Reader([], Segmentation(clip_seconds)).read(map(str, paths)) if isinstance(event, SegmentedClip)]


def new_index(folder: Path, recordings: Path, model: str) -> dict[str, Any]:
    """Return the report of a first run, in a process of its own."""
    command = [*INDEX, str(recordings), "--index", str(folder), "--model", model, "--json"]
    return json.loads(subprocess.run(command, check=False, capture_output=True, text=True).stdout)


def scan_seconds(folder: Path) -> float:
    """Return the wall time of listing all files and their states."""
    return timed(lambda: [os.stat(f"{where}/{name}") for where, _, names in os.walk(folder) for name in names])[0]  # noqa: PTH116


def cold_seconds(command: list[str], runs: int) -> float:
    """Return the median wall time of a process, after a first run that fills the file cache."""
    times = [timed(lambda: subprocess.run(command, check=False, capture_output=True))[0] for _ in range(runs + 1)]
    return statistics.median(times[1:])


def parts(recordings: Path, model: Model, temporary: Path, runs: int) -> dict[str, float]:
    """Time the indexing of an archive, and its stages alone."""
    paths = [*map(Path, find_recordings([recordings]).recordings)]
    decode, seconds = timed(lambda: decode_all(paths))
    read, clips = timed(lambda: read_all(paths, model.card.max_seconds))
    embed, _ = timed(lambda: list(model.embed_speech(each.clip.samples for each in clips)))
    report = new_index(temporary / "archive", recordings, str(model.folder))
    again = cold_seconds([*INDEX, str(recordings), "--index", f"{temporary}/archive"], 1)
    search = cold_seconds([*CLI, "search", "a sad woman", "--index", f"{temporary}/archive"], runs)
    importing = cold_seconds([sys.executable, "-c", "import numpy, onnxruntime"], runs)
    return {
        "recordings": report["indexed"],
        "clips": report["clips"],
        "audio hours": seconds / 3600,
        "decode alone, x real time": seconds / decode,
        "decode, segment and measure alone, x real time": seconds / read,
        "embed alone, x real time": seconds / embed,
        "all, x real time": seconds / report["seconds"],
        "all over the slower of decode and embed alone": report["seconds"] / max(decode, embed),
        "all over the slower of the two stages alone": report["seconds"] / max(read, embed),
        "all over the sum of the two stages alone": report["seconds"] / (read + embed),
        "a second run over the first": again / report["seconds"],
        "a cold search, s": search,
        "a cold search over importing onnxruntime": search / importing,
        "memory of all processes, MB": report["peak_bytes"] / 1e6,
    }


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option(
    "--files", type=int, multiple=True, default=(1000, 10_000), show_default=True, help="Number of small files; repeatable."
)
@click.option(
    "--hours", type=float, multiple=True, default=(0.1, 1.0), show_default=True, help="Duration of one long file; repeatable."
)
@click.option("--runs", default=5, show_default=True, help="Number of searches; the table shows their median.")
@click.option("--model", "name", default="mini", show_default=True)
def main(folder: Path | None, files: tuple[int, ...], hours: tuple[float, ...], runs: int, name: str) -> None:
    """Benchmark indexing and searching."""
    model = open_model(name, device="cpu", bulk=True)
    list(model.embed_speech([np.zeros(160_000, np.float32)]))  # opens the session
    with tempfile.TemporaryDirectory() as made:
        temporary = Path(made)
        if folder is None:
            make_archive(folder := temporary / "voices")
        speech = np.concatenate([read_audio(path) for path in [*map(Path, find_recordings([folder]).recordings)][:40]])
        metrics = {"cores": usable_cores()} | parts(folder, model, temporary, runs)
        for count in files:
            small = temporary / f"small-{count}"
            make_small_files(small, count, speech)
            index = temporary / f"index-{count}"
            report = new_index(index, small, str(model.folder))
            again = cold_seconds([*INDEX, str(small), "--index", str(index)], 2)
            metrics[f"{count} small files, ms each"] = 1000 * report["seconds"] / count
            metrics[f"{count} small files again, over scanning"] = again / scan_seconds(small)
            metrics[f"{count} small files, memory, MB"] = report["peak_bytes"] / 1e6
        for length in hours:
            (temporary / f"long-{length}").mkdir()
            make_long_file(temporary / f"long-{length}" / "tape.flac", length, speech)
            report = new_index(temporary / f"index-{length}", temporary / f"long-{length}", str(model.folder))
            metrics[f"{length:g} h in one file, x real time"] = report["audio_seconds"] / report["seconds"]
            metrics[f"{length:g} h in one file, memory, MB"] = report["peak_bytes"] / 1e6
    table = Table("metric", "value")
    for metric, value in metrics.items():
        table.add_row(metric, f"{value:.4g}")
    Console().print(table)
    print(json.dumps({metric: round(float(value), 4) for metric, value in metrics.items()}))


if __name__ == "__main__":
    main()
