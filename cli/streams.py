"""Data in and out of a command: bytes of files and pipes to text, and text to stdout at once."""

import contextlib
import sys
from io import BufferedIOBase
from pathlib import Path
from typing import cast

from heed.cli import messages


def open_input(name: str, invitation: str) -> contextlib.AbstractContextManager[BufferedIOBase]:
    """A file, or stdin for "-"; whoever is to type it is invited to."""
    if name != "-":
        return Path(name).open("rb")
    stdin = cast("BufferedIOBase", sys.stdin.buffer)
    if stdin.isatty():
        messages.note(invitation)
    return contextlib.nullcontext(stdin)


def decoded(data: bytes, what: str) -> str:
    """Bytes as text; says so where they are no UTF-8."""
    text = data.decode("utf-8", "replace")
    if text.encode() != data:
        messages.warning(f"{what} is not UTF-8; what could not be read became \ufffd")
    return text


def write(text: str) -> None:
    """Write to stdout, at once."""
    sys.stdout.buffer.write(text.encode())
    sys.stdout.buffer.flush()
