"""Processor cores and memory of this process."""

import os
import re
import sys
from pathlib import Path

RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Unit of getrusage's memory sizes, in bytes."""


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
