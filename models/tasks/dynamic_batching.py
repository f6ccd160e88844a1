"""Dynamic batching: the lines of many callers are worked on together."""

import dataclasses
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

from heed.models.system.closable import Closable

GATHERING = (
    0.25  # of a batch's time, for which its thread then waits at most, because who got its results may ask again
)
CHARACTERS = 16_384  # of a batch; more only if its first line has more

Settings = TypeVar("Settings", bound=Hashable)
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """What is returned for a line that another batch is to go on with."""

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


class DynamicBatcher(Closable, Generic[Settings, Result]):
    """Works on the lines of many callers together.

    A thread that is free takes its share of the lines that wait: one of each request in turn, so that a long request
    does not hold up a short one. Only lines with equal settings share a batch.

    Args:
        work: Gives the result of each line, in order, or says that it is unfinished. It may be called by all threads at
            once, and no result may depend on the other lines.
        threads: Number of threads, each with a batch of its own.
        batch_size: Maximum number of lines of a batch.
    """

    def __init__(
        self,
        work: Callable[[list[Any], Settings], Sequence[Result | Unfinished]],
        *,
        threads: int = 1,
        batch_size: int = 64,
    ) -> None:
        self._work, self._n_threads, self._batch_size = work, threads, batch_size
        self._requests: deque[_Request[Settings, Result]] = deque()  # that have lines waiting
        self._n_waiting, self._n_working, self._is_closed = 0, 0, False  # lines
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
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
                self._changed.notify_all()  # a thread that waits for more must not keep it from a free one
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

    def _run(self) -> None:
        while batch := self._take():
            began = time.monotonic()
            self._do(batch)
            self._gather(len(batch), GATHERING * (time.monotonic() - began))

    def _gather(self, n_done: int, seconds: float) -> None:
        """After a batch, wait for a while until as many lines wait as if all callers had asked again."""
        until = time.monotonic() + seconds
        with self._changed:
            enough = self._share
            self._n_working -= n_done
            while self._n_waiting < enough and not self._is_closed and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    @property
    def _share(self) -> int:
        """Lines of the next batch.

        Each thread gets its share of all lines, waiting or in work: small batches are slower, and beside a large one
        they would stay small, because few get their results and ask again.
        """
        return min(self._batch_size, -(-(self._n_waiting + self._n_working) // self._n_threads))

    def _take(self) -> list[tuple[_Request[Settings, Result], int]]:
        """The next batch, as requests and the numbers of their lines; nothing after the end."""
        with self._changed:
            while not (batch := self._next()):
                if self._is_closed:
                    return []
                self._changed.wait()
            if self._requests:
                self._changed.notify()
            return batch

    def _next(self) -> list[tuple[_Request[Settings, Result], int]]:
        """The next batch among what waits now."""
        batch: list[tuple[_Request[Settings, Result], int]] = []
        others: list[_Request[Settings, Result]] = []
        n_characters, limit = 0, self._share
        while self._requests and len(batch) < limit:
            request = self._requests.popleft()
            if not request.waiting:
                continue
            if batch and request.settings != batch[0][0].settings:
                others.append(request)
                continue
            n_characters += len(request.lines[request.waiting[-1]])
            if batch and n_characters > CHARACTERS:
                others.append(request)
                break
            batch.append((request, request.waiting.pop()))
            if request.waiting:
                self._requests.append(request)
        self._requests.extendleft(reversed(others))
        self._n_waiting -= len(batch)
        self._n_working += len(batch)
        return batch

    def _do(self, batch: list[tuple[_Request[Settings, Result], int]]) -> None:
        """Work on a batch; if it fails, on each line alone, so that a request fails for its own lines only."""
        try:
            results = self._work([request.items[i] for request, i in batch], batch[0][0].settings)
        except Exception as error:  # noqa: BLE001 - whoever waits for the result gets it
            if len(batch) == 1:
                with suppress(InvalidStateError):
                    batch[0][0].future.set_exception(error)
            else:
                for each in batch:
                    self._do([each])
            return
        for (request, i), result in zip(batch, results, strict=True):
            if isinstance(result, Unfinished):
                self._put_back(request, i, result)
            else:
                request.done(i, result)

    def _put_back(self, request: _Request[Settings, Result], i: int, unfinished: Unfinished) -> None:
        """Let a line wait again, before all others."""
        with self._changed:
            if request.future.done():  # it was cancelled, or has failed
                return
            request.items[i] = unfinished.item
            if not request.waiting:
                self._requests.appendleft(request)
            request.waiting.append(i)
            self._n_waiting += 1
            self._changed.notify_all()
