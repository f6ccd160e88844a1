"""Paths that are no files to be made: streams of the process, pipes and devices."""

import os
from pathlib import Path
from typing import BinaryIO, cast

from heed.models.patterns import regex

DESCRIPTOR = regex(r"/dev/(std(?:in|out|err)|fd/\d+)|/proc/(?:self|\d+)/fd/\d+")
STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
MOST_LINKS = 40  # as Linux


def descriptor(path: Path) -> int | None:
    """The open file of this process that a path stands for, as /dev/stdout or a link to it; None for any other path.

    To open such a path would open the file behind it anew, from its beginning, and cut off what is in it.
    """
    name = os.path.abspath(path)  # noqa: PTH100 - resolve() would follow it to the file behind
    for _ in range(MOST_LINKS):
        if DESCRIPTOR.fullmatch(name):
            if name.startswith("/proc/") and name.split("/")[2] not in ("self", str(os.getpid())):
                return None
            last = name.rsplit("/", 1)[1]
            return STANDARD[last] if last in STANDARD else int(last)
        if not os.path.islink(name):  # noqa: PTH114
            return None
        name = os.path.normpath(os.path.join(os.path.dirname(name), os.readlink(name)))  # noqa: PTH115, PTH118, PTH120
    return None


def is_stream(path: Path) -> bool:
    """Whether what is written to a path goes on to somebody, and there is no file to be made or replaced."""
    return descriptor(path) is not None or (path.exists() and not path.is_file() and not path.is_dir())


def open_stream(path: Path) -> BinaryIO:
    """Open such a path for writing, unbuffered; a file behind it keeps what is in it.

    Raises:
        OSError: It cannot be opened, as a descriptor that is closed.
    """
    number = descriptor(path)
    if number is None:
        return cast("BinaryIO", path.open("wb", buffering=0))
    try:
        return cast("BinaryIO", os.fdopen(os.dup(number), "wb", buffering=0))
    except OSError as error:
        error.filename = str(path)
        raise
