"""A process that answers requests: threads of one process run Python one at a time, processes do not."""

import gc
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar, cast

from heed.models.errors import HeedError
from heed.models.system.closable import Closable
from heed.models.system.huge_pages import allow_huge_pages

Request = TypeVar("Request")
Result = TypeVar("Result")


class LostWorkerError(HeedError):
    """A process that answers requests has ended twice."""


class _Error(NamedTuple):
    """What the process raised."""

    error: Exception


class WorkerProcess(Closable, Generic[Request, Result]):
    """A process that answers requests, one at a time. It ends with the one that started it.

    Args:
        load: Makes what answers requests. It is pickled and called in the process.

    Raises:
        OSError: The system starts no more processes.
    """

    def __init__(self, load: Callable[[], Callable[[Request], Result]]) -> None:
        self._load = load
        self._lock = threading.Lock()  # of callers that wait for each other
        self._is_closed = False
        self._process = self._started()

    def ask(self, request: Request) -> Result:
        """The answer to a request. A process that has ended, as without memory, is started again once.

        Raises:
            LostWorkerError: It has ended twice, or cannot be started again.
            Exception: What the process raised.
        """
        with self._lock:
            answer = self._answer(request) or self._answer_again(request)
        if isinstance(answer[0], _Error):
            raise answer[0].error
        return answer[0]

    def close(self) -> None:
        """End the process, whatever it does; who waits for an answer is told."""
        self._is_closed = True
        self._end()

    def _started(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(  # noqa: S603 - our own module
            # -P: files of the working directory are no modules of ours.
            [sys.executable, "-P", "-c", f"from {__name__} import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for the process that started it, which ends it
        )
        try:
            with suppress(BrokenPipeError):  # told when it is asked
                for thing in (sys.path, self._load):
                    _send(thing, cast("BinaryIO", process.stdin))
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def _answer_again(self, request: Request) -> tuple[Result | _Error]:
        """The answer of another process."""
        answer = None
        if not self._is_closed:
            self._end()
            try:
                self._process = self._started()
            except OSError as error:
                reason = f"no other can be started: {error.strerror}"
                raise LostWorkerError(f"a worker process has ended; {reason}") from None
            answer = self._answer(request)
        if self._is_closed:  # meanwhile
            self._end()
        if answer is None:
            raise LostWorkerError("a worker process has ended twice: killed, or out of memory; use fewer threads")
        return answer

    def _answer(self, request: Request) -> tuple[Result | _Error] | None:
        """The answer; None: the process has ended."""
        try:
            _send(request, cast("BinaryIO", self._process.stdin))
            return (pickle.load(cast("BinaryIO", self._process.stdout)),)  # noqa: S301 - from our own process
        except (BrokenPipeError, EOFError, ValueError, pickle.UnpicklingError):  # ValueError: it was closed
            return None

    def _end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):
                cast("BinaryIO", pipe).close()
        self._process.wait()


def _send(thing: object, file: BinaryIO) -> None:
    pickle.dump(thing, file, pickle.HIGHEST_PROTOCOL)
    file.flush()


def main() -> None:
    """Answer requests until the process that started this one closes its pipe, or ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not belong between the answers
    with suppress(EOFError, BrokenPipeError):
        sys.path[:] = pickle.load(requests)  # noqa: S301 - from the process that started this one
        allow_huge_pages()  # this process is nobody else's
        answer = _loaded(pickle.load(requests))  # noqa: S301 - from the process that started this one
        gc.freeze()  # what is loaded stays: no cycles need be looked for there
        while True:
            _send(_tried(answer, pickle.load(requests)), answers)  # noqa: S301 - see above
    os._exit(0)  # the file of answers may be broken, which closing it would tell


def _loaded(load: Callable[[], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """What answers requests; if it cannot be made, every answer says why."""
    try:
        return load()
    except Exception as error:  # noqa: BLE001 - who asks gets it
        failed = _Error(error)
        return lambda _: failed


def _tried(answer: Callable[[Any], Any], request: Any) -> Any:
    try:
        return answer(request)
    except Exception as error:  # noqa: BLE001 - who asks gets it
        return _Error(error)
