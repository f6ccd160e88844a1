"""The processor: what it can, and how many of its cores this process may use."""

import os
import platform
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")
CPU_INFO = Path("/proc/cpuinfo")
# Those that make matrix products fast: of floats, of 8-bit integers, and bfloat16 in training.
INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "avx512_bf16", "amx_bf16")


def available_cores(cgroups: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """The cores this process may run on, within its container's share of processor time.

    A container with 2 of a host's 64 cores still sees 64, and that many threads would wait for each other.

    Args:
        cgroups: Where the control groups are mounted.
        own: Which of them are those of this process.
    """
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    return min([cores, *(max(1, int(quota)) for quota in _quotas(cgroups, own))])


def _quotas(cgroups: Path, own: Path) -> Iterator[float]:
    """How many cores' time each control group may use that this process is in; those around a group bound it, too."""
    for mount, group in _groups(cgroups, own):
        # Within a container, its own group is mounted as the root, and the names above it may not be there.
        for directory in (mount / group, *(mount / group).parents):
            if directory.is_relative_to(mount) and (quota := _quota(directory)) is not None:
                yield quota


def _groups(cgroups: Path, own: Path) -> Iterator[tuple[Path, str]]:
    """Where control groups of processor time are mounted, and the name of this process's group there."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    yield cgroups, ""
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if not controllers:  # version 2
            yield cgroups, name.lstrip("/")
        elif "cpu" in controllers.split(","):
            for mount in dict.fromkeys([controllers, "cpu", "cpu,cpuacct"]):
                yield cgroups / mount, name.lstrip("/")


def _quota(directory: Path) -> float | None:
    """The cores of one control group, by version 2 or by version 1; None: as many as there are."""
    try:
        if (directory / "cpu.max").exists():
            quota, period = (directory / "cpu.max").read_text().split()
        else:
            quota, period = ((directory / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return None if quota == "max" or int(quota) < 0 else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def processor(info_file: Path = CPU_INFO) -> tuple[str, list[str]]:
    """The processor's name, and which instructions for matrix products it has, as far as the system tells."""
    try:
        lines = info_file.read_text().splitlines()
    except OSError:
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in reversed(lines))}
    flags = fields.get("flags", "").split()
    return fields.get("model name") or platform.machine(), [name for name in INSTRUCTIONS if name in flags]
