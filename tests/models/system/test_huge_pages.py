"""Memory that is moved to huge pages, where the system has some."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from heed.models.system import huge_pages
from heed.models.system.huge_pages import use_huge_pages

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
SIZE = 32 << 20  # bytes
# Prints how many more bytes of the process are in huge pages after the call.
CODE = f"""
from pathlib import Path
import numpy as np
from heed.models.system.huge_pages import allow_huge_pages, use_huge_pages

def in_huge_pages():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("AnonHugePages:"))

memory = np.ones({SIZE}, dtype=np.uint8)
before = in_huge_pages()
use_huge_pages()
assert in_huge_pages() - before < {SIZE} / 2, 'nobody has allowed it'
allow_huge_pages()
use_huge_pages()
assert memory.all()
print(in_huge_pages() - before)
"""


def can_move() -> bool:
    if not HUGE_PAGES.exists() or "[never]" in HUGE_PAGES.read_text():
        return False
    return tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 1)


def test_what_is_in_memory_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8)
    before = memory.copy()
    monkeypatch.setattr(huge_pages._Policy, "is_ours", True)
    use_huge_pages()
    np.testing.assert_array_equal(memory, before)


@pytest.mark.skipif(not can_move(), reason="this system moves nothing to huge pages")
def test_most_of_it_is_in_huge_pages() -> None:
    """In a process of its own, for what others have freed may be there already; NumPy's own wish for some is off."""
    environment = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    finished = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, check=True)
    assert int(finished.stdout) > SIZE / 2


def test_a_system_without_such_a_list_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages._Policy, "is_ours", True)
    monkeypatch.setattr(huge_pages, "MAPS", tmp_path / "nothing")
    use_huge_pages()
