"""Threads that the system may refuse: work is done all the same, or the limit is named."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from heed.models.errors import HeedError

Result = TypeVar("Result")


class Task(Generic[Result]):
    """Work that a thread of its own does; where the system starts no more (`ulimit -u`), the one that asks for it."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self._work, self._found = work, list[Result]()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = threading.Thread(target=self._do)
        try:
            self._thread.start()
        except RuntimeError as error:
            if not is_refused(error):
                raise
            self._thread = None
            self._do()

    def _do(self) -> None:
        try:
            self._found.append(self._work())
        except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
            self._error = error

    def wait(self) -> None:
        """Wait for its end."""
        if self._thread:
            self._thread.join()

    def result(self) -> Result:
        """The result, when it has ended; its error is raised."""
        self.wait()
        if self._error:
            raise self._error
        return self._found[0]


def require_threads(n: int) -> None:
    """Check that threads can be started, for what ends the program where they can not, as libraries in C++ do.

    Raises:
        HeedError: The system does not start so many more.
    """
    ended, threads = threading.Event(), list[threading.Thread]()
    try:
        for _ in range(n):
            thread = threading.Thread(target=ended.wait, daemon=True)
            thread.start()
            threads.append(thread)
    except RuntimeError as error:
        if not is_refused(error):
            raise
        raise HeedError(f"only {len(threads)} of {n} threads could be started; raise the limit (ulimit -u)") from None
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def is_refused(error: RuntimeError) -> bool:
    """Whether the system would start no thread."""
    return "start new thread" in str(error)
