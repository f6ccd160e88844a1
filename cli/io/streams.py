"""Unbuffered text output."""

import sys


def write(text: str) -> None:
    """Write to stdout and flush."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
