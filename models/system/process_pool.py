"""Processes that share the requests of one."""

from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Generic

from heed.models.system.closable import Closable
from heed.models.system.thread_pool import ThreadPool
from heed.models.system.worker_process import Request, Result, WorkerProcess


class ProcessPool(Closable, Generic[Request, Result]):
    """Processes that answer requests, each one at a time.

    Args:
        load: See `WorkerProcess`.
        n: Number of processes.

    Raises:
        OSError: The system starts no more processes.
    """

    def __init__(self, load: Callable[[], Callable[[Request], Result]], n: int) -> None:
        self.n = n
        self._processes: list[WorkerProcess[Request, Result]] = []
        self._idle = SimpleQueue[WorkerProcess[Request, Result]]()
        self._threads = ThreadPool(n)  # each waits for the answer of a process
        try:
            for _ in range(n):
                self._processes.append(WorkerProcess(load))
        except BaseException:  # Ctrl-C, too: none may outlive the command
            self.close()
            raise
        for process in self._processes:
            self._idle.put(process)

    def submit(self, request: Request) -> Future[Result]:
        """Ask for the answer to a request."""
        return self._threads.submit(self._ask, request)

    def close(self) -> None:
        """End the processes, whatever they do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.close()

    def _ask(self, request: Request) -> Result:
        process = self._idle.get()
        try:
            return process.ask(request)
        finally:
            self._idle.put(process)
