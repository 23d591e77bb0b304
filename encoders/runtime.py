"""ONNX Runtime sessions on the device that was asked for."""

import os
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from encoders.model_folder import ModelError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Device:
    """A device that was chosen, and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(graph: Path, device: str, threads: int) -> tuple[ort.InferenceSession, Device]:
    """Opens a graph.

    Args:
        graph: an ONNX file.
        device: "cpu"; "cuda", which fails where CUDA does not work; or "auto", CUDA where it works, else CPU.
        threads: CPU threads of one operator.

    Raises:
        ModelError: the graph cannot be opened, or CUDA was asked for and does not work.
    """
    if device not in DEVICES:
        raise ModelError(f"There is no device {device!r}: use one of {', '.join(DEVICES)}.")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # spinning threads would starve the decoder
    options.intra_op_num_threads = threads
    has_cuda = CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise ModelError(
            "CUDA was asked for, but this ONNX Runtime is the CPU build. "
            "Install the GPU build: pip uninstall onnxruntime && pip install 'voxdex[gpu]'."
        )
    providers = [CUDA, CPU] if device != "cpu" and has_cuda else [CPU]
    try:
        session = ort.InferenceSession(str(graph), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises classes of its own that share no public base
        raise ModelError(f"{graph} cannot be opened by ONNX Runtime ({error}). Export the model again.") from error
    if session.get_providers()[0] == CUDA:
        return session, Device("cuda", "asked for" if device == "cuda" else "a CUDA device works")
    if device == "cuda":
        raise ModelError(
            "CUDA was asked for, but ONNX Runtime could not start it: it wants an NVIDIA driver, CUDA 13 and cuDNN 9. "
            "Try pip install 'onnxruntime-gpu[cuda,cudnn]', or use --device cpu."
        )
    if device == "cpu":
        return session, Device("cpu", "asked for")
    return session, Device("cpu", "CUDA did not start" if has_cuda else "this ONNX Runtime is the CPU build")
