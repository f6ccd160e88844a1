"""Pools of threads; apart from `threads`, for importing what they are made of takes a fiftieth of a start."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from heed.models.system.threads import is_refused

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
