"""Does large jobs: blocks to workers, results to outputs, and a report."""

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Protocol

import click

from heed.cli import messages
from heed.cli.batch.job import Answer, Block, Failure, FileJob
from heed.cli.batch.pieces import PiecedOutput
from heed.cli.batch.storage import storage
from heed.cli.io.line_progress import LineProgress
from heed.models.errors import DataError, HeedError

LINE_EVERY = 30.0  # seconds between two lines of progress without a terminal


@dataclasses.dataclass(eq=False)
class Unfinished:
    """An output in the making."""

    job: FileJob
    output: PiecedOutput
    n_waiting: int = 0  # blocks that workers have
    n_failed: int = 0  # blocks that were set aside
    is_read: bool = False  # whether all blocks of the job are known

    @property
    def is_done(self) -> bool:
        """Whether every block has been answered."""
        return self.is_read and not self.n_waiting


@dataclasses.dataclass(frozen=True, eq=False)
class Sent:
    """A block on its way through a worker."""

    block: Block
    of: Unfinished


Answers = Generator[tuple[Sent, Answer | Failure], None, None]


class Executor(Protocol):
    """Sends blocks to workers."""

    n_retries: int  # times that a block was sent again

    def run(self, blocks: Iterable[Sent]) -> Answers:
        """The answers, in any order; takes a block when a worker will soon be free, so that memory is bounded."""
        ...

    def describe(self) -> str:
        """What works now, such as "8 workers"."""
        ...


class Runner:
    """Does jobs with an executor.

    Args:
        executor: It.
        force: Do again what is complete.
        size: Bytes of all inputs, if known.
    """

    def __init__(self, executor: Executor, *, force: bool, size: int | None) -> None:
        self._executor, self._force, self._size = executor, force, size
        self._report = Report()

    def run(self, jobs: Sequence[FileJob]) -> int:
        """Do the jobs; returns the exit status.

        A job whose input is bad, or of which a block fails again and again, is told and does not stop the others.

        Raises:
            HeedError: There is a single job, and its input cannot be used; or no worker can work.
        """
        alone = len(jobs) == 1
        with contextlib.ExitStack() as stack:
            progress = stack.enter_context(LineProgress(self._size, hidden=False))
            self._report.show(progress, self._executor)
            answers = stack.enter_context(contextlib.closing(self._executor.run(self._blocks(jobs, alone=alone))))
            for sent, answer in answers:
                if isinstance(answer, Failure):
                    self._set_aside(sent, answer)
                else:
                    sent.of.output.put(sent.block, sent.of.job.written(sent.block, answer))
                    self._report.add(len(sent.block.records), answer.n_tokens)
                sent.of.n_waiting -= 1
                self._finish(sent.of)
                self._report.show(progress, self._executor)
        self._report.tell(self._executor)
        return self._report.status

    def _blocks(self, jobs: Sequence[FileJob], *, alone: bool) -> Iterator[Sent]:
        """The blocks of all jobs that nobody has done yet."""
        for job in jobs:
            kept = storage(job.output)
            output = PiecedOutput(job.output, kept)
            if kept.exists(job.output) and not self._force:
                messages.note(f"{job.output} is already complete")
                output.clear()
                continue
            unfinished = Unfinished(job, output)
            try:
                yield from self._lacking(unfinished)
            except (HeedError, OSError) as error:
                if alone:
                    raise
                self._report.refuse(job.output, error)
                continue
            self._report.position += job.position
            unfinished.is_read = True
            self._finish(unfinished)

    def _lacking(self, unfinished: Unfinished) -> Iterator[Sent]:
        before = self._report.position
        for block in unfinished.job.blocks():
            self._report.here = before + unfinished.job.position
            if unfinished.output.lacks(block):
                unfinished.n_waiting += 1
                yield Sent(block, unfinished)
            else:
                self._report.n_before += len(block.records)

    def _set_aside(self, sent: Sent, failure: Failure) -> None:
        first, n = sent.block.first, len(sent.block.records)
        sent.of.n_failed += 1
        self._report.failed[sent.of.job.output] += 1
        messages.warning(f"{sent.of.job.output}: lines {first + 1:,} to {first + n:,} are set aside: {failure.reason}")

    def _finish(self, unfinished: Unfinished) -> None:
        if unfinished.is_done and not unfinished.n_failed:
            unfinished.output.join()
            self._report.n_outputs += 1
            try:
                unfinished.job.close()
            except DataError as error:
                self._report.refuse(unfinished.job.output, error)


class Report:
    """Counts what is done of a large job."""

    def __init__(self) -> None:
        self.n_outputs = 0  # that were completed
        self.n_before = 0  # lines that an earlier run did
        self.position = self.here = (
            0  # bytes of the inputs that were read: all of the jobs before this one; and of this
        )
        self.failed = Counter[str]()  # blocks that were set aside, by output
        self.status = 0
        self._n_lines = self._n_tokens = self._n_shown = 0
        self._start = self._told = time.monotonic()

    def add(self, n_lines: int, n_tokens: int) -> None:
        """Count a block."""
        self._n_lines += n_lines
        self._n_tokens += n_tokens

    def refuse(self, output: str, error: HeedError | OSError) -> None:
        """Tell a job whose input cannot be used."""
        if isinstance(error, HeedError):
            status, reason = error.exit_code, str(error)
        else:
            status, reason = 1, f"{error.filename}: {error.strerror}"
        self.status = self.status or status
        click.echo(f"Error: {output}: {reason}", err=True)

    def show(self, progress: LineProgress, executor: Executor) -> None:
        """Update the live line; without a terminal, tell at times how far the job is."""
        progress.add(self._n_lines - self._n_shown, self.here)
        self._n_shown = self._n_lines
        if not progress.is_live and time.monotonic() - self._told >= LINE_EVERY:
            self._told = time.monotonic()
            messages.note(f"{self._n_lines:,} lines, {self._rates()}, {executor.describe()}")

    def tell(self, executor: Executor) -> None:
        """Tell what was done, and what was not."""
        seconds = time.monotonic() - self._start
        done = f"{self._n_lines:,} lines, {self._n_tokens:,} tokens in {seconds:,.0f} s ({self._rates()})"
        before = f"; {self.n_before:,} lines were done before" if self.n_before else ""
        again = f"; {executor.n_retries:,} blocks were tried again" if executor.n_retries else ""
        messages.note(f"{self.n_outputs:,} outputs complete: {done}{before}{again}")
        for output, n_blocks in self.failed.items():
            self.status = self.status or 1
            blocks = "1 block" if n_blocks == 1 else f"{n_blocks:,} blocks"
            messages.warning(
                f"{output} is not complete: {blocks} set aside; {output}.parts has the others, and the same command "
                "tries again"
            )

    def _rates(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        return f"{self._n_lines / seconds:,.0f} lines/s, {self._n_tokens / seconds:,.0f} tokens/s"


@contextlib.contextmanager
def interruptions_told() -> Iterator[None]:
    """Say after a signal how the job is continued."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, (HeedError, click.exceptions.Exit)):
            click.echo("The job is not complete; the same command continues it", err=True)
        raise
