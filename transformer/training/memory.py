"""Memory management of a process that trains on a CPU."""

import ctypes
import os
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
# oneDNN compiles a kernel for each size of a product and by default caches 1,024 of them, some hundred kilobytes each.
# Batches differ in size, so only those of the last steps are likely to be reused.
N_KERNELS = 128


def settle_memory() -> None:
    """Release freed memory once, and then keep what each training step frees for the next one.

    By default glibc returns much of it to the system, which must map and zero it again in each step. The peak is the
    same either way. With another C library nothing changes. Must be called before the first matrix product, when oneDNN
    reads the size of its cache; ONEDNN_PRIMITIVE_CACHE_CAPACITY overrides it.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(N_KERNELS))
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 25)  # larger blocks are returned; this is glibc's maximum
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
