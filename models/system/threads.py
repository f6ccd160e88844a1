"""Threads that the system may refuse: work is done all the same, or the limit is named."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from heed.models.errors import HeedError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class ThreadPool(ThreadPoolExecutor):
    """Does work in threads; where the system starts no more (`ulimit -u`), in the thread that asks for it."""

    def submit(
        self, work: Callable[Arguments, Result], /, *args: Arguments.args, **named: Arguments.kwargs
    ) -> Future[Result]:
        """See `ThreadPoolExecutor`."""
        future, taken = Future[Result](), threading.Lock()

        def once() -> None:
            if not taken.acquire(blocking=False) or not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*args, **named))
            except Exception as error:  # noqa: BLE001 - whoever asks for the result gets it
                future.set_exception(error)

        try:
            super().submit(once)
        except RuntimeError as error:
            if not is_refused(error):
                raise
            once()  # unless a thread of before has taken it, for it is queued
        return future


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
