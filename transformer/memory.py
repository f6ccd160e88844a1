"""How a process keeps memory between the steps of training."""

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Let the C library keep what a step frees for the next one.

    By default glibc gives blocks of some megabytes back to the system at once, as tensors on the CPU are, and each
    step has all its memory mapped and zeroed anew. A process needs as much at its peak either way. Elsewhere than
    with glibc nothing changes.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)  # no block of its own: it would be unmapped when freed
        libc.mallopt(M_TRIM_THRESHOLD, -1)  # and the end of the heap stays
