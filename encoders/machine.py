"""What a process may use of its machine, and has used."""

import os
import re
import sys
from pathlib import Path

RUSAGE_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes, in which getrusage gives memory."""


def usable_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """The most memory that this process has had, in bytes, files that it maps included. Not on Windows."""
    told = Path("/proc/self/status")
    if told.exists():  # on Linux, getrusage tells of the process that started this one as well
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", told.read_text())[1])
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RUSAGE_UNIT
