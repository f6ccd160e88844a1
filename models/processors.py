"""How many processor cores this process may use."""

import os
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_cores(limit_file: Path = CGROUP_LIMIT) -> int:
    """The cores this process may run on, within its container's share of processor time.

    A container with 2 of a host's 64 cores still sees 64, and that many threads would wait for each other.
    """
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    try:
        quota, period = limit_file.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))
