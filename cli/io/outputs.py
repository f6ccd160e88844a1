"""Output of translations: to a stream, or to a file that appears when it is complete."""

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
    """Writes the results of records."""

    n_records: int  # records written, including those of an earlier run of the job

    def unwritten(self, windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
        """The records that still need to be translated."""
        ...

    def write(self, data: bytes, records: list[Record]) -> None:
        """Write the whole lines of some records.

        Raises:
            OSError: They cannot be written.
        """
        ...


class StreamOutput:
    """Stdout, a pipe or a device: lines are written as they are made, each one whole.

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
            # A pipe takes this many bytes at once or none, whatever signal arrives while its reader is slow.
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
            if written is None:  # another program made the pipe non-blocking
                select.select([], [self._file], [])
            else:
                rest = rest[written:]


class FileOutput:
    """A file that grows under a temporary name; a later run of the same job can continue it.

    Args:
        path: The file; its suffix decides about compression.
        job: What its content depends on, besides the input.
        resume: See `GrownFile`.
        force: See `GrownFile`.
    """

    def __init__(self, path: Path, job: Mapping[str, object], *, resume: bool, force: bool) -> None:
        self.n_records = 0
        self._digest = hashlib.blake2b(digest_size=16)  # hash of the records: other records make another job
        self._path = path
        self._nothing = compress(b"", path)  # an empty file is complete, and this shows that it can be written
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
                f"{self._path} is not complete; {self._file.aside} has what is done; continue with --resume",
                err=True,
            )

    def unwritten(self, windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
        """The records that no earlier run has written, the first ones in small steps: each is kept when it is done.

        Raises:
            HeedError: The input lacks records that an earlier run wrote.
        """
        earlier = self._file.progress
        n_left = earlier["records"] if earlier else 0
        for window in in_growing_steps(windows):
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
            for part in (record.before, *map(str.encode, record.texts), record.after):
                self._digest.update(b"%d:" % len(part))
                self._digest.update(part)

    def _progress(self) -> dict[str, object]:
        return {"records": self.n_records, "digest": self._digest.hexdigest()}

    def _other_input(self) -> HeedError:
        return HeedError(
            f"{self._file.aside}: belongs to another input; repeat the command unchanged, or start over with --force"
        )


def in_growing_steps(windows: Iterable[list[Record]]) -> Iterator[list[Record]]:
    """Windows, cut so that each step has at most as many records as all before it and the first.

    Long ones are translated faster, for their lines are sorted by length; of short jobs some is kept all the same.
    """
    done = 0
    for window in windows:
        start = 0
        while start < len(window):
            step = window[start : start + FIRST_STEP + done]
            yield step
            start, done = start + len(step), done + len(step)


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
    elif is_stream(path):  # pipes and devices are written to, not replaced
        with named_errors(path), open_stream(path) as stream:
            yield StreamOutput(stream)
    else:
        with FileOutput(path.resolve(), job, resume=resume, force=force) as output:
            yield output
