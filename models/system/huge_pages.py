"""Huge pages for the memory of this process.

Every generated token reads all weights of a language model. With pages of 4 KiB this takes tens of thousands of address
translations, with pages of 2 MiB some tens; int4 weights are then read a quarter faster.
"""

from collections.abc import Callable
from pathlib import Path

HUGE = 2 << 20  # bytes
LEAST = 2 * HUGE  # bytes; smaller mappings are not worth it
COLLAPSE = 25  # Linux's MADV_COLLAPSE, since 6.1; Python's mmap has no name for it
MAPS = Path("/proc/self/maps")


class _Policy:
    """Whose process this is; there is one."""

    is_ours = False


def allow_huge_pages() -> None:
    """Say that the process is heed's own: it is the command, and no other program that has loaded a model."""
    _Policy.is_ours = True


def _madvise() -> Callable[[int, int, int], int]:
    """The system's function."""
    import ctypes  # not above, for most commands have no use for it

    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise


def use_huge_pages() -> None:
    """Have the system move all large stretches of memory into huge pages, in a process where that was allowed.

    It concerns all of the process, what others keep in its memory too. Where the system cannot, nothing changes.
    """
    if not _Policy.is_ours:
        return
    try:
        lines = MAPS.read_text().splitlines()
    except OSError:  # not Linux
        return
    advise = _madvise()
    for addresses, access, _, _, _, *name in map(str.split, lines):
        begin, end = (int(address, 16) for address in addresses.split("-"))
        if access == "rw-p" and name in ([], ["[heap]"]) and end - begin >= LEAST:
            first = -(-begin // HUGE) * HUGE
            advise(first, end // HUGE * HUGE - first, COLLAPSE)
