import platform
import subprocess
import sys

import pytest

# Takes and frees 192 MiB, 49,152 pages of 4 KiB, ten times; prints how many pages the system mapped in the last four.
CODE = """
import resource
import torch
from heed.transformer.training.memory import settle_memory

settle_memory()
for number in range(10):
    if number == 6:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [torch.ones(6 << 20) for _ in range(8)]
    while blocks:
        blocks.pop(0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_freed_memory_is_used_again() -> None:
    """Without the call, glibc 2.36 has 196,480 pages mapped: all."""
    finished = subprocess.run([sys.executable, "-c", CODE], capture_output=True, check=True)
    assert int(finished.stdout) < 1000
