"""Translation of requests in order: a short job in this process, a long one in a process for each core."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, TypeVar

from heed.cli.batch.job import Answer
from heed.cli.batch.workers.translation import Translate, TranslationRequest, TranslationWorker
from heed.cli.processes import suit_processes
from heed.models.errors import HeedError
from heed.models.system.closable import Closable

if TYPE_CHECKING:
    from heed.models.system.process_pool import ProcessPool

SECONDS = 2.0  # of translation in this process, after which a job is long
PART = 1024  # texts that a process translates at a time
FEWEST = 3  # processes that are faster than as many threads: two threads hardly wait for each other

Item = TypeVar("Item")
Pool: TypeAlias = "ProcessPool[TranslationRequest, Answer]"


class Answering(Protocol):
    """An answer that may be awaited."""

    def done(self) -> bool:
        """Whether it is there."""
        ...

    def result(self) -> Answer:
        """It, as soon as it is there."""
        ...


class Answered(NamedTuple):
    """An answer that is there."""

    answer: Answer

    def done(self) -> bool:
        """See `Answering`."""
        return True

    def result(self) -> Answer:
        """See `Answering`."""
        return self.answer


class Pipeline(Closable):
    """Translates requests.

    Threads of one process wait for each other whenever they run Python, so a long job is done by processes with a
    thread each. They take time to start, which a short job would not get back.

    Args:
        here: Translates in this process.
        start: Starts processes; None: there are to be none.
    """

    def __init__(self, here: Translate, start: Callable[[], Pool] | None = None) -> None:
        self._here, self._start = here, start
        self._seconds = 0.0  # of translation in this process
        self._pool: Pool | None = None

    def answers(
        self, asked: Iterable[tuple[Item, TranslationRequest]], waits: Callable[[], bool]
    ) -> Iterator[tuple[Item, Answer]]:
        """The answers to requests, in order; an error in reading these comes after the answers to those before it.

        Args:
            asked: Requests, and what each is for. As many are read ahead as keep the processes busy.
            waits: Whether reading the next one may take time; until then, what has been asked is answered.
        """
        pending = deque[tuple[Item, Sequence[Answering]]]()
        requests = _UntilError(asked)
        for item, request in requests:
            pending.append((item, self._ask(request)))
            while pending and (_are_done(pending[0][1]) or waits() or self._are_enough(pending)):
                yield _taken(*pending.popleft())
        while pending:
            yield _taken(*pending.popleft())
        if requests.error:
            raise requests.error

    def close(self) -> None:
        """End the processes."""
        if self._pool:
            self._pool.close()

    def _ask(self, request: TranslationRequest) -> Sequence[Answering]:
        """The answers to the parts of a request."""
        if self._start and self._seconds >= SECONDS:
            self._pool, self._start = _tried(self._start), None
        if self._pool:
            return [self._pool.submit(part) for part in request.parts(PART)]
        began, found = time.monotonic(), self._here(request)
        self._seconds += time.monotonic() - began
        return [Answered(found)]

    def _are_enough(self, pending: "deque[tuple[Item, Sequence[Answering]]]") -> bool:
        """Whether the processes are busy while the oldest answer is taken and written."""
        n_parts = sum(len(parts) for _, parts in islice(pending, 1, None))
        return self._pool is not None and n_parts >= 2 * self._pool.n


class _UntilError(Iterable[Item]):
    """What is read before an error, which is kept."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self.error: HeedError | OSError | None = None

    def __iter__(self) -> Iterator[Item]:
        try:
            yield from self._items
        except (HeedError, OSError) as error:
            self.error = error


def processes(worker: TranslationWorker, models: Sequence[Path], n: int) -> "Callable[[], Pool] | None":
    """What starts `n` processes for a worker; None: threads do as well."""
    if n < FEWEST or not suit_processes(models, worker.device):
        return None
    return partial(_pool, partial(dataclasses.replace(worker, threads=1).load, models), n)


def _pool(load: Callable[[], Translate], n: int) -> Pool:
    from heed.models.system.process_pool import ProcessPool  # imported here: few jobs are long

    return ProcessPool(load, n)


def _tried(start: Callable[[], Pool]) -> "Pool | None":
    """Processes; None: the system does not start so many."""
    try:
        return start()
    except OSError:
        return None


def _are_done(parts: Sequence[Answering]) -> bool:
    return all(part.done() for part in parts)


def _taken(item: Item, parts: Sequence[Answering]) -> tuple[Item, Answer]:
    answers = [part.result() for part in parts]
    return item, Answer([each for answer in answers for each in answer.result], sum(each.n_tokens for each in answers))
