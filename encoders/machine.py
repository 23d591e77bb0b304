"""Processor cores and memory of this process."""

import os
import re
import sys
from pathlib import Path

RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Unit of getrusage's memory sizes, in bytes."""


OUT_OF_MEMORY = re.compile(
    r"(?i)out of memory|cannot allocate memory|can't start new thread|bad_alloc|failed to allocate memory"
)
"""Messages of the system, the engine and ONNX Runtime where there is no memory left."""
MORE_MEMORY = "There is too little memory: close other programs, or raise the limit that is set for this one (ulimit -v)."


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that there is no memory left."""
    return isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)) is not None


def usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes, mapped files included. Not on Windows."""
    status = Path("/proc/self/status")
    if status.exists() and (peak := re.search(r"VmHWM:\s+(\d+)", status.read_text())):
        return 1024 * int(peak[1])  # on Linux, getrusage includes the parent process
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RUSAGE_UNIT
