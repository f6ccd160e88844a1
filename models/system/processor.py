"""The processor: its features, and the number of cores this process may use."""

import os
import platform
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
CPU_INFO = Path("/proc/cpuinfo")
# Features that speed up matrix products of floats, 8-bit integers and bfloat16.
INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "amx_bf16")


def available_cores(limit_file: Path = CGROUP_LIMIT) -> int:
    """The number of cores this process may use, within its container's CPU quota.

    A container with a quota of 2 out of 64 cores still sees 64, and 64 threads would wait for each other.
    """
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    try:
        quota, period = limit_file.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def processor(info_file: Path = CPU_INFO) -> tuple[str, list[str]]:
    """The processor's name and its instructions for matrix products, as far as the system reports them."""
    try:
        lines = info_file.read_text().splitlines()
    except OSError:
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    flags = fields.get("flags", "").split()
    return fields.get("model name") or platform.machine(), [name for name in INSTRUCTIONS if name in flags]
