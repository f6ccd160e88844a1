"""How a process keeps memory between the steps of training."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the C library keep what a step of training frees for the next one.

    By default glibc gives much of it back to the system, which has to map and to zero as much anew in each step. A
    process needs the same at its peak either way. Where there is another C library, nothing changes.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)  # larger blocks are given back; glibc itself goes no higher than this
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
