"""Text to stdout at once."""

import sys


def write(text: str) -> None:
    """Write to stdout, at once."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
