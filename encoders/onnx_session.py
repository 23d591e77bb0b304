"""ONNX Runtime sessions on the requested device, and batches of clips and texts of similar length."""

import importlib.metadata
import os
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from voxdex.encoders.machine import MORE_MEMORY, is_out_of_memory, usable_cores
from voxdex.encoders.model_card import ModelError
from voxdex.encoders.packages import install_command

if TYPE_CHECKING:
    import onnxruntime as ort
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import TypeVar

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
DEVICES = "auto, cpu, cpu:THREADS, cuda, cuda:0 or cuda:0,1"
CPU_RUNS = 4
"""Maximum of concurrent batches on a CPU; each needs memory of its own."""
GPU_RUNS = 2
"""Concurrent batches on a GPU: one is copied while another is computed."""
GPU_MEMORY = "VOXDEX_GPU_MEMORY"
"""Environment variable: memory limit of ONNX Runtime on each GPU, in GiB."""
BUILDS = ("onnxruntime", "onnxruntime-gpu")
"""Packages that install the same module and overwrite each other."""

Item = TypeVar("Item", bound=Sized)
Output = TypeVar("Output")


NO_CUDA = "CUDA did not start"


@dataclass(frozen=True)
class Device:
    """The device that a session runs on, and the reason for the choice."""

    name: str
    reason: str

    @property
    def is_surprising(self) -> bool:
        """Whether there is a better device that did not work."""
        return self.reason == NO_CUDA

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class DeviceSpec:
    """A requested device. kind: "auto", "cpu" or "cuda". threads: CPU threads, None for one a core. gpus: device numbers."""

    kind: str
    threads: int | None = None
    gpus: tuple[int, ...] = (0,)


class OnnxSession:
    """An ONNX graph on a device. Safe to run from several threads.

    Args:
        path: an ONNX file.
        device: "cuda" fails where CUDA does not work; "auto" is CUDA where it works, else the CPU.
        bulk: run batches concurrently and share the CPU's threads among them, since the threads of one operator never share
            its work evenly.

    Raises:
        ModelError: the graph cannot be opened, or CUDA was requested and does not work.
    """

    def __init__(self, path: Path, device: DeviceSpec, *, bulk: bool = False) -> None:
        threads = device.threads or usable_cores()
        runs = min(CPU_RUNS, threads) if bulk else 1
        first = _open(path, device, threads // runs, device.gpus[0])
        self.device = first.device
        self.on_gpu = first.device.name.startswith("cuda")
        self.sessions = [first.session]
        if self.on_gpu:
            self.sessions += [_open(path, device, threads, gpu).session for gpu in device.gpus[1:]]
            runs = GPU_RUNS * len(self.sessions) if bulk else 1
        self._free: SimpleQueue[ort.InferenceSession] = SimpleQueue()
        for turn in range(runs):
            self._free.put(self.sessions[turn % len(self.sessions)])
        self.map_batches = ThreadPoolExecutor(runs).map if bulk else map
        """A `map` over as many concurrent batches as the device is given."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run the graph and return the outputs of these names."""
        session = self._free.get()
        try:
            return session.run(outputs, inputs)
        finally:
            self._free.put(session)


@dataclass(frozen=True)
class _Opened:
    session: "ort.InferenceSession"
    device: Device


def parse_device(text: str) -> DeviceSpec:
    """Parse a device name; see DEVICES.

    Raises:
        ModelError: there is no such device.
    """
    if text in ("auto", "cpu", "cuda"):
        return DeviceSpec(text)
    if found := re.fullmatch(r"cpu:([1-9]\d{0,3})", text):
        return DeviceSpec("cpu", threads=int(found[1]))
    if found := re.fullmatch(r"cuda:(\d{1,3}(?:,\d{1,3})*)", text):
        return DeviceSpec("cuda", gpus=tuple(dict.fromkeys(map(int, found[1].split(",")))))
    raise ModelError(f"There is no device {text!r}: use {DEVICES}.")


def _open(path: Path, device: DeviceSpec, threads: int, gpu: int) -> _Opened:
    import onnxruntime as ort  # starts a thread, which commands without a graph do not need

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads would starve the decoder
    options.intra_op_num_threads = max(1, threads)
    has_cuda = CUDA in ort.get_available_providers()
    if device.kind == "cuda" and not has_cuda:
        raise ModelError(f"CUDA was requested, but this ONNX Runtime is the CPU build. {_gpu_advice()}")
    providers: list[Any] = [(CUDA, _cuda_options(gpu)), CPU] if device.kind != "cpu" and has_cuda else [CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
        if is_out_of_memory(error):
            raise ModelError(f"{path} cannot be opened. {MORE_MEMORY}") from error
        raise ModelError(f"{path} cannot be opened by ONNX Runtime ({error}). Export the model again.") from error
    if session.get_providers()[0] == CUDA:
        return _Opened(session, Device(f"cuda:{gpu}", "requested" if device.kind == "cuda" else "a CUDA device works"))
    if device.kind == "cuda":
        raise ModelError(
            f"CUDA was requested, but ONNX Runtime could not start it on GPU {gpu}: it wants an NVIDIA driver, CUDA 13 and "
            "cuDNN 9. Try pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu."
        )
    if device.kind == "cpu":
        return _Opened(session, Device("cpu", "requested"))
    return _Opened(session, Device("cpu", NO_CUDA if has_cuda else "this ONNX Runtime is the CPU build"))


def _cuda_options(gpu: int) -> dict[str, Any]:
    """Return provider options; convolutions are chosen by heuristic, since timing them for each new shape costs more."""
    options = {"device_id": gpu, "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    limit = os.environ.get(GPU_MEMORY)
    if not limit:
        return options
    with suppress(ValueError):
        return options | {"gpu_mem_limit": int(float(limit) * 2**30)}
    raise ModelError(f"{GPU_MEMORY} is a number of GiB, not {limit!r}.")


def _gpu_advice() -> str:
    """Return a sentence on how to install the GPU build."""
    installed = []
    for package in BUILDS:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed.append(importlib.metadata.version(package))
    if len(installed) == len(BUILDS):
        return (
            "Both builds are installed, and they overwrite each other: pip uninstall onnxruntime onnxruntime-gpu && "
            f"{install_command('gpu')}."
        )
    return f"Install the GPU build: pip uninstall onnxruntime && {install_command('gpu')}."


def map_by_length(
    items: Sequence[Item],
    run: Callable[[list[Item]], Iterable[Output]],
    *,
    max_items: int | None = None,
    max_size: float | None = None,
    map_batches: Callable[[Callable[[list[int]], Iterable[Any]], Iterable[list[int]]], Iterable[Iterable[Any]]] = map,
) -> Iterator[Output]:
    """Yield the output of `run` for each item, in order; batches hold items of similar length.

    Args:
        items: sized objects.
        run: takes a batch and returns an output for each of its items, in order.
        max_items: items in a batch; None for no limit.
        max_size: length of the longest item times the number of items of a batch; an item alone may exceed it. None for no
            limit.
        map_batches: a `map`; pass `executor.map` to run batches concurrently.
    """
    batches = length_batches([len(item) for item in items], max_items, max_size)
    outputs: list[Any] = [None] * len(items)
    for rows, batch in zip(batches, map_batches(lambda rows: run([items[row] for row in rows]), batches), strict=True):
        for row, output in zip(rows, batch, strict=True):
            outputs[row] = output
    yield from outputs


def length_batches(lengths: Sequence[int], max_items: int | None = None, max_size: float | None = None) -> list[list[int]]:
    """Return batches of indices of similar lengths, longest first, so that no long item is left for the end."""
    batches: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        last = batches[-1] if batches else []
        size = lengths[last[0]] * (len(last) + 1) if last else 0
        if not last or (max_items and len(last) == max_items) or (max_size and size > max_size):
            batches.append([item])
        else:
            last.append(item)
    return batches


def pad_clips(clips: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the inputs of a speech graph: clips zero-padded at the end to the longest, and their lengths in samples."""
    lengths = np.array([len(clip) for clip in clips], dtype=np.int64)
    waveform = np.zeros((len(clips), lengths.max()), dtype=np.float32)
    for row, clip in enumerate(clips):
        waveform[row, : len(clip)] = clip
    return {"waveform": waveform, "lengths": lengths}
