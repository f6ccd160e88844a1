"""Signals that end the program whatever a library makes of them, and lines that they do not cut."""

import contextlib
import signal
import sys
import weakref
from collections.abc import Iterator
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM)
AGAIN = 0.2  # seconds after which a signal is raised again that a library has swallowed


class Interrupted(KeyboardInterrupt):
    """SIGINT has come: Ctrl-C."""


class Terminated(BaseException):
    """SIGTERM has arrived; like KeyboardInterrupt, it is not an error."""


class _PendingSignal:
    """The signal that ends the program; a process has one such state, as it has one table of signal handlers."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._exception: weakref.ref[BaseException] | None = None

    def exception(self, number: int) -> BaseException:
        """What to raise for a signal; nobody holds on to it but who handles it."""
        self.number = number
        error = Interrupted() if number == signal.SIGINT else Terminated()
        self._exception = weakref.ref(error)
        return error

    def forget(self) -> None:
        """Go on as if no signal had come."""
        self.number = self._exception = None

    @property
    def is_swallowed(self) -> bool:
        """Whether the exception is gone, though the program goes on."""
        return self._exception is not None and self._exception() is None


_PENDING = _PendingSignal()


def end_on_signals() -> None:
    """Let SIGINT and SIGTERM end the program, with what is being written left in order; unless they are ignored.

    A handler raises an exception, and so does it when Python runs it within a callback, a destructor or an import of a
    library. What the library makes of it does not count: another error is a signal then (see `came`), and an exception
    that it has swallowed is raised again. What Python cannot raise, as from a destructor, it does not print either.
    """
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    signal.signal(signal.SIGALRM, _end_again)
    sys.unraisablehook = _tell_unraisable


def came() -> int | None:
    """The signal that ends the program, if one has come."""
    return _PENDING.number


def raise_no_more() -> None:
    """Raise no signal again: the program ends with its exit status, however long that takes."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def handled() -> None:
    """Let the program go on: what a signal asked for is done. Call it while its exception is handled."""
    raise_no_more()
    _PENDING.forget()


def _end(number: int, _: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
    raise _PENDING.exception(number)  # no local name: a frame that held it would keep it alive


def _end_again(_: int, __: FrameType | None) -> None:
    if _PENDING.number is not None and _PENDING.is_swallowed:
        raise _PENDING.exception(_PENDING.number)


def _tell_unraisable(unraisable: "sys.UnraisableHookArgs") -> None:
    """Print an error that Python cannot raise; after a signal it is the signal, raised again soon, or comes of it."""
    if came() is None:
        sys.__unraisablehook__(unraisable)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Delay a signal that ends the program until the end of the block; a second one does not wait."""
    before = {number: signal.getsignal(number) for number in ENDING}
    arrived: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        if arrived and callable(handler := before[signal.Signals(number)]):
            handler(number, frame)
        arrived.append(number)

    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(signal.Signals(arrived[0]))
