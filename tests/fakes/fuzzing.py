"""Settings of tests with random examples."""

import os

from hypothesis import HealthCheck, settings

TIMES = int(os.environ.get("VOXDEX_FUZZ", 0))


def fuzzed(times: int):
    """Settings with `times` examples, the same at each run unless VOXDEX_FUZZ is set."""
    return settings(
        max_examples=TIMES or times,
        deadline=None,
        derandomize=not TIMES,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
