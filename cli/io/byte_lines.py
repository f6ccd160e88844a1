"""Reading lines as bytes."""

from collections.abc import Iterator
from io import BufferedIOBase

CHUNK = 1 << 20  # bytes requested at a time; a pipe or a terminal returns what it has


def read_windows(stream: BufferedIOBase, limit: int) -> Iterator[list[bytes]]:
    r"""The lines of a stream, ended only by \n, in lists of those that have arrived; joined they equal the stream.

    Waits for one line and never for more, so a person gets an answer at once. A program that writes faster than its
    output is read gets lists of up to `limit` lines.
    """
    unfinished: list[bytes] = []  # parts of a line longer than a chunk, joined once
    while chunk := stream.read1(CHUNK):
        end = chunk.rfind(b"\n") + 1
        if not end:
            unfinished.append(chunk)
            continue
        lines = b"".join([*unfinished, chunk[:end]]).removesuffix(b"\n").split(b"\n")
        unfinished = [chunk[end:]] if end < len(chunk) else []
        for start in range(0, len(lines), limit):
            yield [line + b"\n" for line in lines[start : start + limit]]
    if unfinished:
        yield [b"".join(unfinished)]
