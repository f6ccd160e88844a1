"""Lines as bytes: how they come in."""

from collections.abc import Iterator
from io import BufferedIOBase

CHUNK = 1 << 20  # bytes asked for at a time; a pipe or a terminal gives what it has


def read_windows(stream: BufferedIOBase, limit: int) -> Iterator[list[bytes]]:
    r"""The lines of a stream, cut after \n alone, in lists of those that have arrived; joined they are the stream.

    Waits for one line, never for more: what a person types is answered at once, and what a program writes faster
    than it is read comes in lists of up to `limit` lines.
    """
    unfinished: list[bytes] = []  # of a line that is longer than a chunk, joined once
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
