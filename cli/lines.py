"""Lines as bytes: how they come in, and what of them is kept for the way out."""

import dataclasses
from collections.abc import Iterator
from io import BufferedIOBase

CHUNK = 1 << 20  # bytes asked for at a time; a pipe or a terminal gives what it has


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of text."""

    words: str
    ending: str  # "\n" or "\r\n"


class LineDecoder:
    """Turns bytes into text and counts what was no UTF-8."""

    def __init__(self) -> None:
        self.n_replaced = 0  # lines with a byte that had to be replaced

    def decode(self, line: bytes) -> Line:
        """The text of a line that was cut at its newline."""
        words = line.removesuffix(b"\r")
        ending = "\n" if words == line else "\r\n"
        try:
            return Line(words.decode("utf-8"), ending)
        except UnicodeDecodeError:
            self.n_replaced += 1
            return Line(words.decode("utf-8", "replace"), ending)


def read_windows(stream: BufferedIOBase, limit: int) -> Iterator[list[bytes]]:
    r"""The lines of a stream, cut at \n alone, in lists of those that have arrived.

    Waits for one line, never for more: what a person types is answered at once, and what a program writes faster
    than it is read comes in lists of up to `limit` lines.
    """
    unfinished = b""
    while chunk := stream.read1(CHUNK):
        *lines, unfinished = (unfinished + chunk).split(b"\n")
        for start in range(0, len(lines), limit):
            yield lines[start : start + limit]
    if unfinished:
        yield [unfinished]
