"""Where translations go: to a stream, or into a file that appears when it is complete."""

import contextlib
import hashlib
import select
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, cast

import click

from heed.cli.io.records import Record
from heed.cli.io.signals import signals_held
from heed.models.errors import HeedError
from heed.models.system.compression import compress
from heed.models.system.files import named_errors
from heed.models.system.resumable_output import GrownFile
from heed.models.system.streams import is_stream, open_stream

FIRST_STEP = 64  # records that are translated together first


class Output(Protocol):
    """Takes what records have become."""

    n_records: int  # those written, by an earlier run of the job too

    def unwritten(self, windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
        """The records that are still to be translated."""
        ...

    def write(self, data: bytes, records: list[Record]) -> None:
        """Write whole lines, those of the records.

        Raises:
            OSError: They cannot be written.
        """
        ...


class StreamOutput:
    """Stdout, a pipe or a device: lines are written as they are made, and each whole.

    Args:
        file: Unbuffered.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.n_records = 0
        self._file = file

    def unwritten(self, windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
        """All records."""
        yield from windows

    def write(self, data: bytes, records: list[Record]) -> None:
        """See `Output`."""
        start = 0
        while start < len(data):
            # So much goes into a pipe at once or not at all, whatever signal comes while its reader is slow.
            end = data.rfind(b"\n", start, start + select.PIPE_BUF) + 1
            if end or len(data) - start <= select.PIPE_BUF:
                end = end or len(data)
                self._write(data[start:end])
            else:
                end = data.find(b"\n", start) + 1 or len(data)
                with signals_held():
                    self._write(data[start:end])
            start = end
        self.n_records += len(records)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            written = self._file.write(rest)
            if written is None:  # another program has made the pipe one that does not wait
                select.select([], [self._file], [])
            else:
                rest = rest[written:]


class FileOutput:
    """A file that grows aside, and that a later run of the same job goes on with.

    Args:
        path: The file; after the end of its name it is compressed.
        job: What its content depends on, besides the input.
        resume: See `GrownFile`.
        force: See `GrownFile`.
    """

    def __init__(self, path: Path, job: Mapping[str, object], *, resume: bool, force: bool) -> None:
        self.n_records = 0
        self._digest = hashlib.blake2b(digest_size=16)  # of the records, for the job is another if they are others
        self._path = path
        self._nothing = compress(b"", path)  # what an empty file is; and can it be written at all?
        self._file = GrownFile(path, job, resume=resume, force=force)

    def __enter__(self) -> "FileOutput":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self.n_records:
            self._file.write(self._nothing, self._progress())
        self._file.__exit__(kind, error, trace)
        if kind is not None and self._file.aside.exists():
            click.echo(
                f"{self._path} was not written; what is done stands in {self._file.aside}; go on with --resume",
                err=True,
            )

    def unwritten(self, windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
        """The records that no earlier run has written, the first ones in small steps: each is kept when it is done.

        Raises:
            HeedError: Those that one has written are not in the input.
        """
        earlier = self._file.progress
        n_left = earlier["records"] if earlier else 0
        for window in _in_growing_steps(windows):
            skipped, rest = window[:n_left], window[n_left:]
            if skipped:
                self._count(skipped)
                n_left -= len(skipped)
                if not n_left and self._progress() != earlier:
                    raise self._other_input()
            if rest:
                yield rest
        if n_left:
            raise self._other_input()

    def write(self, data: bytes, records: list[Record]) -> None:
        """See `Output`."""
        self._count(records)
        self._file.write(compress(data, self._path), self._progress())

    def _count(self, records: list[Record]) -> None:
        self.n_records += len(records)
        for record in records:
            for part in (record.before, record.words.encode(), record.after):
                self._digest.update(b"%d:" % len(part))
                self._digest.update(part)

    def _progress(self) -> dict[str, object]:
        return {"records": self.n_records, "digest": self._digest.hexdigest()}

    def _other_input(self) -> HeedError:
        return HeedError(
            f"{self._file.aside}: the input is not that of the job; repeat the command as it was, or begin anew with "
            "--force"
        )


def _in_growing_steps(windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
    """Windows, cut so that each is at most twice as long as the one before it.

    Long ones are translated faster, for their lines are sorted by length; of short jobs some is kept all the same.
    """
    size = FIRST_STEP
    for window in windows:
        start = 0
        while start < len(window):
            yield window[start : start + size]
            start, size = start + size, 2 * size


@contextlib.contextmanager
def open_output(path: Path | None, job: Mapping[str, object], *, resume: bool, force: bool) -> Iterator[Output]:
    """The file, which appears when it is complete, or stdout.

    Raises:
        HeedError: See `GrownFile`.
        OSError: It cannot be written.
    """
    if path is None:
        stdout = sys.stdout.buffer
        yield StreamOutput(cast("BinaryIO", getattr(stdout, "raw", stdout)))
    elif is_stream(path):  # a pipe or a device is written to, not replaced
        with named_errors(path), open_stream(path) as stream:
            yield StreamOutput(stream)
    else:
        with FileOutput(path.resolve(), job, resume=resume, force=force) as output:
            yield output
