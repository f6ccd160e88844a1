"""The start of the program."""

import subprocess
import sys

import pytest

# At some depth, a call within a call goes beyond what Python has for frames, whenever it is made.
CODE = """
import resource, sys
from heed.cli import start

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def deep(n):
    if n:
        return deep(n - 1)
    before = faults()
    for _ in range(1000):
        leaf()
    return faults() - before

def leaf():
    leaves = 1, 2, 3
    return len(leaves)

def run():
    print(max(deep(n) for n in range(300)))

import heed.cli.main
heed.cli.main.run = run
start.start()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_nested_calls_need_no_more_memory() -> None:
    """Python would get a page anew for each call that goes beyond what it has for frames."""
    found = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 100
