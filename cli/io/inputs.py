"""The inputs of a command, one after another, as lists of lines that have arrived."""

import codecs
import contextlib
import select
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import BufferedIOBase
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar, cast

from heed.cli import messages
from heed.cli.io.byte_lines import read_windows
from heed.cli.io.locations import open_input
from heed.cli.io.records import Decoder, Plain
from heed.models.errors import DataError
from heed.models.system.compression import decompressed, is_damage
from heed.models.system.files import named_errors
from heed.models.text.encoding import other_encoding

COUNTED = 1 << 16  # lines counted at a time

Parsed = TypeVar("Parsed")


class Window(NamedTuple):
    """Lines of one input that have arrived."""

    name: str
    number: int  # of the first line, counted from 1
    lines: list[bytes]  # with their endings

    def records(self, parse: Callable[[bytes], Parsed]) -> Iterator[list[Parsed]]:
        """The records of the lines; if one is bad, those before it come first.

        Raises:
            DataError: A line is bad; raised after the lines before it.
        """
        records: list[Parsed] = []
        for number, line in enumerate(self.lines, start=self.number):
            try:
                records.append(parse(line))
            except DataError as error:
                yield records
                raise DataError(f"{self.name}: line {number}: {error}") from None
        yield records


class Inputs:
    """Files and stdin.

    Args:
        names: Of the files, "-" for stdin.
        shard: Which part of the lines, and of how many.
        keeps_mark: A byte-order mark is part of the first line, and not left out.
        invitation: What a person is told who is to type.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        shard: tuple[int, int] | None = None,
        *,
        keeps_mark: bool = False,
        invitation: str = "Ctrl-D ends.",
    ) -> None:
        self._names, self._invitation = names, invitation
        self._keeps_mark = keeps_mark
        self._shard = shard
        self._marked: set[str] = set()  # those that begin with a byte-order mark
        self._done = 0  # bytes of the files before this one
        self._given = 0  # bytes of this file's lines
        self._file: BinaryIO | None = None  # this file's size on disk
        self.size = size_on_disk(names)
        self.first = 0  # number of the first line among all, counted from 0

    @property
    def position(self) -> int:
        """Bytes on disk of the lines returned so far; approximate, because compressed files are read ahead."""
        if self.size is None:
            return 0
        return self._done + (min(self._given, self._file.tell()) if self._file else 0)

    def waits(self) -> bool:
        """Whether nothing more has arrived; a file on disk has always arrived."""
        file = self._file or sys.stdin.buffer
        try:
            return not select.select([file], [], [], 0)[0]
        except (OSError, ValueError):  # it has no descriptor: a URL
            return False

    def close(self) -> None:
        """Close what an error left open."""
        if self._file:
            self._file.close()

    def windows(self, limit: int) -> Iterator[Window]:
        """The lines, at most `limit` at a time.

        Raises:
            DataError: A compressed file is damaged.
            OSError: A file cannot be read.
        """
        if self._shard is None:
            yield from self._windows(limit)
            return
        n_lines = sum(len(window.lines) for window in self._windows(COUNTED))
        part, n_parts = self._shard
        self.first, end = (n_lines * i // n_parts for i in (part - 1, part))
        yield from _between(self._windows(limit), self.first, end)

    def _windows(self, limit: int) -> Iterator[Window]:
        self._done = 0
        for place, name in enumerate(self._names):
            shown, number = "stdin" if name == "-" else name, 1
            with self._open(name) as stream, _damage_told(shown):
                for lines in read_windows(stream, limit):
                    if number == 1:
                        if wrong := other_encoding(b"".join(lines[:100])):
                            raise DataError(f"{shown}: {wrong}")
                        self._drop_mark(shown, lines)
                    if place < len(self._names) - 1 and not lines[-1].endswith(b"\n"):
                        lines[-1] += b"\n"  # another line may follow
                    self._given += sum(map(len, lines))
                    if any(lines):
                        yield Window(shown, number, lines)
                    number += len(lines)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[BufferedIOBase]:
        if name == "-":
            stdin = cast("BufferedIOBase", sys.stdin.buffer)
            if stdin.isatty():
                messages.note(self._invitation)
            yield stdin
            return
        with open_input(name) as file, decompressed(file, name) as stream:
            self._file, self._given = file, 0
            yield cast("BufferedIOBase", stream)
            self._file = None
            if self.size is not None:  # a pipe has no position
                self._done += file.tell()

    def _drop_mark(self, name: str, lines: list[bytes]) -> None:
        if not self._keeps_mark and lines[0].startswith(codecs.BOM_UTF8):
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8)
            if name not in self._marked:
                self._marked.add(name)
                messages.note(f"{name} begins with a byte-order mark, which was removed")


def size_on_disk(names: Sequence[str]) -> int | None:
    """Bytes of files; None where one is stdin, a pipe or a URL."""
    paths = [Path(name) for name in names if name != "-"]
    known = len(paths) == len(names) and all(path.is_file() for path in paths)
    return sum(path.stat().st_size for path in paths) if known else None


def read_lines(
    names: tuple[str, ...], decoder: Decoder, limit: int, *, invitation: str = "Ctrl-D ends."
) -> Iterator[list[str]]:
    """The text of the lines of inputs, in lists of those that have arrived."""
    with contextlib.closing(Inputs(names, invitation=invitation)) as source:
        for window in source.windows(limit):
            for records in window.records(Plain(decoder).parse):
                yield [record.words for record in records]


def read_whole(name: str, decoder: Decoder, *, invitation: str = "Ctrl-D ends.") -> str:
    """The whole text of an input."""
    with contextlib.closing(Inputs((name,), invitation=invitation)) as source:
        return decoder.decode(b"".join(line for window in source.windows(COUNTED) for line in window.lines))


def warn_replaced(decoder: Decoder, what: str | None = None) -> None:
    """Warn about bytes that were not UTF-8."""
    if decoder.n_replaced:
        what = what or f"{decoder.n_replaced} lines were"
        messages.warning(f"{what} not UTF-8; invalid bytes became \ufffd")


@contextlib.contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """Add the file's name to an error in reading it."""
    try:
        with named_errors(Path(name)):
            yield
    except Exception as error:
        if is_damage(error):
            raise DataError(f"{name}: damaged: {error}; get the file again") from None
        raise


def _between(windows: Iterable[Window], start: int, end: int) -> Iterator[Window]:
    """The lines from `start` to `end` (exclusive), counted from 0 over all windows."""
    place = 0
    for window in windows:
        if place >= end:
            return
        cut = max(0, start - place)
        lines = window.lines[cut : end - place]
        if lines:
            yield Window(window.name, window.number + cut, lines)
        place += len(window.lines)
