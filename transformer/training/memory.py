"""How a process that trains on a CPU holds memory."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
# Of oneDNN, which compiles a product for each of its sizes and by itself keeps 1,024, some hundred kilobytes each.
# Batches differ in size, so few but those of the last steps are asked for again.
N_KERNELS = 128


def settle_memory() -> None:
    """Give back what was freed so far, and let each step of training leave what it frees to the next one.

    By default glibc gives much of that back to the system, which has to map and to zero as much anew in each step. A
    process needs the same at its peak either way. Where there is another C library, nothing changes. To be called
    before the first product, for oneDNN then reads how many kernels to keep; ONEDNN_PRIMITIVE_CACHE_CAPACITY asks for
    another number.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(N_KERNELS))
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)  # larger blocks are given back; glibc itself goes no higher than this
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
