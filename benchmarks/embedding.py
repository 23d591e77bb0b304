"""Speed of embedding in seconds of audio a second, by engine, precision and batch, relative to the machine's bounds.

    python -m benchmarks.embedding [--model mini] [--model wavlm-large] [--device cpu|cuda] [--clips FOLDER]

A model is one that ships, a training run, or wavlm-large, a speech tower of that size with random weights. It is exported in
each precision and embeds the same clips as torch, each in a separate process. The baselines are torch eager in fp32 (in fp16
on CUDA) with one clip at a time and with eight clips, padded to the longest. The bounds are measured first: operations and
bytes for a second of audio, and the throughput of the machine's matrix product and copy in the same run. Needs the train
extra. Prints tables, then one JSON object as the last line.
"""

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from voxdex.encoders.audio.reader import SAMPLE_RATE
from voxdex.encoders.machine import peak_memory, usable_cores
from voxdex.encoders.model import Model
from voxdex.encoders.model_card import SPEECH
from voxdex.encoders.onnx_session import CUDA, pad_clips

if TYPE_CHECKING:
    from voxdex.encoders.training.initial import TrainingBundle

WAVLM = "wavlm-large"
WAVLM_LARGE = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "do_stable_layer_norm": True,
    "conv_bias": False,
}
SHORTEST, LONGEST = 2.0, 10.0
"""Seconds of the clips that are made where none are given."""
PASSES = 3
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product that is timed."""
COPIED = {"cpu": 2**28, "cuda": 2**31}
"""Bytes of the copy that is timed."""


@dataclass(frozen=True)
class Way:
    """How clips are embedded. engine: "torch eager", "torch.compile" or "ONNX Runtime". batch: as it is shown.

    clips: of a torch batch. seconds: of sound in a batch of ONNX Runtime, None for the device's own. bulk: see Model.
    """

    engine: str
    precision: str
    batch: str
    clips: int = 0
    seconds: float | None = None
    bulk: bool = True


@dataclass(frozen=True)
class Timed:
    """speed: seconds of audio a second, the best pass. peak_mb: of the process; gpu_mb: of the GPU that it took, 0 on a CPU.

    elsewhere: operators not run on the GPU.
    """

    speed: float
    peak_mb: float
    gpu_mb: float
    vectors: np.ndarray
    elsewhere: list[str]


@dataclass(frozen=True)
class Bounds:
    """For a second of audio: operations (GFLOP) and bytes (MB), beside weights (MB); of the machine: GFLOP and GB a second."""

    gflop: float
    moved_mb: float
    weights_mb: float
    machine_gflops: float
    machine_copy_gb: float

    @property
    def most(self) -> float:
        """Seconds of audio a second, if the matrix product were all that there is."""
        return self.machine_gflops / self.gflop


CPU_WAYS = [
    Way("torch eager", "fp32", "1 clip", clips=1),
    Way("torch eager", "fp32", "8 clips", clips=8),
    Way("torch.compile", "fp32", "8 clips", clips=8),
    *(
        way
        for precision in ("fp32", "int8")
        for way in (
            Way("ONNX Runtime", precision, "5 s"),
            Way("ONNX Runtime", precision, "5 s, one run", bulk=False),
            Way("ONNX Runtime", precision, "40 s", seconds=40),
        )
    ),
]
CALIBRATED_WAYS = [Way("ONNX Runtime", "int8-static", "5 s")]
GPU_WAYS = [
    Way("torch eager", "fp16", "1 clip", clips=1),
    Way("torch eager", "fp16", "32 clips", clips=32),
    Way("torch.compile", "fp16", "32 clips", clips=32),
    Way("ONNX Runtime", "fp32", "320 s"),
    Way("ONNX Runtime", "fp16", "320 s"),
    Way("ONNX Runtime", "fp16", "80 s", seconds=80),
    Way("ONNX Runtime", "fp16", "1280 s", seconds=1280),
]


def bundle_of(model: str) -> "TrainingBundle":
    """A network by name; see above."""
    import torch

    from voxdex.encoders.networks.factory import build_network
    from voxdex.encoders.training.initial import TrainingBundle, load_trained

    if model != WAVLM:
        return load_trained(model)
    from transformers import WavLMConfig

    mini = load_trained("mini")
    tower = {"kind": "pretrained", "config": WavLMConfig(**WAVLM_LARGE).to_dict()}
    architecture = mini.architecture | {"speech_tower": tower}
    torch.manual_seed(0)
    return TrainingBundle(build_network(architecture), architecture, mini.tokenizer)


def make_clips(count: int) -> list[np.ndarray]:
    """Voice-like sounds of SHORTEST to LONGEST seconds, in no order."""
    from voxdex.export.report import synthetic_clips

    rng, sounds = np.random.default_rng(0), synthetic_clips(2, LONGEST)[-1]
    lengths = (rng.uniform(SHORTEST, LONGEST, count) * SAMPLE_RATE).astype(int)
    starts = [rng.integers(0, len(sounds) - length + 1) for length in lengths]
    return [sounds[start : start + length] for start, length in zip(starts, lengths, strict=True)]


def export(model: str, precision: str, folder: Path, recordings: Path | None) -> float:
    """Writes the model folder; the worst cosine of its parity report."""
    from voxdex.export.model_folder import ModelInfo, write_model

    return write_model(bundle_of(model), ModelInfo(name=folder.name), folder, precision, recordings).worst


def time_way(model: str, folder: Path, way: Way, clips: Sequence[np.ndarray], device: str) -> Timed:
    """Embeds the clips several times in this process."""
    free = free_gpu_mb(device)
    embed = _torch_embedder(model, way, device) if way.clips else _runtime_embedder(folder, way, device)
    vectors, elapsed = embed(clips), []  # warms up, and compiles for the lengths there are
    for _ in range(PASSES):
        started = time.perf_counter()
        embed(clips)
        elapsed.append(time.perf_counter() - started)
    taken = free - free_gpu_mb(device)
    elsewhere = [] if way.clips or device == "cpu" else operators_elsewhere(folder, clips[:2])
    return Timed(sum(map(len, clips)) / SAMPLE_RATE / min(elapsed), peak_memory() / 2**20, taken, vectors, elsewhere)


def free_gpu_mb(device: str) -> float:
    """What nobody has taken of the GPU; torch and ONNX Runtime alike keep what they ever needed. 0 on a CPU."""
    if device == "cpu":
        return 0.0
    import torch

    return torch.cuda.mem_get_info()[0] / 2**20


def _torch_embedder(model: str, way: Way, device: str) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    import torch

    torch.set_num_threads(usable_cores())
    network = bundle_of(model).network.eval().to(device)
    if way.engine == "torch.compile":
        for blocks in network.speech_tower.modules():
            if isinstance(blocks, torch.nn.ModuleList):  # as a whole, lengths that vary take it a quarter of an hour
                for block in blocks:
                    block.compile(dynamic=True)

    @torch.inference_mode()
    def embed(clips: Sequence[np.ndarray]) -> np.ndarray:
        found = []
        with torch.autocast(device, torch.float16, enabled=way.precision == "fp16"):
            for start in range(0, len(clips), way.clips):
                batch = pad_clips(clips[start : start + way.clips])
                inputs = (torch.from_numpy(side).to(device) for side in batch.values())
                found.append(network.embed_speech(*inputs).float())
        return torch.cat(found).cpu().numpy()

    return embed


def _runtime_embedder(folder: Path, way: Way, device: str) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    model = Model(folder, device, bulk=way.bulk)
    return lambda clips: np.stack(list(model.embed_speech(clips, way.seconds)))


def operators_elsewhere(folder: Path, clips: Sequence[np.ndarray]) -> list[str]:
    """Which operators ONNX Runtime does not run on the GPU, by its own account."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(str(folder / SPEECH), options, providers=[CUDA, "CPUExecutionProvider"])
    session.run(None, pad_clips(clips))
    profile = Path(session.end_profiling())
    events = json.loads(profile.read_text())
    profile.unlink()
    nodes = [event["args"] for event in events if event.get("cat") == "Node" and "provider" in event.get("args", {})]
    return sorted({node["op_name"] for node in nodes if node["provider"] != CUDA})


def bounds_of(model: str, device: str) -> Bounds:
    """What a clip of LONGEST seconds needs, and what the machine can do."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = bundle_of(model).network.eval()
    weights = sum(parameter.numel() for parameter in network.speech_tower.parameters()) * 4
    moved = [0]

    def count(_module: torch.nn.Module, inputs: tuple, output: object) -> None:
        tensors = [side for side in (*inputs, output) if isinstance(side, torch.Tensor)]
        moved[0] += sum(tensor.nbytes for tensor in tensors)

    for module in network.speech_tower.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    samples = int(LONGEST * SAMPLE_RATE)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.embed_speech(0.1 * torch.randn(1, samples), torch.tensor([samples]))
    gflops, copied = matrix_ceiling(device), copy_ceiling(device)
    return Bounds(counter.get_total_flops() / LONGEST / 1e9, moved[0] / LONGEST / 1e6, weights / 1e6, gflops, copied)


def matrix_ceiling(device: str) -> float:
    """GFLOP a second of a square matrix product, in fp32 on a CPU and in fp16 on a GPU."""
    import torch

    size = MATRIX[device]
    a = torch.randn(size, size, device=device, dtype=torch.float32 if device == "cpu" else torch.float16)
    return 2 * size**3 / _best(lambda: a @ a, device) / 1e9


def copy_ceiling(device: str) -> float:
    """GB read and written a second by a copy."""
    import torch

    a = torch.zeros(COPIED[device], dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    return 2 * a.nbytes / _best(lambda: b.copy_(a), device) / 1e9


def _best(work: Callable[[], object], device: str, times: int = 10) -> float:
    import torch

    found = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found[1:])


def alone(function: Callable, *arguments: object) -> object:
    """What a function gives in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure(
    model: str, device: str, clips: list[np.ndarray], recordings: Path | None, work: Path, console: Console
) -> dict[str, object]:
    """All ways of one model: shown as a table, and as data."""
    ways = GPU_WAYS if device == "cuda" else CPU_WAYS + (CALIBRATED_WAYS if recordings else [])
    bounds = alone(bounds_of, model, device)
    console.print(
        f"{model}, for a second of audio: {bounds.gflop:.2f} GFLOP, {bounds.moved_mb:.0f} MB of activations;"
        f" weights: {bounds.weights_mb:.0f} MB."
    )
    console.print(
        f"The machine's product reaches {bounds.machine_gflops:.0f} GFLOP/s, which is {bounds.most:.1f} times real time;"
        f" its copy {bounds.machine_copy_gb:.1f} GB/s."
    )
    folders = {way.precision: work / f"{Path(model).name}-{way.precision}" for way in ways}
    for precision, folder in folders.items():
        if not folder.exists():
            alone(export, model, precision, folder, recordings)
    exact = alone(time_way, model, Path(), Way("torch eager", "fp32", "", clips=1), clips[:8], "cpu").vectors
    timed = {way: alone(time_way, model, folders[way.precision], way, clips, device) for way in ways}
    baselines = {f"of eager, {way.batch}": found.speed for way, found in timed.items() if way.engine == "torch eager"}
    rows = [
        {"engine": way.engine, "precision": way.precision, "batch": way.batch}
        | {"speed": found.speed, "of product": found.speed / bounds.most}
        | {name: found.speed / baseline for name, baseline in baselines.items()}
        | {
            "peak MB": found.peak_mb,
            "GPU MB": found.gpu_mb,
            "worst cosine": float((found.vectors[: len(exact)] * exact).sum(axis=1).min()),
        }
        | {"not on GPU": found.elsewhere}
        for way, found in timed.items()
    ]
    show(rows, console)
    return {"model": model, "device": device, "clips": len(clips), "bounds": asdict(bounds), "ways": rows}


FORMATS = {"speed": "{:.1f}", "of product": "{:.0%}", "peak MB": "{:.0f}", "GPU MB": "{:.0f}", "worst cosine": "{:.5f}"}


def show(rows: list[dict], console: Console) -> None:
    table = Table(*[name for name in rows[0] if name != "not on GPU"], box=None)
    for row in rows:
        shown = {name: value for name, value in row.items() if name != "not on GPU"}
        table.add_row(
            *(value if isinstance(value, str) else FORMATS.get(name, "{:.2f}").format(value) for name, value in shown.items())
        )
    console.print(table)
    elsewhere = sorted({operator for row in rows for operator in row["not on GPU"]})
    if elsewhere:
        console.print(f"Not run on the GPU: {', '.join(elsewhere)}.")


@click.command()
@click.option("--model", "models", multiple=True, default=["mini"], show_default=True, help="Repeatable.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--clips",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Recordings to embed; int8-static wants them.",
)
@click.option("--count", type=click.IntRange(8), help="How many clips.  [default: 16, on CUDA 512]")
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), help="Keeps the exported models for another run.")
def main(models: tuple[str, ...], device: str, folder: Path | None, count: int | None, work: Path | None) -> None:
    """Time embedding."""
    from voxdex.export.report import recorded_clips

    count = count or (16 if device == "cpu" else 512)
    clips = recorded_clips(folder, count) if folder else make_clips(count)
    with tempfile.TemporaryDirectory() as temporary:
        place = work or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        console = Console(width=140)
        results = [measure(model, device, clips, folder, place, console) for model in models]
    print(json.dumps({"cores": usable_cores(), "seconds": sum(map(len, clips)) / SAMPLE_RATE, "results": results}))


if __name__ == "__main__":
    main()
