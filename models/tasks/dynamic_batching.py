"""Dynamic batching: the lines of many callers are worked on together."""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from heed.models.records import record
from heed.models.system.closable import Closable

CHARACTERS = 16_384  # of a batch; more only if its first line has more

Settings = TypeVar("Settings", bound=Hashable)
Result = TypeVar("Result")


@record(frozen=True)
class Unfinished:
    """What is returned for a line that the next batch of the same work is to go on with."""

    item: Any  # what that batch gets in the place of the line


class _Request(Generic[Settings, Result]):
    """Lines that one caller waits for."""

    def __init__(self, lines: Sequence[str], settings: Settings) -> None:
        self.lines, self.settings = lines, settings
        self.items: list[Any] = list(lines)  # what the next batch gets of each line
        self.future: Future[list[Result]] = Future()
        # The longest are taken first, so that lines of similar length meet in a batch.
        self.waiting = sorted(range(len(lines)), key=lambda i: len(lines[i]))
        self._results: dict[int, Result] = {}

    def done(self, i: int, result: Result) -> None:
        """Take the result of a line; the last one completes the request."""
        self._results[i] = result
        if len(self._results) == len(self.lines):
            with suppress(InvalidStateError):  # it was cancelled, or has failed
                self.future.set_result([self._results[i] for i in range(len(self.lines))])


class _Line(NamedTuple, Generic[Settings, Result]):
    """A line of a batch."""

    request: _Request[Settings, Result]
    i: int  # its number within the request


Batch: TypeAlias = list[_Line[Settings, Result]]
Work: TypeAlias = Callable[[list[Any], Settings], Sequence[Result | Unfinished]]


class DynamicBatcher(Closable, Generic[Settings, Result]):
    """Works on the lines of many callers together.

    A thread that is free takes its share of the lines that wait: one of each request in turn, so that a long request
    does not hold up a short one. Only lines with equal settings share a batch.

    Args:
        works: For each thread what gives the result of each line of a batch, in order, or says that it is unfinished;
            then the thread's next batch has it. No result may depend on the other lines.
        batch_size: Maximum number of lines of a batch.
    """

    def __init__(self, works: Sequence[Work[Settings, Result]], *, batch_size: int = 64) -> None:
        self._n_threads, self._batch_size = len(works), batch_size
        self._requests: deque[_Request[Settings, Result]] = deque()  # that have lines waiting
        self._n_waiting, self._n_working, self._is_closed = 0, 0, False  # lines
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    @property
    def n_waiting(self) -> int:
        """Number of lines that wait for a batch."""
        return self._n_waiting

    def submit(self, lines: Sequence[str], settings: Settings) -> Future[list[Result]]:
        """Ask for the results of some lines. Cancelling the future drops those that still wait."""
        request = _Request[Settings, Result](lines, settings)
        request.future.add_done_callback(lambda _: self._drop(request))
        with self._changed:
            if self._is_closed:
                raise RuntimeError("cannot schedule new lines after the end")
            if lines:
                self._requests.append(request)
                self._n_waiting += len(lines)
                self._changed.notify_all()
        if not lines:
            request.future.set_result([])
        return request.future

    def close(self) -> None:
        """Complete what was asked for, and end the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _drop(self, request: _Request[Settings, Result]) -> None:
        """Forget the waiting lines of a request that is over."""
        with self._changed:
            self._n_waiting -= len(request.waiting)
            request.waiting.clear()

    def _run(self, work: Work[Settings, Result]) -> None:
        begun: Batch[Settings, Result] = []
        while batch := self._take(begun):
            begun = self._do(work, batch)
            with self._changed:
                self._n_working -= len(batch)

    @property
    def _share(self) -> int:
        """Lines of the next batch.

        Each thread gets its share of all lines, waiting or in work: small batches are slower, and beside a large one
        they would stay small, because few get their results and ask again.
        """
        return min(self._batch_size, -(-(self._n_waiting + self._n_working) // self._n_threads))

    def _take(self, begun: Batch[Settings, Result]) -> Batch[Settings, Result]:
        """The next batch: lines that the thread has begun, and others; nothing after the end."""
        with self._changed:
            while not (batch := self._next(begun)):
                if self._is_closed:
                    return []
                self._changed.wait()
            if self._requests:
                self._changed.notify()
            return batch

    def _next(self, begun: Batch[Settings, Result]) -> Batch[Settings, Result]:
        """The next batch, of what waits now; its first lines are those of `begun` that somebody still wants."""
        batch = [each for each in begun if not each.request.future.done()]
        others: list[_Request[Settings, Result]] = []
        n_begun, limit = len(batch), self._share
        n_characters = sum(len(request.lines[i]) for request, i in batch)
        while self._requests and len(batch) < limit:
            request = self._requests.popleft()
            if not request.waiting:
                continue
            if batch and request.settings != batch[0].request.settings:
                others.append(request)
                continue
            n_characters += len(request.lines[request.waiting[-1]])
            if batch and n_characters > CHARACTERS:
                others.append(request)
                break
            batch.append(_Line(request, request.waiting.pop()))
            if request.waiting:
                self._requests.append(request)
        self._requests.extendleft(reversed(others))
        self._n_waiting -= len(batch) - n_begun
        self._n_working += len(batch)
        return batch

    def _do(self, work: Work[Settings, Result], batch: Batch[Settings, Result]) -> Batch[Settings, Result]:
        """Work on a batch; returns its unfinished lines.

        If it fails, each line is begun again alone, so that a request fails for its own lines only.
        """
        try:
            results = work([request.items[i] for request, i in batch], batch[0].request.settings)
        except Exception as error:  # noqa: BLE001 - whoever waits for the result gets it
            if len(batch) == 1:
                with suppress(InvalidStateError):
                    batch[0].request.future.set_exception(error)
                return []
            for request, i in batch:
                request.items[i] = request.lines[i]
            return [unfinished for each in batch for unfinished in self._do(work, [each])]
        unfinished: Batch[Settings, Result] = []
        for each, result in zip(batch, results, strict=True):
            if isinstance(result, Unfinished):
                each.request.items[each.i] = result.item
                unfinished.append(each)
            else:
                each.request.done(each.i, result)
        return unfinished
