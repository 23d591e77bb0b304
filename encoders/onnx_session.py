"""ONNX Runtime sessions on the device that was asked for."""

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

from voxdex.encoders.machine import usable_cores
from voxdex.encoders.model_card import ModelError

if TYPE_CHECKING:
    import onnxruntime as ort

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
DEVICES = "auto, cpu, cpu:THREADS, cuda, cuda:0 or cuda:0,1"
MOST_AT_ONCE = 4
"""Batches side by side on a CPU; each needs memory of its own."""
RUNS_OF_GPU = 2
"""Batches side by side on a GPU: one is copied while another is computed."""
GPU_MEMORY = "VOXDEX_GPU_MEMORY"
"""The environment variable that says how many GiB of each GPU ONNX Runtime may take."""
RIVALS = ("onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Device:
    """A device that was chosen, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


@dataclass(frozen=True)
class DeviceSpec:
    """A device as it was asked for. kind: "auto", "cpu" or "cuda". threads: of the CPU, None for all cores. gpus: by number."""

    kind: str
    threads: int | None = None
    gpus: tuple[int, ...] = (0,)


class OnnxSession:
    """An ONNX graph on a device, which several threads may run.

    Args:
        path: an ONNX file.
        wanted: where to run it. "cuda" fails where CUDA does not work; "auto" is CUDA where it works, else the CPU.
        bulk: for many batches rather than a few: they run side by side and share the CPU's threads, as the threads of one
            operator never share its work out evenly.

    Raises:
        ModelError: the graph cannot be opened, or CUDA was asked for and does not work.
    """

    def __init__(self, path: Path, wanted: DeviceSpec, bulk: bool = False) -> None:
        threads = wanted.threads or usable_cores()
        at_once = min(MOST_AT_ONCE, threads) if bulk else 1
        first = _open(path, wanted, threads // at_once, wanted.gpus[0])
        self.device = first.device
        self.on_gpu = first.device.name.startswith("cuda")
        self.sessions = [first.session]
        if self.on_gpu:
            self.sessions += [_open(path, wanted, threads, gpu).session for gpu in wanted.gpus[1:]]
            at_once = RUNS_OF_GPU * len(self.sessions) if bulk else 1
        self._free: SimpleQueue[ort.InferenceSession] = SimpleQueue()
        for turn in range(at_once):
            self._free.put(self.sessions[turn % len(self.sessions)])
        self.spread = ThreadPoolExecutor(at_once).map if bulk else map
        """As map, for as many runs side by side as the device is given."""

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names."""
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
    """A device by name; see DEVICES.

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


def _open(path: Path, wanted: DeviceSpec, threads: int, gpu: int) -> _Opened:
    import onnxruntime as ort  # starts a thread; many a command opens no graph

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads would starve the decoder
    options.intra_op_num_threads = max(1, threads)
    has_cuda = CUDA in ort.get_available_providers()
    if wanted.kind == "cuda" and not has_cuda:
        raise ModelError(f"CUDA was asked for, but this ONNX Runtime is the CPU build. {_way_to_gpu()}")
    providers: list[Any] = [(CUDA, _cuda_options(gpu)), CPU] if wanted.kind != "cpu" and has_cuda else [CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
        raise ModelError(f"{path} cannot be opened by ONNX Runtime ({error}). Export the model again.") from error
    if session.get_providers()[0] == CUDA:
        return _Opened(session, Device(f"cuda:{gpu}", "asked for" if wanted.kind == "cuda" else "a CUDA device works"))
    if wanted.kind == "cuda":
        raise ModelError(
            f"CUDA was asked for, but ONNX Runtime could not start it on GPU {gpu}: it wants an NVIDIA driver, CUDA 13 and "
            "cuDNN 9. Try pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu."
        )
    if wanted.kind == "cpu":
        return _Opened(session, Device("cpu", "asked for"))
    return _Opened(session, Device("cpu", "CUDA did not start" if has_cuda else "this ONNX Runtime is the CPU build"))


def _cuda_options(gpu: int) -> dict[str, Any]:
    """Convolutions are planned by rule: to try them out for each shape takes longer than it gains."""
    options = {"device_id": gpu, "cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}
    limit = os.environ.get(GPU_MEMORY)
    if not limit:
        return options
    with suppress(ValueError):
        return options | {"gpu_mem_limit": int(float(limit) * 2**30)}
    raise ModelError(f"{GPU_MEMORY} is a number of GiB, not {limit!r}.")


def _way_to_gpu() -> str:
    installed = []
    for package in RIVALS:
        with suppress(importlib.metadata.PackageNotFoundError):
            installed.append(importlib.metadata.version(package))
    if len(installed) == len(RIVALS):
        return (
            "Both builds are installed, and they overwrite each other: pip uninstall onnxruntime onnxruntime-gpu && "
            "pip install 'voxdex[gpu]'."
        )
    return "Install the GPU build: pip uninstall onnxruntime && pip install 'voxdex[gpu]'."
